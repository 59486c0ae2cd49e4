"""What this machine has, measured once: GPUs, CUDA toolkit, disk, CPU and RAM as this process may use them.

`survey` only looks; `sam3_agent.hardware.profiles` judges what it found.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import BadInput, Unavailable
from sam3_agent.hardware.disk import GB, DiskSpeed, measure_speed, nearest_folder
from sam3_agent.hardware.gpus import Gpu, Runner, find_gpus, find_nvcc, run_command


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found; sizes in GB (10^9 bytes), speeds in MB/s, None where it could not be measured."""

    gpus: tuple[Gpu, ...]
    gpu_problem: str
    nvcc: str | None
    torch: str
    torch_cuda: str | None
    disk_free_gb: float
    disk_write_mb_s: float | None
    disk_read_mb_s: float | None
    disk_problem: str
    cpu_name: str
    cpu_cores: int
    ram_gb: float


def survey(folder: Path, run: Runner = run_command) -> Machine:
    """Look at this machine; takes about a second and leaves nothing behind.

    Args:
        folder: a folder on the disk that will hold data and models.
        run: how to call `nvidia-smi` and `nvcc`.
    """
    import psutil
    import torch

    gpus: list[Gpu] = []
    gpu_problem = disk_problem = ""
    try:
        gpus = find_gpus(run)
    except Unavailable as error:
        gpu_problem = str(error)
    folder = nearest_folder(folder)
    speed: DiskSpeed | None = None
    try:
        speed = measure_speed(folder)
    except BadInput as error:
        disk_problem = str(error)
    return Machine(
        gpus=tuple(gpus),
        gpu_problem=gpu_problem,
        nvcc=find_nvcc(run),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda,
        disk_free_gb=psutil.disk_usage(str(folder)).free / GB,
        disk_write_mb_s=speed.write if speed else None,
        disk_read_mb_s=speed.read if speed else None,
        disk_problem=disk_problem,
        cpu_name=_cpu_name(),
        cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_gb=min(psutil.virtual_memory().total, _container_limit()) / GB,
    )


def _cpu_name() -> str:
    """The processor's model where Linux tells it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _container_limit() -> float:
    """Bytes of memory the cgroup allows (v2, then v1); infinite outside a container."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        return float(text) if text.isdigit() else float("inf")
    return float("inf")
