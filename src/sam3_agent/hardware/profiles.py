"""What each profile asks of a machine, in one table, and the judgement of a machine against it.

"failed" is kept for what makes the work impossible; whatever only makes it slow is a "warning". Called by
`sam3-agent check-hardware`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sam3_agent.checks import Check, Status, worst
from sam3_agent.hardware.disk import GB
from sam3_agent.hardware.gpus import Gpu
from sam3_agent.hardware.machine import Machine
from sam3_agent.params import Profile

# what the kernel driver must be for each CUDA major version that torch may be built with
DRIVER_FOR_CUDA = {11: 450, 12: 525, 13: 580}


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a profile asks for. Below `disk_gb` or `ram_gb` it fails, below the rest it is slow.

    Attributes:
        vram_gb: free GPU memory; too little of it fails, unless the profile runs on the CPU as well.
        disk_mb_s: sequential write.
        without_gpu: what a machine without a GPU will feel like.
    """

    driver: int
    vram_gb: float
    disk_gb: float
    disk_mb_s: float
    cpu_cores: int
    ram_gb: float
    without_gpu: str
    runs_on_cpu: bool = False


REQUIREMENTS: dict[Profile, Requirement] = {
    "demo": Requirement(525, 2, 5, 50, 2, 3, "the small starter model trains in minutes on the CPU", True),
    "train": Requirement(525, 24, 100, 200, 8, 32, "an epoch of the full model on the CPU takes days; the demo works"),
    "serve": Requirement(525, 8, 20, 100, 4, 16, "the full model answers in tens of seconds on the CPU"),
}


def judge(machine: Machine, profile: Profile) -> list[Check]:
    """Hold a machine against a profile: one `Check` a line of the table."""
    need = REQUIREMENTS[profile]
    return [
        *_judge_gpus(machine, need),
        _judge_toolkit(machine),
        *_judge_disk(machine, need),
        *_judge_rest(machine, need),
    ]


def _judge_gpus(machine: Machine, need: Requirement) -> list[Check]:
    slow = f"Without a GPU {need.without_gpu}."
    if machine.gpu_problem:
        return [Check("GPU", "warning", machine.gpu_problem, f"Mend or reload the driver. {slow}")]
    if not machine.gpus:
        return [Check("GPU", "warning", "none (no nvidia-smi)", slow)]
    judged = [_judge_gpu(gpu, machine, need) for gpu in machine.gpus]
    if any(worst(checks) != "failed" for checks in judged):  # one usable GPU is enough
        judged = [[_at_most_warning(check) for check in checks] for checks in judged]
    return [check for checks in judged for check in checks]


def _at_most_warning(check: Check) -> Check:
    return replace(check, status="warning") if check.status == "failed" else check


def _judge_gpu(gpu: Gpu, machine: Machine, need: Requirement) -> list[Check]:
    """Model, driver and free memory of one GPU."""
    short: Status = "warning" if need.runs_on_cpu else "failed"
    name = f"GPU {gpu.index}"
    model = Check(name, "ok", gpu.name)
    if gpu.slices is not None:
        advice = "A process sees one slice: choose it with CUDA_VISIBLE_DEVICES=MIG-..."
        sliced = f"{gpu.name}, MIG: {', '.join(gpu.slices) or 'no slices made'}"
        model = Check(name, "warning", sliced, advice if gpu.slices else "Make a slice, or switch MIG off.")
    major = int((machine.torch_cuda or "0").split(".")[0])
    wanted = max(need.driver, DRIVER_FOR_CUDA.get(major, 0))
    found = int(gpu.driver.split(".")[0]) if gpu.driver.split(".")[0].isdigit() else 0
    why = f"torch {machine.torch} is built with CUDA {machine.torch_cuda}" if wanted > need.driver else "SAM 3 needs it"
    driver = Check(f"{name} driver", "ok", gpu.driver)
    if found < wanted:
        advice = f"Install driver {wanted} or newer ({why})."
        driver = Check(f"{name} driver", short, gpu.driver, advice)
    return [model, driver, _judge_memory(gpu, need, short)]


def _judge_memory(gpu: Gpu, need: Requirement, short: Status) -> Check:
    name = f"GPU {gpu.index} free memory"
    sizes = [int(size) for profile in gpu.slices or () for size in re.findall(r"(\d+)gb", profile)]
    slice_gb = max(sizes, default=None)
    if slice_gb is not None:
        found, free = f"largest slice {slice_gb} GB", float(slice_gb)
    elif gpu.free_mib is None or gpu.total_mib is None:
        return Check(name, "warning", "the driver does not tell", f"{need.vram_gb:.0f} GB are needed.")
    else:
        free = gpu.free_mib * 2**20 / GB
        found = f"{free:.1f} of {gpu.total_mib * 2**20 / GB:.1f} GB"
    held = ", ".join(f"{h.name} (pid {h.pid}, {_mib(h.used_mib)})" for h in gpu.holders)
    if free >= need.vram_gb:
        return Check(name, "ok", found + (f"; held by {held}" if held else ""))
    advice = f"{need.vram_gb:.0f} GB are needed. " + (f"End {held}." if held else "Use a larger GPU or slice.")
    return Check(name, short, found, advice)


def _judge_toolkit(machine: Machine) -> Check:
    """The toolkit is only needed to compile extensions, so a mismatch never fails."""
    built = (
        f"torch {machine.torch} is built with CUDA {machine.torch_cuda}"
        if machine.torch_cuda
        else (f"torch {machine.torch} is built without CUDA")
    )
    if machine.nvcc is None:
        return Check("CUDA toolkit", "ok", f"no nvcc; {built} and brings its own libraries")
    found = f"nvcc {machine.nvcc}; {built}"
    if machine.torch_cuda is None:
        advice = "Install PyPI's torch to use the GPU." if machine.gpus else ""
        return Check("CUDA toolkit", "warning" if machine.gpus else "ok", found, advice)
    if machine.nvcc.split(".")[0] != machine.torch_cuda.split(".")[0]:
        return Check("CUDA toolkit", "warning", found, "Extensions cannot be compiled; training does not need any.")
    return Check("CUDA toolkit", "ok", found)


def _judge_disk(machine: Machine, need: Requirement) -> list[Check]:
    free = Check("disk free", "ok", f"{machine.disk_free_gb:.0f} GB")
    if machine.disk_free_gb < need.disk_gb:
        free = Check(
            "disk free",
            "failed",
            f"{machine.disk_free_gb:.1f} GB",
            f"{need.disk_gb:.0f} GB are needed: free some.",
        )
    if machine.disk_write_mb_s is None or machine.disk_read_mb_s is None:
        return [
            free,
            Check("disk speed", "failed", machine.disk_problem, "Run in a folder that can be written."),
        ]
    speed = f"writes {machine.disk_write_mb_s:.0f} MB/s, reads {machine.disk_read_mb_s:.0f} MB/s"
    if machine.disk_write_mb_s < need.disk_mb_s:
        advice = f"Below {need.disk_mb_s:.0f} MB/s pictures and checkpoints wait for the disk. Use a local SSD."
        return [free, Check("disk speed", "warning", speed, advice)]
    return [free, Check("disk speed", "ok", speed)]


def _judge_rest(machine: Machine, need: Requirement) -> list[Check]:
    cores = f"{machine.cpu_cores} cores ({machine.cpu_name})"
    cpu = Check("CPU", "ok", cores)
    if machine.cpu_cores < need.cpu_cores:
        cpu = Check("CPU", "warning", cores, f"Loading pictures will be slow: {need.cpu_cores} cores are better.")
    ram = Check("RAM", "ok", f"{machine.ram_gb:.1f} GB")
    if machine.ram_gb < need.ram_gb:
        advice = f"{need.ram_gb:.0f} GB are needed, or the process is killed half-way."
        ram = Check("RAM", "failed", f"{machine.ram_gb:.1f} GB", advice)
    return [cpu, ram]


def _mib(used: int | None) -> str:
    return "size unknown" if used is None else f"{used} MiB"
