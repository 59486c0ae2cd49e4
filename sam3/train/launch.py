"""Where a run goes: this process, several processes of this machine, or a SLURM cluster; the course is the same.

`Launch` is the command line, `order` writes what is to be done as `order.json` in the work folder, and every process
that takes part, whoever started it, reads that file in `sam3.train.worker`.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sam3.errors import BadConfig, Unavailable
from sam3.files import read_json, write_json
from sam3.train.config import TrainConfig, plain

ORDER, DONE = "order.json", "done.json"


@dataclass(frozen=True)
class Launch:
    """Where the run goes, as given on the command line.

    Attributes:
        gpus: on each node, as far as there are any. cpu_processes: on each node, instead of GPUs (gloo).
        time: of a cluster job, minutes. retries: how often a run whose process was lost is started again.
        follow: stay and show the progress of a cluster job. dry_run: print the batch script and stop.
        signal_before: seconds before the time limit at which the run saves and is requeued.
    """

    use_cluster: bool = False
    gpus: int = 0
    fresh: bool = False
    nodes: int = 1
    cpu_processes: int = 0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: int = 24 * 60
    memory: str | None = None
    retries: int = 3
    follow: bool = True
    dry_run: bool = False
    signal_before: int = 120

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.cpu_processes or max(self.gpus, 1)


def order(config: TrainConfig, launch: Launch) -> Path:
    """Write what is to be done; returns the file. What an earlier order left of failures is removed."""
    work = Path(config.train.work).absolute()
    for path in [*work.glob("error-*.json"), work / DONE, work / "losses.txt"]:
        path.unlink(missing_ok=True)
    write_json(work / ORDER, {"config": plain(config), "launch": asdict(launch), "folder": str(Path.cwd())})
    return work / ORDER


def on_this_machine(config: TrainConfig, launch: Launch) -> Path:
    """Train with several processes here (torchrun); a lost process costs the steps since the last checkpoint.

    Raises:
        Unavailable: it failed `launch.retries` times. BadConfig: a process refused the config or the data.
    """
    file = order(config, launch)
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.per_node}"]
    for attempt in range(launch.retries + 1):
        status = subprocess.run([*started, "-m", "sam3.train.worker", str(file)]).returncode
        done = file.with_name(DONE)
        if status == 0 and done.is_file():
            return Path(read_json(done)["checkpoint"])
        refused(file.parent)
        if attempt < launch.retries:
            print(f"a process was lost; going on from the last checkpoint ({attempt + 1} of {launch.retries})")
            order(config, replace(launch, fresh=False))
    raise Unavailable(f"{file.parent}: {failure(file.parent) or 'a process was lost'} {launch.retries + 1} times.")


def refused(work: Path) -> None:
    """Pass on what a process said about its input: starting it again would not help.

    Raises:
        BadConfig: with the process's own message.
    """
    for path in sorted(work.glob("error-*.json")):
        row = read_json(path)
        if row["mendable"]:
            raise BadConfig(f"process {row['rank']} on {row['node']}: {row['message']}")


def failure(work: Path) -> str | None:
    """One line about the process that failed first, or None when none left word."""
    rows = [read_json(path) for path in sorted(work.glob("error-*.json"))]
    if not rows:
        return None
    # one that only lost its connection failed because of another
    row = min(rows, key=lambda row: (row["secondary"], row["at"]))
    return f"process {row['rank']} on {row['node']} failed: {row['kind']}: {row['message']}"


def note_failure(work: Path, rank: int, error: BaseException, *, mendable: bool, at: float) -> None:
    """Leave word of what went wrong in a process."""
    message = " ".join(str(error).split())[:500]
    lost = bool(re.search(r"[Cc]onnection (closed|reset)|Broken pipe|NCCL|gloo", message))
    row: dict[str, Any] = {"rank": rank, "node": socket.gethostname(), "kind": type(error).__name__}
    row |= {"message": message, "mendable": mendable, "secondary": lost, "at": at}
    write_json(work / f"error-{rank}.json", json.loads(json.dumps(row)))


def sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Hydra's multirun: "a=1,2" "b=x" -> [["a=1", "b=x"], ["a=2", "b=x"]]; ranges, choices and globs as Hydra has them.

    Raises:
        BadConfig: an override is not one.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        return [row for batch in BasicSweeper.split_arguments(parsed, None) for row in batch]
    except HydraException as error:
        raise BadConfig(f"--multirun: {str(error).splitlines()[0]}", field="multirun") from error
