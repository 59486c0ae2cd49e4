"""The repository that the server reads, `serving/live`: versions side by side, and which one serves.

Version directories are put in place whole (copied beside, checked, renamed) and do nothing until a `config.pbtxt`
names them; that file is replaced atomically. `deployment.json` records what serves and what served before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sam3.errors import BadInput, Unavailable
from sam3.files import atomic_write, read_json, write_json
from sam3.locks import is_free
from sam3.triton.canary import CANDIDATE, SHARE
from sam3.triton.manifest import verify
from sam3_agent.serving.model_configs import MODELS, PARTS, WHOLE, renamed, with_parameters

LIVE = Path("serving/live")
STATE = "deployment.json"


@dataclass(frozen=True)
class Deployment:
    """The version that serves, the good one before it, and one that is tried with a share of the traffic.

    `refused` is one that somebody sent back while it was tried.
    """

    current: int | None = None
    previous: int | None = None
    canary: int | None = None
    share: float = 0.0
    refused: int | None = None


class Live:
    """A live repository."""

    def __init__(self, folder: Path = LIVE) -> None:
        self.folder = folder

    def deployment(self) -> Deployment:
        """What serves; nothing yet is `Deployment()`."""
        path = self.folder / STATE
        if not path.is_file():
            return Deployment()
        row = read_json(path)
        share = float(row.get("share") or 0.0)
        return Deployment(row.get("current"), row.get("previous"), row.get("canary"), share, row.get("refused"))

    def record(self, deployment: Deployment) -> None:
        """Remember what serves."""
        write_json(self.folder / STATE, asdict(deployment))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One deployment at a time; what an interrupted one left behind is removed first.

        Raises:
            Unavailable: another one is under way.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as guard:
            if not is_free(guard):
                raise Unavailable(f"{self.folder}: another deployment is under way. Wait for it.")
            yield

    def sweep(self) -> None:
        """Remove candidates and half-copied versions of an interrupted deployment."""
        for leftover in [*self.folder.glob(f"*{CANDIDATE}"), *self.folder.glob("*/.incoming-*")]:
            shutil.rmtree(leftover, ignore_errors=True)

    def install(self, package: Path) -> int:
        """Put a package's version directories in place, checked before and after copying; returns its number.

        Raises:
            BadCheckpoint: a file is missing, damaged or not listed. BadInput: other files under the same number.
        """
        facts = verify(package)
        version = int(facts["version"])
        for model in MODELS:
            source, target = package / model / str(version), self.folder / model / str(version)
            if target.is_dir():
                if read_json(target / "manifest.json") != read_json(source / "manifest.json"):
                    raise BadInput(f"{target}: a different version {version} is there. Package under a new number.")
                verify(target)
                continue
            incoming = target.with_name(f".incoming-{version}")
            shutil.rmtree(incoming, ignore_errors=True)
            try:
                shutil.copytree(source, incoming)
                warmup = package / model / "warmup"
                if warmup.is_dir():
                    shutil.copytree(warmup, self.folder / model / "warmup", dirs_exist_ok=True)
            except OSError as error:
                shutil.rmtree(incoming, ignore_errors=True)
                raise BadInput(f"{incoming}: cannot be copied ({error}). Is the disk full?") from error
            verify(incoming)
            incoming.rename(target)
        return version

    def remove(self, version: int) -> None:
        """Take a version's directories away (one that never served)."""
        for model in MODELS:
            shutil.rmtree(self.folder / model / str(version), ignore_errors=True)

    def check(self, version: int) -> None:
        """Hold a version that is in place against its manifests."""
        for model in MODELS:
            verify(self.folder / model / str(version))

    def point(self, model: str, version: int, parts: Mapping[str, str] = PARTS) -> None:
        """Let a model's `config.pbtxt` name `version`, and the composing models it asks."""
        text = (self.folder / model / str(version) / "config.pbtxt").read_text(encoding="utf-8")
        with atomic_write(self.folder / model / "config.pbtxt") as stream:
            stream.write(renamed(text, model, parts))

    def stage(self, version: int) -> dict[str, str]:
        """The version once more under other names (`sam3_candidate`, ...), so that it can be tried without traffic.

        Returns:
            Model -> its staged name.
        """
        names = {model: model + CANDIDATE for model in MODELS}
        parts = {graph: names[part] for graph, part in PARTS.items()}
        for model, name in names.items():
            source = self.folder / model / str(version)
            shutil.copytree(source, self.folder / name / str(version), copy_function=_link)
            warmup = self.folder / model / "warmup"
            if warmup.is_dir():
                shutil.copytree(warmup, self.folder / name / "warmup")
            self.point(name, version, parts)
        return names

    def share(self, share: float) -> None:
        """Write the canary's share of the traffic where clients read it: in the staged model's configuration."""
        path = self.folder / f"{WHOLE}{CANDIDATE}" / "config.pbtxt"
        text = with_parameters(path.read_text(encoding="utf-8"), {SHARE: f"{share:.6g}"})
        with atomic_write(path) as stream:
            stream.write(text)

    def activate(self, version: int) -> None:
        """Point every model at `version`; for a server that is not running."""
        for model in MODELS:
            self.point(model, version)


def _link(source: str, target: str) -> None:
    """A second name for the same bytes, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
