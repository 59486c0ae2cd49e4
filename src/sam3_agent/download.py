"""`sam3-agent download`: weights from the hub, or from a file or folder that is here already.

`facebook/sam3` is fetched when the user has been given access; a folder is checked and copied; a `.pt` file
is converted without running anything in it. The result is a folder that every stage takes as `--checkpoint`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadCheckpoint, BadInput

REPO = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def take_folder(source: Path, target: Path) -> Path:
    """Put a checkpoint folder that is on this machine in place; hard links where the file system allows.

    Raises:
        BadCheckpoint: not a whole checkpoint; nothing is written.
        BadInput: `target` cannot be written, or is the source itself.
    """
    from sam3.checkpoint_files import weights_problem
    from sam3.folders import swap_folder
    from sam3.tokenizer import build_tokenizer_file

    if source.resolve() == target.resolve():
        raise BadInput(f"{source}: is the target already. Give another folder with --to.", field="to")
    wanted = [path for path in sorted(source.iterdir()) if path.is_file() and path.suffix in (".json", ".safetensors")]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
            fresh = Path(scratch) / "checkpoint"
            fresh.mkdir()
            for path in wanted:
                _link(path, fresh / path.name)
            if not (fresh / "tokenizer.json").exists():  # every SAM 3 reads CLIP's vocabulary
                build_tokenizer_file(fresh / "tokenizer.json")
            if problem := weights_problem(fresh):
                raise BadCheckpoint(problem.replace(str(fresh), str(source)) + ". Is it a whole checkpoint folder?")
            swap_folder(fresh, target)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror}). Free or unlock the folder.") from error
    return target


def take_local(source: Path, target: Path) -> Path:
    """A file or folder on this machine -> a checkpoint folder; `.pt` files are converted.

    Raises:
        BadCheckpoint: not SAM 3 weights, damaged, or a pickle that wants to run code.
    """
    from sam3.checkpoint_convert import convert_pt

    if source.is_dir():
        pickles = sorted([*source.glob("*.pt"), *source.glob("*.pth")])
        if any(source.glob("*.safetensors")) or not pickles:
            return take_folder(source, target)
        source = pickles[0]
    if source.suffix == ".safetensors" and (source.parent / "config.json").is_file():
        return take_folder(source.parent, target)
    if source.suffix not in (".pt", ".pth", ".safetensors"):
        raise BadCheckpoint(f"{source}: expected a folder, .safetensors, .pt or .pth, not {source.suffix or 'this'!r}.")
    return convert_pt(source, target)


def download(
    source: Annotated[str, typer.Argument(help="A hub repository (facebook/sam3), a folder, or a .pt file.")],
    to: Annotated[Path | None, typer.Option(help="The folder to make; models/<name> when not given.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
) -> None:
    """Fetch weights from the hub, or check, convert and copy local ones."""
    from sam3_agent.hub import fetch

    local = Path(source).expanduser()
    name = local.stem if local.suffix in (".pt", ".pth", ".safetensors") else local.name
    target = to or Path("models") / name
    if local.exists():
        take_local(local, target)
    elif REPO.fullmatch(source):
        fetch(source, target, revision=revision)
    else:
        raise BadInput(f"{source!r}: no such file or folder, and not a hub name like facebook/sam3.", field="source")
    print(f"{target} is ready: use it as --checkpoint {target}")


def _link(source: Path, target: Path) -> None:
    """Hard link, or copy across file systems; a link of the hub's cache is followed to its content."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)
