"""The laptop Triton server's own environment: made once with uv from a lock, found again by its content.

NVIDIA's wheel needs numpy < 2 (with numpy 2 its Python backend silently hands out zeros), so it cannot live in the
project's environment. It lies in the user's cache; SAM3_AGENT_CACHE names another folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import Unavailable

LOCK = Path(__file__).with_name("triton-requirements.lock")
SUPPORTED = ((3, 11), (3, 12))  # what numpy 1.26 and the wheel's stubs have in common with this project


@dataclass(frozen=True)
class TritonEnvironment:
    """Where the server and its Python are.

    Attributes:
        folder: the virtual environment.
        server: the tritonserver binary; backends: the folder with the Python backend and its stub.
    """

    folder: Path
    server: Path
    backends: Path
    libraries: tuple[Path, ...]

    def variables(self) -> dict[str, str]:
        """The server's environment: its Python first on PATH, its libraries, and no bytecode in the repository."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR", "USER")}
        return kept | {
            "PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "LD_LIBRARY_PATH": ":".join(map(str, self.libraries)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }


def cache_folder() -> Path:
    """Where environments are kept: SAM3_AGENT_CACHE, or sam3-agent in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("SAM3_AGENT_CACHE") or Path(home) / "sam3-agent")


def triton_environment() -> TritonEnvironment:
    """The environment, made now if need be (about a minute and 600 MB).

    Raises:
        Unavailable: not Linux on x86-64, no uv, or the packages cannot be had.
    """
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info[:2] not in SUPPORTED or sysconfig.get_platform() != "linux-x86_64":
        raise Unavailable(
            f"the laptop Triton server needs Linux on x86-64 with Python 3.11 or 3.12; this is Python {version} on "
            f"{sysconfig.get_platform()}. Use the container: sam3-agent triton up --how container"
        )
    mark = hashlib.sha256(LOCK.read_bytes() + version.encode() + sys.base_prefix.encode()).hexdigest()[:12]
    folder = cache_folder() / f"triton-{mark}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".triton-{mark}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two starts at once make one environment
        if not (folder / "ready").is_file():
            _make(folder)
    return _found(folder, version)


def _make(folder: Path) -> None:
    print(f"setting up the Triton server's environment in {folder} (once)", file=sys.stderr)
    uv = _uv()
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run([uv, "pip", "sync", "--quiet", "--python", str(folder / "bin/python"), str(LOCK)])
    packages = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    wheel, backend = packages / "pytriton/tritonserver", folder / "backends/python"
    backend.mkdir(parents=True, exist_ok=True)
    stub = wheel / f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    for source in [*(wheel / "backends/python").glob("*.so"), *(wheel / "backends/python").glob("*.py"), stub]:
        shutil.copy(source, backend / source.name)
    (backend / stub.name).chmod(0o755)
    (wheel / "bin/tritonserver").chmod(0o755)
    (folder / "ready").touch()


def _found(folder: Path, version: str) -> TritonEnvironment:
    packages = folder / f"lib/python{version}/site-packages"
    wheel = packages / "pytriton/tritonserver"
    libraries = (packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR")))
    return TritonEnvironment(folder, wheel / "bin/tritonserver", folder / "backends", libraries)


def _uv() -> str:
    """uv from the path, or where `make setup` puts it."""
    beside = Path(sys.prefix) / "tool/bin/uv"
    found = shutil.which("uv") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise Unavailable("uv is not on the path. Run `make setup`, or install it: pip install uv", field="uv")
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no output"]
        raise Unavailable(f"{command[0]} {command[1]}: {last[0][:200]}. Is the package index within reach?")
