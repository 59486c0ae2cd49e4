"""Fine-tune a SAM 3 checkpoint on one concept.

    python sam3/train/train.py -c configs/sam3_chicken_finetune.yaml --use-cluster 0 --num-gpus 1 train.max_epochs=1

Any Hydra override may follow. A run that was killed goes on from `train.work` when the same command is given
again, with the same data order and the same number of optimiser steps; `--fresh` starts over. The result is a
checkpoint folder (`train.out`) with `training.json` beside the weights.

    ... --cpu-processes 2                                            two processes of this machine (gloo)
    ... --use-cluster 1 --num-nodes 1 --num-gpus 4 --partition gpu   a SLURM job; --dry-run prints its script
    ... cache.enabled=true data.views=4 model.frozen=[vision_encoder,text_encoder]   heads from stored features
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.errors import BadConfig, Sam3AgentError, Unavailable
from sam3.files import disk_trouble
from sam3.train.time_limit import minutes

# torch and Lightning take seconds to import: inside the functions, so that Ctrl-C is one line then, too
if TYPE_CHECKING:
    from sam3.train.config import TrainConfig
    from sam3.train.launch import Launch


def train(config: TrainConfig, launch: Launch) -> Path:
    """Train and write the checkpoint; returns its folder.

    Raises:
        Sam3AgentError: data, checkpoint or config cannot be used.
    """
    return train_all([config], launch)[0]


def train_all(configs: list[TrainConfig], launch: Launch) -> list[Path]:
    """Train one config, or those of a sweep: one after the other here, as an array on a cluster.

    Returns:
        The checkpoint folders; none after a dry run, and those to come when a cluster job is not followed.
    """
    if launch.use_cluster:
        from sam3.train.slurm import batch_script, submit
        from sam3.train.slurm_follow import follow

        if launch.dry_run:
            print(batch_script(configs, launch))
            return []
        jobs = submit(configs, launch)
        works = [Path(config.train.work).absolute() for config in configs]
        if launch.follow:
            return follow(list(zip(jobs, works, strict=True)), launch.retries)
        print(f"submitted: job {', '.join(jobs)}; the same command shows how far it is")
        return [Path(config.train.out) for config in configs]
    return [_here(config, launch) for config in configs]


def _here(config: TrainConfig, launch: Launch) -> Path:
    """Train on this machine, with as many processes as it has GPUs for or as were asked for.

    Raises:
        Unavailable: a cluster job has the work folder, whose locks need not reach this machine.
    """
    from sam3.train.slurm import job_under_way

    if shutil.which("scontrol") and (job := job_under_way(config)):
        raise Unavailable(
            f"{config.train.work}: job {job} trains there. Wait for it, end it (scancel {job}), or give another "
            "train.work.",
            field="train.work",
        )
    processes = launch.cpu_processes
    if launch.gpus > 1 and not processes:
        import torch

        processes = min(launch.gpus, torch.cuda.device_count())
        launch = replace(launch, gpus=max(processes, 1))
    if processes > 1:
        from sam3.train.launch import on_this_machine

        return on_this_machine(config, launch)
    from sam3.train.worker import carry_out

    return carry_out(config, launch)


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Flags, and the Hydra overrides among and after them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-c", "--config", required=True, help="a file in configs/")
    add("--num-gpus", type=int, default=1, help="GPUs to use on each node, as far as there are any")
    add("--cpu-processes", type=int, default=0, help="processes on each node that train on CPU, instead of GPUs")
    add("--fresh", action="store_true", help="forget an unfinished run")
    add("--multirun", "-m", action="store_true", help="a sweep: key=a,b runs once for each, in train.work/NN")
    add("--retries", type=int, default=3, help="how often a run that lost a process is started again")
    add("--print-config", action="store_true", help="show the resolved config and stop")
    cluster = parser.add_argument_group("SLURM").add_argument
    cluster("--use-cluster", type=int, choices=(0, 1), default=0, help="1: submit to SLURM")
    cluster("--num-nodes", type=int, default=1)
    for name in ("partition", "account", "qos"):
        cluster(f"--{name}", help=f"as of sbatch --{name}")
    cluster("--mem", help="memory a node, as of sbatch --mem")
    cluster("--time", default="24:00:00", help="time limit: minutes, H:MM:SS or D-HH:MM:SS; the run goes on after it")
    cluster("--signal-before", type=int, default=120, help="seconds before the limit at which the run is saved")
    cluster("--follow", type=int, choices=(0, 1), default=1, help="0: submit and leave")
    cluster("--dry-run", action="store_true", help="print the batch script and stop")
    args, rest = parser.parse_known_args(argv)
    wrong = [word for word in rest if word.startswith("-") or "=" not in word]
    if wrong:
        raise BadConfig(f"{wrong[0]}: not a flag of train.py and not a Hydra override (key=value).", field=wrong[0])
    return args, rest


def launch_of(args: argparse.Namespace) -> Launch:
    """Flags, typed.

    Raises:
        BadConfig: a number that cannot be.
    """
    from sam3.train.launch import Launch

    for name, least in (("num_nodes", 1), ("num_gpus", 0), ("cpu_processes", 0), ("retries", 0), ("signal_before", 1)):
        if getattr(args, name) < least:
            flag = name.replace("_", "-")
            raise BadConfig(f"--{flag} {getattr(args, name)}: expected {least} or more.", field=flag)
    if args.num_nodes > 1 and not args.use_cluster:
        raise BadConfig("--num-nodes: several nodes need --use-cluster 1.", field="num-nodes")
    for name in ("dry_run", "partition", "account", "qos", "mem"):
        if getattr(args, name) and not args.use_cluster:
            flag = name.replace("_", "-")
            raise BadConfig(f"--{flag} is of a cluster job: add --use-cluster 1, or leave it out.", field=flag)
    return Launch(
        use_cluster=bool(args.use_cluster),
        gpus=args.num_gpus,
        fresh=args.fresh,
        nodes=args.num_nodes,
        cpu_processes=args.cpu_processes,
        partition=args.partition,
        account=args.account,
        qos=args.qos,
        time=minutes(args.time),
        memory=args.mem,
        retries=args.retries,
        follow=bool(args.follow),
        dry_run=args.dry_run,
        signal_before=args.signal_before,
    )


def configs_of(args: argparse.Namespace, overrides: list[str]) -> list[TrainConfig]:
    """The config, or one for each run of a sweep, with a work and an output folder of its own."""
    from sam3.train.config import compose
    from sam3.train.launch import sweep

    if not args.multirun:
        return [compose(args.config, overrides)]
    configs = [compose(args.config, row) for row in sweep(overrides)]
    return [
        replace(
            config,
            train=replace(config.train, work=f"{config.train.work}/{at:02d}", out=f"{config.train.out}/{at:02d}"),
        )
        for at, config in enumerate(configs)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    try:
        args, overrides = parse(argv)
        launch, configs = launch_of(args), configs_of(args, overrides)
        if args.print_config:
            from sam3.train.config import plain

            for config in configs:
                print(json.dumps(plain(config), indent=2))
            return 0
        folders = train_all(configs, launch)
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        mendable = disk_trouble(error)
        if mendable is None or os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {mendable}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    for folder in folders:
        print(f"checkpoint: {folder}")
    return 0


def summary(folder: str | Path) -> dict[str, Any]:
    """training.json of a finished run."""
    return json.loads((Path(folder) / "training.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
