"""Fine-tune a SAM 3 checkpoint on one concept.

    python sam3/train/train.py -c configs/sam3_chicken_finetune.yaml --use-cluster 0 --num-gpus 1 train.max_epochs=1

Any Hydra override may follow. A run that was killed goes on from `train.work` when the same command is given
again, with the same data order and the same number of optimiser steps; `--fresh` starts over. The result is a
checkpoint folder (`train.out`) with `training.json` beside the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3.errors import BadConfig, Sam3AgentError, Unavailable
from sam3.train.config import TrainConfig, compose, plain

DONE = "done.json"


@dataclass(frozen=True)
class Launch:
    """Where the run goes, as given on the command line."""

    use_cluster: bool = False
    gpus: int = 0
    fresh: bool = False


def train(config: TrainConfig, launch: Launch) -> Path:
    """Train and write the checkpoint; returns its folder.

    Raises:
        Sam3AgentError: data, checkpoint or config cannot be used.
    """
    import torch

    from sam3.train.run import Run

    if launch.use_cluster:
        raise Unavailable(
            "--use-cluster 1: SLURM is not part of this version. Use --use-cluster 0.", field="use-cluster"
        )
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    gpus = min(launch.gpus, torch.cuda.device_count())
    if launch.gpus and not gpus:
        print("no GPU on this machine: training on the CPU", file=sys.stderr)
    work = Path(config.train.work)
    if launch.fresh:
        shutil.rmtree(work, ignore_errors=True)
    run = Run(config, work, gpus)
    run.check_same_run()
    run.fit()
    return run.finish()


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Flags, and the Hydra overrides among and after them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", required=True, help="a file in configs/")
    parser.add_argument("--use-cluster", type=int, choices=(0, 1), default=0, help="1: submit to SLURM")
    parser.add_argument("--num-gpus", type=int, default=1, help="GPUs to use, as far as there are any")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--print-config", action="store_true", help="show the resolved config and stop")
    args, rest = parser.parse_known_args(argv)
    wrong = [word for word in rest if word.startswith("-") or "=" not in word]
    if wrong:
        raise BadConfig(f"{wrong[0]}: not a flag of train.py and not a Hydra override (key=value).", field=wrong[0])
    return args, rest


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    try:
        args, overrides = parse(argv)
        config = compose(args.config, overrides)
        if args.print_config:
            print(json.dumps(plain(config), indent=2))
            return 0
        folder = train(config, Launch(bool(args.use_cluster), args.num_gpus, args.fresh))
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(f"checkpoint: {folder}")
    return 0


def summary(folder: str | Path) -> dict[str, Any]:
    """training.json of a finished run."""
    return json.loads((Path(folder) / "training.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
