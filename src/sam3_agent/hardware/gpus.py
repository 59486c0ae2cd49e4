"""What `nvidia-smi` and `nvcc` say about this machine, as typed values.

`check-hardware` calls it; a machine without the tools has no GPU, and that is an answer and not an error.
Both tools are run through a `Runner`, so that tests replay recorded outputs.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sam3.errors import Unavailable

Runner = Callable[[Sequence[str]], str]
GPU_FIELDS = "index,uuid,driver_version,memory.total,memory.free,mig.mode.current,name"
PROCESS_FIELDS = "gpu_uuid,pid,used_gpu_memory,process_name"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds GPU memory; `used_mib` is None where the driver hides it (containers, MIG)."""

    pid: int
    name: str
    used_mib: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        driver: "550.54.15".
        total_mib, free_mib: memory in MiB; None where the driver does not tell.
        slices: MIG profiles such as "3g.20gb"; a process sees one slice and not the whole. None: MIG is off.
    """

    index: int
    name: str
    driver: str
    total_mib: int | None
    free_mib: int | None
    slices: tuple[str, ...] | None
    holders: tuple[Holder, ...]


def run_command(argv: Sequence[str]) -> str:
    """Standard output of a short command.

    Raises:
        FileNotFoundError: there is no such command.
        Unavailable: it failed or took longer than 20 seconds; the message has its own words.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{argv[0]} did not answer within 20 s. Is the driver hanging? See dmesg.") from error
    except PermissionError as error:
        raise Unavailable(f"{argv[0]} may not be run ({error.strerror}).") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"{argv[0]}: {said[0]}")
    return done.stdout


def find_gpus(run: Runner = run_command) -> list[Gpu]:
    """Every GPU of this machine and who holds its memory; empty without `nvidia-smi`.

    Raises:
        Unavailable: `nvidia-smi` is there and fails (driver not loaded, versions that do not match).
    """
    try:
        rows = _rows(run(["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"]), 7)
    except FileNotFoundError:
        return []
    holders = _holders(run) if rows else {}
    slices = _slices(run) if any(mig == "Enabled" for _, _, _, _, _, mig, _ in rows) else {}
    return [
        Gpu(
            index=_whole(index) or 0,
            name=name,
            driver=driver,
            total_mib=_whole(total),
            free_mib=_whole(free),
            slices=tuple(slices.get(uuid, ())) if mig == "Enabled" else None,
            holders=tuple(holders.get(uuid, ())),
        )
        for index, uuid, driver, total, free, mig, name in rows
    ]


def find_nvcc(run: Runner = run_command) -> str | None:
    """The CUDA toolkit's release, "12.4"; None without `nvcc` or when it does not say."""
    try:
        release = re.search(r"release (\d+\.\d+)", run(["nvcc", "--version"]))
    except (FileNotFoundError, Unavailable):
        return None
    return release.group(1) if release else None


def _holders(run: Runner) -> dict[str, list[Holder]]:
    """GPU uuid -> processes on it. Older drivers refuse the query; then nobody is named."""
    found: dict[str, list[Holder]] = {}
    try:
        rows = _rows(run(["nvidia-smi", f"--query-compute-apps={PROCESS_FIELDS}", "--format=csv,noheader,nounits"]), 4)
    except Unavailable:
        return found
    for uuid, pid, used, name in rows:
        found.setdefault(uuid, []).append(Holder(_whole(pid) or 0, name, _whole(used)))
    return found


def _slices(run: Runner) -> dict[str, list[str]]:
    """GPU uuid -> MIG profiles, from `nvidia-smi -L`, the only listing that has them in every driver."""
    found: dict[str, list[str]] = {}
    uuid = ""
    for line in run(["nvidia-smi", "-L"]).splitlines():
        if card := re.match(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)", line):
            uuid = card.group(1)
        elif profile := re.match(r"\s+MIG (\S+)", line):
            found.setdefault(uuid, []).append(profile.group(1))
    return found


def _rows(text: str, columns: int) -> list[list[str]]:
    """CSV lines of nvidia-smi; the name comes last because it is not quoted and may hold commas."""
    rows = [[cell.strip() for cell in line.split(",", columns - 1)] for line in text.splitlines()]
    return [row for row in rows if len(row) == columns]


def _whole(text: str) -> int | None:
    """A whole number, None for "[N/A]", "[Not Supported]" and the like."""
    return int(text) if text.isdigit() else None
