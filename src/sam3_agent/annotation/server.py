"""The real Label Studio as a child process, on SQLite: start, wait until it answers, stop by its own id.

    with StudioServer(home, files=Path("data/to_annotate")) as studio:
        push_batch(Path("data/to_annotate/batch-0001"), studio)

Database, secrets and log lie in `home`; killed in any way and started again it has everything that was saved.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import urlopen

from sam3.errors import BadConfig, Unavailable
from sam3_agent.annotation.environment import label_studio
from sam3_agent.annotation.studio import HOME, Studio
from sam3_agent.ending import end, end_with_parent

ACCOUNT, LOG = "account.json", "label-studio.log"
LOOPBACK = ("127.0.0.1", "localhost")
OWNER = "owner@sam3-agent.local"
START = 240.0  # seconds; the first start makes the database


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class StudioServer:
    """A Label Studio of one's own.

    Attributes:
        home: folder of database, account and log. files: what it may show; batches lie in it.
        port: 0 takes a free one. host: 127.0.0.1; others need a proxy in front.
        backend: where it reaches our backend; "": nowhere.
    """

    home: Path = HOME
    files: Path = Path("data/to_annotate")
    port: int = 0
    host: str = "127.0.0.1"
    backend: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, timeout: float = START) -> Studio:
        """Start, and return when it answers.

        Raises:
            BadConfig: a host that others reach. Unavailable: the port is taken, or it ended or did not answer in time.
        """
        if self.host not in LOOPBACK:
            raise BadConfig(f"host {self.host}: only loopback; use compose and a proxy for others.", field="host")
        self.home.mkdir(parents=True, exist_ok=True)
        self.files.mkdir(parents=True, exist_ok=True)
        account, port = self._account(), self.port or free_port()
        with socket.socket() as probe:
            if probe.connect_ex((self.host, port)) == 0:
                raise Unavailable(f"port {port} is in use. End what listens there, or take another.", field="port")
        command = [
            str(label_studio()), "start", "--no-browser", "--internal-host", self.host, "--port", str(port),
            "--data-dir", str(self.home.resolve()), "--username", OWNER, "--password", account["password"],
            "--user-token", account["token"], "--log-level", "WARNING",
        ]  # fmt: skip
        with (self.home / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self._variables(port), stdout=log, stderr=log, preexec_fn=end_with_parent
            )
        url = f"http://{self.host}:{port}"
        studio = Studio(url, account["token"], self.files.resolve(), self.backend, account["secret"], self.home)
        try:
            self._wait(url, timeout)
            studio.call("GET", "/api/current-user/whoami")  # the token is taken, too
        except BaseException:
            self.stop()
            raise
        studio.save()
        return studio

    def stop(self, grace: float = 15.0) -> None:
        """End it: SIGTERM, and SIGKILL after `grace` seconds. What was saved is in the database."""
        end(self.process, grace)

    def password(self) -> tuple[str, str]:
        """What to log in with."""
        return OWNER, self._account()["password"]

    def __enter__(self) -> Studio:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _account(self) -> dict[str, str]:
        """Password, token and secret of this home; made once, readable by the owner only."""
        path = self.home / ACCOUNT
        if not path.is_file():
            row = {
                "password": secrets.token_urlsafe(12),
                "token": secrets.token_hex(20),
                "secret": secrets.token_hex(20),
            }
            part = path.with_suffix(".part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                json.dump(row, stream)
            os.replace(part, path)
        return dict(json.loads(path.read_text()))

    def _variables(self, port: int) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH", "TMPDIR", "USER")}
        return kept | {
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.files.resolve()),
            "LABEL_STUDIO_HOST": f"http://{self.host}:{port}",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # our backend is on this machine's loopback, which Label Studio would not call; nobody else reaches either
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LATEST_VERSION_CHECK": "false",
            "OMP_NUM_THREADS": "1",
        }

    def _wait(self, url: str, timeout: float) -> None:
        assert self.process is not None
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Unavailable(f"Label Studio ended with status {self.process.returncode}. {self._last_words()}")
            try:
                with urlopen(f"{url}/health", timeout=2) as reply:
                    if reply.status == 200:
                        return
            except (URLError, OSError):
                time.sleep(0.2)
        raise Unavailable(f"Label Studio did not answer in {timeout:.0f} s. {self._last_words()}")

    def _last_words(self) -> str:
        lines = (self.home / LOG).read_text(errors="replace").splitlines()
        told = next((line for line in reversed(lines) if "Error" in line or "error" in line), "")
        return f"It said: {' '.join(told.split())[:300]}" if told else f"Look into {self.home / LOG}."
