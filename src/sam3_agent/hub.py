"""One model repository of the Hugging Face hub -> a local folder, resumed, checked, and put in place whole.

Files arrive in a folder beside the target and move there together at the end, so an interrupted download goes
on where it stopped and a checkpoint folder is never half there. HF_ENDPOINT and HF_TOKEN count as usual.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3.errors import BadCheckpoint, BadInput, Unavailable
from sam3.files import read_json, write_json
from sam3.folders import swap_folder
from sam3_agent.hardware.disk import GB, nearest_folder
from sam3_agent.transfer import get_resumed

RECEIPT = "download.json"
WANTED = ("config.json", "tokenizer.json", "LICENSE", "README.md")
SUFFIX = ".safetensors"
MEMORY = 1 << 22  # bytes read at a time


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the repository; `sha256` is None for small files that are not in LFS."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a revision holds."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]


def fetch(repo: str, target: Path, *, revision: str = "main", say: Callable[[str], None] = print) -> Path:
    """Bring a checkpoint from the hub into `target`.

    Args:
        repo: "owner/name".
        target: the folder to make; replaced when it holds another revision.
        revision: branch, tag or commit.
        say: gets one line of progress at a time.

    Raises:
        Unavailable: no network, no such repository, or no access yet; the message says what to do.
        BadCheckpoint: a file differs from its published checksum; it is removed, to be fetched anew.
        BadInput: no room, or `target` cannot be written.
    """
    with _clear_errors(repo):
        listing = _list(repo, revision)
    if _is_here(target, listing):
        say(f"{target} is {repo} at {listing.commit[:12]} already")
        return target
    staging = target.with_name(f".{target.name}.download")
    _check_room(staging, listing)
    for file in listing.files:
        with _clear_errors(repo):
            _get(listing, file, staging)
        _verify(staging / file.name, file)
        say(f"{file.name}: {file.size / 1e6:.1f} MB, {'checksum' if file.sha256 else 'size'} right")
    for part in staging.glob("*.part"):  # of another revision
        part.unlink()
    sums = {file.name: file.sha256 for file in listing.files}
    write_json(staging / RECEIPT, {"repo": repo, "commit": listing.commit, "sha256": sums})
    swap_folder(staging, target)
    return target


def _list(repo: str, revision: str) -> Listing:
    """Ask the hub what there is; only a checkpoint's own files at the top of the repository are wanted."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint()).model_info(repo, revision=revision, files_metadata=True, timeout=20)
    files = [
        HubFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else None)
        for entry in info.siblings or []
        if entry.rfilename in WANTED or re.fullmatch(r"[\w.-]+\.safetensors(\.index\.json)?", entry.rfilename)
    ]
    if not any(file.name.endswith(SUFFIX) for file in files):
        raise Unavailable(f"{repo}: holds no {SUFFIX} file. Give another repository, or a local file.")
    return Listing(repo, str(info.sha), tuple(sorted(files, key=lambda file: file.size)))


def _get(listing: Listing, file: HubFile, staging: Path) -> None:
    """Download one file, going on where an earlier attempt stopped; shows a progress bar."""
    from huggingface_hub import hf_hub_url

    if (staging / file.name).is_file():
        return
    part = staging / f"{file.name}.{listing.commit[:12]}.part"  # another revision must not go on from here
    url = hf_hub_url(listing.repo, file.name, revision=listing.commit, endpoint=_endpoint())
    get_resumed(url, part, file.size, file.name)
    part.replace(staging / file.name)


def _verify(path: Path, file: HubFile) -> None:
    """Compare size and SHA-256 with what the hub has published."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    if file.sha256:
        with path.open("rb") as stream:
            while chunk := stream.read(MEMORY):
                digest.update(chunk)
    if size != file.size or (file.sha256 and digest.hexdigest() != file.sha256):
        path.unlink()
        raise BadCheckpoint(f"{path.name}: differs from its published checksum; removed. Run the same command again.")


def _is_here(target: Path, listing: Listing) -> bool:
    """The same revision was put in place before, and the files still have their sizes."""
    if not (target / RECEIPT).is_file():
        return False
    same = read_json(target / RECEIPT).get("commit") == listing.commit
    return same and all(
        (target / f.name).is_file() and (target / f.name).stat().st_size == f.size for f in listing.files
    )


def _check_room(staging: Path, listing: Listing) -> None:
    have = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file()) if staging.is_dir() else 0
    need = sum(file.size for file in listing.files) - have
    free = shutil.disk_usage(nearest_folder(staging)).free
    if need > free:
        raise BadInput(f"{staging.parent}: {need / GB:.1f} GB are needed and {free / GB:.1f} GB free. Free some space.")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _clear_errors(repo: str) -> Iterator[None]:
    """Say in one line what the hub's and the network's errors mean and what to do."""
    from huggingface_hub import errors, get_token

    page = f"https://huggingface.co/{repo}"
    try:
        yield
    except errors.GatedRepoError as error:
        login = "" if get_token() else " Then log in: hf auth login, or set HF_TOKEN."
        account = "your account has no access yet" if get_token() else "access must be asked for"
        raise Unavailable(f"{repo} is gated: {account}. Ask for it at {page} (a form, then a wait).{login}") from error
    except errors.RepositoryNotFoundError as error:
        private = "" if get_token() else " If it is private, log in: hf auth login, or set HF_TOKEN."
        raise Unavailable(f"{repo}: the hub has no such model. Check the spelling at {page}.{private}") from error
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise Unavailable(f"{repo}: no such revision or file on the hub. See {page}/tree/main.") from error
    except errors.HfHubHTTPError as error:
        raise Unavailable(_http_message(repo, error)) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, errors.HTTPError) as error:
        raise Unavailable(
            f"{repo}: the hub cannot be reached ({_endpoint() or 'https://huggingface.co'}). Check the network and "
            "HF_HUB_OFFLINE, then run the same command again (it goes on); or give a local file or folder."
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"{repo}: cannot be stored ({reason}). Free or unlock the folder.") from error


def _http_message(repo: str, error: Any) -> str:
    status = getattr(error.response, "status_code", None)
    if status in (401, 403):
        return f"{repo}: the hub refuses the token ({status}). Log in again: hf auth login, or set HF_TOKEN."
    return f"{repo}: the hub answers {status}. Try again later; what has arrived is kept."
