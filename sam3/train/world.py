"""The processes of one training run: who am I, how many are we, and sums over all of us.

A process finds its place in the environment: torchrun's variables, or those of SLURM's srun. With one process
everything here is the identity, so the code that trains is the same code on a laptop and on a cluster.

    world = join(gpu=False)          # collective: every process of the run calls it, before anything else
    if world.first: ...              # one process writes files
    normaliser = shared_count(n)     # what a sum must be divided by so that DDP equals one process
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sam3.errors import Unavailable

_alone: ContextVar[bool] = ContextVar("alone", default=False)
PATIENCE = timedelta(minutes=30)  # the first process may fill a cache while the others wait


@dataclass(frozen=True)
class World:
    """Place of this process.

    Attributes:
        rank: 0 to size - 1, over all nodes. local: the same on this node. nodes: how many there are.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    nodes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.size // self.nodes


def place() -> World:
    """Where this process stands, from its environment alone.

    Raises:
        Unavailable: the processes are not spread evenly over the nodes.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        size, per_node = int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"])
        world = World(int(env["RANK"]), size, int(env["LOCAL_RANK"]), size // per_node)
    elif int(env.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # set by srun for what it starts, and by nothing else
        nodes = int(env.get("SLURM_STEP_NUM_NODES", 1))
        world = World(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env["SLURM_LOCALID"]), nodes)
    else:
        return World()
    if world.size % world.nodes:
        raise Unavailable(f"{world.size} tasks on {world.nodes} nodes: expected as many tasks on each node.")
    return world


def join(*, gpu: bool) -> World:
    """Meet the other processes of the run; returns once all are there.

    Raises:
        Unavailable: they do not find each other.
    """
    world = place()
    if world.size == 1 or dist.is_initialized():
        return world
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        os.environ.setdefault("MASTER_ADDR", _address(world.nodes))
        os.environ.setdefault("MASTER_PORT", str(15000 + int(os.environ["SLURM_JOB_ID"]) % 10000))
    if world.nodes == 1 and not gpu:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a node's name need not have an address
    try:
        dist.init_process_group(
            "nccl" if gpu else "gloo", rank=world.rank, world_size=world.size, timeout=PATIENCE, init_method="env://"
        )
    except (RuntimeError, ValueError) as error:
        raise Unavailable(
            f"process {world.rank} of {world.size}: the others cannot be reached at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}). Set MASTER_ADDR and MASTER_PORT."
        ) from error
    return world


def _address(nodes: int) -> str:
    """Where the first process listens: SLURM knows its nodes' addresses, which names need not resolve to."""
    if nodes == 1:
        return "127.0.0.1"
    listed = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
    first = subprocess.run(listed, capture_output=True, text=True, check=True, timeout=60).stdout.split()[0]
    shown = subprocess.run(
        ["scontrol", "show", "node", first], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return next((word.split("=", 1)[1] for word in shown.split() if word.startswith("NodeAddr=")), first)


def size() -> int:
    """How many processes train together; 1 outside a run, and in `alone`."""
    return dist.get_world_size() if dist.is_initialized() and not _alone.get() else 1


@contextmanager
def alone() -> Iterator[None]:
    """No sums over processes inside: for validation, where one may have more batches than another."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait for the others."""
    if size() > 1:
        dist.barrier()


def sum_over_all(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes; the tensor itself when there is one. Collective."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def shared_count(count: int | Tensor, device: torch.device | str = "cpu") -> Any:
    """What to divide a sum over this process's rows by, so that the mean over processes is the mean over all rows.

    DDP averages gradients over processes. A loss that each divides by its own count would weigh rows of a process
    with few objects more; divided by the mean count of all, the average is that of one process with the whole batch.

    Args:
        count: rows (or weight) of this process. Every process must call, whatever it has.

    Returns:
        max(sum over processes, 1) / processes; max(count, 1) with one process, of the type that was given.
    """
    if size() == 1:
        return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)
    total = count.detach().float() if isinstance(count, Tensor) else torch.tensor(float(count), device=device)
    return sum_over_all(total).clamp(min=1) / size()


def shared_mean(values: Tensor, weight: float = 1.0) -> Tensor:
    """Mean of the rows of all processes, in the sense of `shared_count`; rows of a batch of weight 0 do not count."""
    if size() == 1:
        return values.mean()
    return values.sum() / shared_count(int(len(values) * weight), values.device)


def any_of_us(flag: bool, device: torch.device | str = "cpu") -> bool:
    """Whether the flag is set in any process. Collective."""
    if size() == 1:
        return flag
    return bool(sum_over_all(torch.tensor(float(flag), device=device)) > 0)


def gather_rows(rows: list[Any], device: torch.device | str = "cpu") -> list[Any]:
    """JSON rows of all processes, by rank. Collective."""
    if size() == 1:
        return rows
    mine = torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8).to(device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size())]
    dist.all_gather(lengths, torch.tensor([len(mine)], dtype=torch.int64, device=device))
    longest = max(int(length) for length in lengths)
    parts = [torch.zeros(longest, dtype=torch.uint8, device=device) for _ in range(size())]
    dist.all_gather(parts, torch.nn.functional.pad(mine, (0, longest - len(mine))))
    texts = [bytes(part[: int(length)].cpu().numpy()) for part, length in zip(parts, lengths, strict=True)]
    return [row for text in texts for row in json.loads(text)]
