"""The laptop Triton server's own environment: made once with uv from a lock, found again by its content.

NVIDIA's wheel needs numpy < 2 (with numpy 2 its Python backend silently hands out zeros), so it cannot live in the
project's environment.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import Unavailable
from sam3_agent.own_environment import own_environment

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
    folder = own_environment("triton", LOCK, "about a minute and 600 MB", _add_backend)
    return _found(folder, version)


def _add_backend(folder: Path) -> None:
    """The Python backend and its stub, where the server looks for them."""
    packages = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    wheel, backend = packages / "pytriton/tritonserver", folder / "backends/python"
    backend.mkdir(parents=True, exist_ok=True)
    stub = wheel / f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    for source in [*(wheel / "backends/python").glob("*.so"), *(wheel / "backends/python").glob("*.py"), stub]:
        shutil.copy(source, backend / source.name)
    (backend / stub.name).chmod(0o755)
    (wheel / "bin/tritonserver").chmod(0o755)


def _found(folder: Path, version: str) -> TritonEnvironment:
    packages = folder / f"lib/python{version}/site-packages"
    wheel = packages / "pytriton/tritonserver"
    libraries = (packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR")))
    return TritonEnvironment(folder, wheel / "bin/tritonserver", folder / "backends", libraries)
