"""One large file over HTTP, going on where an earlier attempt or an earlier process stopped.

huggingface_hub 2 throws an interrupted download away; three gigabytes over a bad line need better. Uses that
library's HTTP session, so its proxies, certificates and errors stay the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ATTEMPTS = 3  # broken lines in one run; whatever arrived is kept for the next run
TIMEOUT = 30  # seconds without a byte


def get_resumed(url: str, part: Path, size: int, title: str) -> None:
    """Fetch `url` into `part`, asking only for the bytes that `part` lacks; shows a progress bar on stderr.

    Args:
        part: the file that grows; it stays when the line breaks.
        size: of the whole, bytes.
        title: beside the bar.

    Raises:
        huggingface_hub.errors.HTTPError: refused, or the line broke `ATTEMPTS` times.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    part.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=size)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _append(url, part, size, lambda done: progress.update(bar, completed=done))
                return
            except HfHubHTTPError:  # an answer, and it is no: asking again does not help
                raise
            except HTTPError:
                if attempt == ATTEMPTS:
                    raise


def _append(url: str, part: Path, size: int, show: Callable[[int], None]) -> None:
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    have = part.stat().st_size if part.exists() else 0
    if have > size:  # cannot be of this file
        part.unlink()
        have = 0
    if have == size and size:
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as answer:
        if answer.status_code >= 400:
            answer.read()
        hf_raise_for_status(answer)
        goes_on = answer.status_code == 206  # a server may ignore the range and send everything
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in answer.iter_raw():  # as it comes: a fixed size would lose the last bytes before a break
                stream.write(chunk)
                show(stream.tell())
