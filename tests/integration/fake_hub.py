"""A small Hugging Face hub on loopback: one open repository, one gated, with ranges, checksums and broken lines.

`tests/integration/test_hub.py` points HF_ENDPOINT at it.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from typing import Any

COMMIT = "c0ffee" + "0" * 34


class FakeHub:
    """Serves `files` as org/open and refuses them as org/gated.

    Attributes:
        cut_after: bytes after which the next download of a file breaks off; None for whole answers.
        requests: "METHOD path range" of every request, for tests that look at resuming.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.published = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.cut_after: int | None = None
        self.requests: list[str] = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: Any) -> None:
        path = request.path.split("?")[0]
        self.requests.append(f"{request.command} {path} {request.headers.get('Range', '')}".strip())
        if path.startswith("/api/models/org/missing"):
            return self._refuse(request, 404, "RepoNotFound")
        if path.startswith("/api/models/org/"):
            return self._listing(request)
        wanted = re.fullmatch(r"/org/(\w+)/resolve/(\w+)/(.+)", path)
        if wanted is None or wanted[3] not in self.files:
            return self._refuse(request, 404, "EntryNotFound")
        if wanted[1] == "gated":
            return self._refuse(request, 403, "GatedRepo")
        return self._file(request, wanted[3])

    def _refuse(self, request: Any, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("X-Error-Code", code)
        request.send_header("X-Error-Message", code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _listing(self, request: Any) -> None:
        siblings = []
        for name, data in self.files.items():
            row: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name.endswith((".safetensors", ".pt")):
                row["lfs"] = {"sha256": self.published[name], "size": len(data), "pointerSize": 130}
            siblings.append(row)
        body = json.dumps({"id": "org/open", "sha": COMMIT, "siblings": siblings}).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def _file(self, request: Any, name: str) -> None:
        data = self.files[name]
        start = 0
        if (part := re.fullmatch(r"bytes=(\d+)-.*", request.headers.get("Range", ""))) and request.command == "GET":
            start = int(part[1])
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        request.send_header("ETag", f'"{self.published[name]}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        if request.command == "GET":
            body = data[start:]
            if self.cut_after is not None and name.endswith(".safetensors"):
                body = body[: self.cut_after]
                request.close_connection = True
            request.wfile.write(body)
