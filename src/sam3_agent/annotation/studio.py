"""A running Label Studio: its address and token, and the few calls of its API that are needed.

studio = Studio.load(Path("outputs/label-studio"))      # as `sam3-agent annotate up` left it
studio.call("GET", "/api/projects")
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.errors import BadInput, Unavailable
from sam3.files import read_json

HOME = Path("outputs/label-studio")
ADDRESS = "studio.json"
PATIENCE = 60.0  # seconds for a call
AWAY = 20.0  # seconds that a server may be away, as when it is started again
MARK = "sam3-agent batch"  # in the description of our projects


@dataclass(frozen=True)
class Studio:
    """How to reach a Label Studio.

    Attributes:
        url: http://host:port. token: of the account in whose name we speak.
        files: the folder that the server serves local files from; batches lie in it.
        backend: where the server reaches our backend (pre-labels, clicks, webhook); "": nowhere.
        secret: what the server must show at the backend.
        home: folder with its database; None for one that somebody else runs.
    """

    url: str
    token: str = field(repr=False)
    files: Path
    backend: str = ""
    secret: str = field(default="", repr=False)
    home: Path | None = None

    @classmethod
    def load(cls, home: Path = HOME) -> Studio:
        """The server that `annotate up` runs, or that SAM3_LABEL_STUDIO_URL and SAM3_LABEL_STUDIO_TOKEN name.

        Raises:
            Unavailable: none is known.
        """
        url, token = os.environ.get("SAM3_LABEL_STUDIO_URL"), os.environ.get("SAM3_LABEL_STUDIO_TOKEN")
        if url and token:
            files = Path(os.environ.get("SAM3_LABEL_STUDIO_FILES") or "data/to_annotate")
            backend = os.environ.get("SAM3_ANNOTATION_BACKEND", "")
            return cls(url.rstrip("/"), token, files, backend, os.environ.get("SAM3_ANNOTATION_SECRET", ""))
        if not (home / ADDRESS).is_file():
            raise Unavailable(f"{home / ADDRESS}: no Label Studio was started here. Run: sam3-agent annotate up")
        row = read_json(home / ADDRESS)
        return cls(row["url"], row["token"], Path(row["files"]), row["backend"], row["secret"], home)

    def save(self) -> None:
        """Note the address in `home`, readable by its owner only."""
        assert self.home is not None
        row = {"url": self.url, "token": self.token, "files": str(self.files), "backend": self.backend,
               "secret": self.secret}  # fmt: skip
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / ADDRESS
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(row, stream)

    def call(self, method: str, path: str, *, missing_ok: bool = False, **options: Any) -> Any:
        """One call of the API; JSON, or None for an empty reply. A server that is starting again is waited for.

        Raises:
            BadInput: it refused, in its words. Unavailable: it does not answer.
        """
        import httpx

        deadline, headers = time.monotonic() + AWAY, {"Authorization": f"Token {self.token}"}
        while True:
            try:
                reply = httpx.request(method, self.url + path, headers=headers, timeout=PATIENCE, **options)
            except httpx.TransportError as error:
                # a change that may have been made is not made again: the caller looks first
                if time.monotonic() > deadline or (method != "GET" and not isinstance(error, httpx.ConnectError)):
                    raise Unavailable(
                        f"{self.url}: Label Studio does not answer ({type(error).__name__}). Start it: sam3-agent "
                        "annotate up"
                    ) from error
            else:
                if reply.status_code < 502:
                    break
                if time.monotonic() > deadline:
                    raise Unavailable(f"{self.url}: Label Studio answers {reply.status_code}.")
            time.sleep(0.5)
        if missing_ok and reply.status_code == 404:
            return None
        if reply.status_code >= 400:
            raise BadInput(f"Label Studio, {method} {path}: {reply.status_code} {_words(reply)}")
        return reply.json() if reply.content else None

    def projects(self) -> Iterator[dict[str, Any]]:
        """Our projects, oldest first; `batch` says which batch each is about."""
        found: list[dict[str, Any]] = []
        page = 1
        while True:
            reply = self.call("GET", "/api/projects", params={"page": page, "page_size": 100, "ordering": "id"})
            found += reply["results"]
            if not reply.get("next"):
                break
            page += 1
        for project in sorted(found, key=lambda one: one["id"]):
            mark, _, batch = (project.get("description") or "").partition(": ")
            if mark == MARK and batch and Path(batch).name == batch and batch != "..":  # anybody may edit a description
                yield {**project, "batch": batch}

    def tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """Tasks of a project with their annotations and predictions, a page at a time."""
        page = 1
        while True:
            options = {"project": project, "page": page, "page_size": 100, "fields": "all"}
            reply = self.call("GET", "/api/tasks", params=options, missing_ok=page > 1)
            rows = reply["tasks"] if reply else []
            yield from rows
            if len(rows) < 100:
                return
            page += 1

    def people(self) -> dict[int, str]:
        """Account number -> e-mail address."""
        return {row["id"]: row["email"] for row in self.call("GET", "/api/users")}


def _words(reply: Any) -> str:
    """The first thing that an error reply says."""
    try:
        content = reply.json()
    except ValueError:
        return str(reply.text)[:200].strip()
    found = content.get("validation_errors") or content.get("detail") or content
    return json.dumps(found, ensure_ascii=False)[:300]
