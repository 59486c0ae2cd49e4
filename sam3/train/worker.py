"""One process of a run: meets the others, trains, says what went wrong.

    python -m sam3.train.worker outputs/finetune/order.json

Started by torchrun on one machine and by submitit in a SLURM job; with one process `train.py` calls `carry_out`
itself. Whatever fails leaves `error-<rank>.json` in the work folder, since a cluster's logs are many and long.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from sam3.config import typed
from sam3.errors import Sam3AgentError
from sam3.files import read_json, write_json
from sam3.train.config import TrainConfig
from sam3.train.launch import DONE, Launch, note_failure
from sam3.train.world import World, barrier, join, place


def carry_out(config: TrainConfig, launch: Launch) -> Path:
    """Train in this process and those it belongs to; returns the checkpoint's folder.

    Raises:
        Sam3AgentError: data, checkpoint or config cannot be used.
    """
    import torch

    from sam3.train.saving import alone

    gpu = launch.gpus > 0 and not launch.cpu_processes and torch.cuda.device_count() > 0
    if launch.gpus and not launch.cpu_processes and not gpu and place().first:
        print("no GPU on this machine: training on the CPU", file=sys.stderr)
    world = join(gpu=gpu)
    if gpu:
        torch.cuda.set_device(world.local)
    _share_threads(config, world)
    work = Path(config.train.work)
    # a scheduler starts a job once, and the lock of a node that died may outlive it
    with alone(work) if world.first and "SLURM_JOB_ID" not in os.environ else nullcontext():
        return _carried_out(config, launch, world, work, gpu=gpu)


def _carried_out(config: TrainConfig, launch: Launch, world: World, work: Path, *, gpu: bool) -> Path:
    from sam3.train.run import Run

    if launch.fresh and world.first and not os.environ.get("SLURM_RESTART_COUNT"):
        for path in [*work.glob("*.ckpt"), work / "log", work / "identity.json"]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    run = Run(config, work, int(gpu), world)
    run.check_same_run()
    barrier()  # the first may have cleared away another run
    run.fit()
    folder = run.finish()
    if world.first:
        write_json(work / DONE, {"checkpoint": str(folder), "steps": run.total_steps, "processes": world.size})
    return folder


def _share_threads(config: TrainConfig, world: World) -> None:
    import torch

    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    elif world.size > 1:
        torch.set_num_threads(max(len(os.sched_getaffinity(0)) // world.per_node, 1))


def work_off(order: str) -> None:
    """What one task of a cluster job or of torchrun does: the order in a file.

    Raises:
        SystemExit: 1 after a failure that was noted beside the order.
    """
    file = Path(order)
    content = read_json(file)
    os.chdir(content["folder"])  # paths in a config are relative to where it was given
    rank = place().rank
    file.with_name(f"error-{rank}.json").unlink(missing_ok=True)
    try:
        carry_out(typed(TrainConfig, content["config"], order), Launch(**content["launch"]))
    except Exception as error:
        note_failure(file.parent, rank, error, mendable=isinstance(error, Sam3AgentError), at=time.time())
        if not isinstance(error, Sam3AgentError):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        # the others wait in a collective call: leaving without the interpreter's farewell tells them at once
        sys.stdout.flush()
        os._exit(1)


if __name__ == "__main__":
    work_off(sys.argv[1])
