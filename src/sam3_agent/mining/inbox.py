"""Where unlabelled pictures are: a folder, tar shards (webdataset), or an object store, all through fsspec.

    parts = list(inbox_parts("data/inbox", 1000))              # what a shard will read; no picture is opened
    for name, data in pictures(parts[0]): ...                  # bytes of each, one at a time

A part is either up to N picture files or one tar. Order is that of the names, so the same inbox is always cut alike.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sam3.errors import BadInput, Unavailable
from sam3.images import PICTURE_SUFFIXES, is_picture

MAX_BYTES = 64_000_000  # of one picture; a larger one is reported, not read


@dataclass(frozen=True)
class Part:
    """What one shard reads.

    Attributes:
        url: the folder of `names`, or a tar. names: relative to `url`; empty for a tar, whose members are all read.
    """

    url: str
    names: tuple[str, ...] = ()


def located(url: str) -> str:
    """An inbox by an address that holds from any working folder.

    Raises:
        BadInput: none was given, or its name cannot be written down.
    """
    if not url.strip():
        raise BadInput("inbox: empty; expected a folder, a .tar or an address.", field="inbox")
    if not is_text(url):
        raise BadInput(f"inbox {os.fsencode(url)!r}: its name is not UTF-8. Rename it.", field="inbox")
    return url if "://" in url else str(Path(url).absolute())


def inbox_parts(url: str, pictures_each: int) -> Iterator[Part]:
    """Cut an inbox into parts.

    Args:
        url: a path, or anything fsspec opens (s3://, gs://, az://, file://, memory://). A folder may hold pictures,
            tar shards, or both, at any depth; a single tar is an inbox too.

    Raises:
        BadInput: nothing is there. Unavailable: the store cannot be reached, or its driver is not installed.
    """
    files, root = _opened(url)
    try:
        if files.isfile(root):
            if not root.endswith(".tar"):
                raise BadInput(f"{url}: expected a folder or a .tar of pictures.", field="inbox")
            yield Part(url)
            return
        found = sorted(files.find(root))
    except BadInput:
        raise
    except Exception as error:  # drivers of stores have errors of their own: no credentials, no endpoint, no TLS
        raise Unavailable(f"{url}: cannot be listed ({_first(error)}). Check the address and your rights.") from error
    base = root.rstrip("/") + "/"
    inside = _named(url, [path[len(base) :] for path in found if path.startswith(base)])
    visible = [name for name in inside if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    loose = [name for name in visible if is_picture(name)]
    tars = [name for name in visible if name.endswith(".tar")]
    if not loose and not tars:
        raise BadInput(f"{url}: no pictures ({', '.join(PICTURE_SUFFIXES)}) and no .tar in it.", field="inbox")
    joined = url.rstrip("/")
    for at in range(0, len(loose), pictures_each):
        yield Part(joined, tuple(loose[at : at + pictures_each]))
    for name in tars:
        yield Part(f"{joined}/{name}")


def is_text(name: str) -> bool:
    """Whether a name is UTF-8; Python stands in for other bytes with lone surrogates, which no file of ours can hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _named(url: str, names: list[str]) -> list[str]:
    """Names that can be written down; of others it is said that they are left out."""
    bad = [os.fsencode(name) for name in names if not is_text(name)]
    if bad:
        warnings.warn(f"{url}: left out for names that are not UTF-8: {len(bad)} ({bad[0]!r}). Rename.", stacklevel=3)
    return [name for name in names if is_text(name)]


# what is wrong with one file and not with the store
OF_THIS_FILE = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)


def sources(part: Part) -> Iterator[tuple[str, Callable[[], bytes | BadInput]]]:
    """Name of every picture of a part and how to get its bytes, in order; calls for loose files may run side by side.

    Raises:
        Unavailable: the store cannot be reached (from the call), or a tar ends before its end (it may still be being
            written).
    """
    if part.names:
        files, root = _opened(part.url)
        for name in part.names:
            yield name, partial(_read, files, f"{root.rstrip('/')}/{name}", name)
        return
    for name, data in _members(part.url):
        yield name, partial(_held, data)


def pictures(part: Part) -> Iterator[tuple[str, bytes | BadInput]]:
    """Name and bytes of every picture of a part; what cannot be read comes as its error, and the rest goes on.

    Raises:
        Unavailable: as of `sources`.
    """
    for name, read in sources(part):
        yield name, read()


def _held(data: bytes | BadInput) -> bytes | BadInput:
    return data


def _read(files: Any, path: str, name: str) -> bytes | BadInput:
    try:
        about = files.info(path)
        if about.get("type") not in (None, "file", "link"):
            return BadInput(f"{name}: no file (a folder, pipe or device).")
        if (about.get("size") or 0) > MAX_BYTES:
            return BadInput(f"{name}: over {MAX_BYTES / 1e6:.0f} MB. Scale the picture down.")
        return bytes(files.cat_file(path))
    except FileNotFoundError:
        return BadInput(f"{name}: gone since the inbox was planned.")
    except PermissionError as error:
        return BadInput(f"{name}: cannot be read ({_first(error)}).")
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno in OF_THIS_FILE:
            return BadInput(f"{name}: cannot be read ({error.strerror}).")
        raise Unavailable(f"{path}: {_first(error)}. Run the shard again.") from error


def _members(url: str) -> Iterator[tuple[str, bytes | BadInput]]:
    """Pictures of a tar, read as a stream and never unpacked; sizes are looked at before bytes are taken."""
    import tarfile

    files, path = _opened(url)
    prefix = PurePosixPath(path).name
    try:
        with files.open(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not member.isfile() or not is_picture(member.name) or not _named(url, [member.name]):
                    continue
                name = f"{prefix}/{member.name}"
                if member.size > MAX_BYTES:
                    yield name, BadInput(f"{name}: over {MAX_BYTES / 1e6:.0f} MB. Scale the picture down.")
                    continue
                yield name, tar.extractfile(member).read()  # type: ignore[union-attr]
            _check_end(files, path, tar.offset)
    except FileNotFoundError as error:
        raise Unavailable(f"{url}: gone since the inbox was planned. Plan again.") from error
    except Exception as error:
        if not isinstance(error, (OSError, ValueError, tarfile.TarError, EOFError)):
            raise Unavailable(f"{url}: {_first(error)}. Run the shard again.") from error
        raise Unavailable(f"{url}: not a whole tar ({_first(error)}). Write it again, then run its shard.") from error


def _check_end(files: Any, path: str, end: int) -> None:
    """That a tar ends where its reader stopped: a header that is damaged, or cut off, reads like an end.

    Raises:
        EOFError: it does not.
    """
    import tarfile

    if files.size(path) < end + tarfile.BLOCKSIZE:
        raise EOFError("its end is missing")
    with files.open(path, "rb") as stream:
        stream.seek(end)
        while piece := stream.read(1 << 20):
            if piece.strip(b"\0"):
                raise EOFError(f"damaged at or after byte {end}")


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    if "::" in url or url.startswith(("pipe:", "-")):
        raise BadInput(f"{url}: chained and piped addresses are not opened.", field="inbox")
    try:
        return fsspec.core.url_to_fs(url)
    except OSError as error:  # some drivers connect at once
        raise Unavailable(f"{url}: cannot be reached ({_first(error)}). Check the address.", field="inbox") from error
    except (ImportError, ValueError, TypeError) as error:
        raise Unavailable(
            f"{url}: no driver for this address ({_first(error)}). Check it. Install the extra `scale`, or mount the store.",
            field="inbox",
        ) from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
