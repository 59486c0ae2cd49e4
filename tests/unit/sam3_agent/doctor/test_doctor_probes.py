"""Each probe against real folders, sockets and files."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam3_agent.doctor import checkout, reach, remote, trackers

SETTINGS = ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_DISABLED", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC")


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*SETTINGS, "PREFECT_API_URL", "PREFECT_PROFILE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server() -> Iterator[str]:
    """Answers 200, and 503 below /ill."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path.startswith("/ill") else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def dead() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def repository(folder: Path, config: str) -> Path:
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(config)
    return folder


def with_remote(url: str, more: str = "") -> str:
    return f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n{more}"


def test_a_url_answers_or_says_why_not(server: str, dead: str) -> None:
    assert reach.answers(server) == ""
    assert "answers 503" in reach.answers(server + "/ill")
    assert "does not answer" in reach.answers(dead)
    assert "does not answer" in reach.answers("no url at all")


def test_a_password_is_never_shown() -> None:
    assert reach.without_secrets("https://me:secret@host/x") == "https://...@host/x"
    assert reach.without_secrets("/data/a@b") == "/data/a@b"


def test_no_remote_is_a_warning_with_the_command(tmp_path: Path) -> None:
    row = remote.check_remote(repository(tmp_path, ""))
    assert row.status == "warning" and "dvc remote add" in row.advice


def test_a_folder_as_remote_is_tried_by_writing(tmp_path: Path) -> None:
    row = remote.check_remote(repository(tmp_path, with_remote("../../store")))
    assert row.status == "ok" and "can be written" in row.found
    assert not (tmp_path.parent / "store").exists(), "looking must not make it"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    row = remote.check_remote(repository(tmp_path, with_remote("/proc/store")))
    assert row.status == "failed" and "/proc/store cannot be written" in row.found


def test_a_remote_without_a_section(tmp_path: Path) -> None:
    row = remote.check_remote(repository(tmp_path, "[core]\n    remote = store\n"))
    assert row.status == "failed" and "'store' has no section" in row.found


def test_a_broken_config_is_a_finding(tmp_path: Path) -> None:
    row = remote.check_remote(repository(tmp_path, "[core\n"))
    assert row.status == "failed" and "cannot be read" in row.found


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://bucket/x", "dvc[s3]"), ("gdrive://id/x", "dvc[gdrive]"), ("ssh://h/x", "dvc[ssh]")],
)
def test_a_missing_package_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.importlib.util, "find_spec", lambda name: None)
    assert remote.remote_problem(url, {}) == (f"{package} is not installed", f'pip install "{package}"')


def test_an_endpoint_of_ones_own_is_asked(server: str, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.importlib.util, "find_spec", lambda name: name)
    assert remote.remote_problem("s3://bucket/x", {"endpointurl": server})[0] == ""
    assert "does not answer" in remote.remote_problem("s3://bucket/x", {"endpointurl": dead})[0]
    assert remote.remote_problem(f"{server}/store", {})[0] == ""


def test_an_unknown_kind_lists_the_known_ones() -> None:
    problem, advice = remote.remote_problem("ftp://host/x", {})
    assert "unknown kind 'ftp'" in problem and "gdrive" in advice


def test_mlflow_is_a_file_of_this_folder_by_default(tmp_path: Path) -> None:
    row = trackers.check_mlflow(tmp_path)
    assert (row.status, row.found) == ("ok", "sqlite:///mlflow.db")
    assert not (tmp_path / "mlflow.db").exists(), "looking must not make it"


def test_a_locked_or_broken_mlflow_file(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    assert trackers.sqlite_problem(file) == ""
    holder.execute("BEGIN IMMEDIATE")
    assert "locked" in trackers.sqlite_problem(file)
    holder.close()
    file.write_bytes(b"this is text and no database" * 100)
    assert "not a database" in trackers.check_mlflow(tmp_path).found


def test_an_mlflow_server(tmp_path: Path, server: str, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert trackers.check_mlflow(tmp_path).status == "ok"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead)
    row = trackers.check_mlflow(tmp_path)
    assert row.status == "failed" and "unset MLFLOW_TRACKING_URI" in row.advice


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "not configured"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "x"}, "offline"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x"}, "not configured"),
    ],
)
def test_wandb_without_a_network(environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    row = trackers.check_wandb()
    assert row.status == "ok" and words in row.found


def test_wandb_online_is_asked(tmp_path: Path, server: str, dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password key\n")
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert "online" in trackers.check_wandb().found
    monkeypatch.setenv("WANDB_BASE_URL", dead)
    row = trackers.check_wandb()
    assert row.status == "warning" and "WANDB_MODE=offline" in row.advice


def test_prefect_runs_without_a_server(server: str, dead: str, tmp_path: Path, monkeypatch) -> None:
    assert "without a server" in trackers.check_prefect().found
    (tmp_path / "prefect").mkdir()
    profile = f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{server}/api"\n'
    (tmp_path / "prefect" / "profiles.toml").write_text(profile)
    assert trackers.check_prefect().found == f"server at {server}/api"
    monkeypatch.setenv("PREFECT_API_URL", dead + "/api")
    assert trackers.check_prefect().status == "warning"


def test_git_state_is_told(tmp_path: Path) -> None:
    def git(*argv: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *argv], check=True)

    assert checkout.check_git(tmp_path).status == "failed"
    git("init", "-q")
    assert checkout.check_git(tmp_path).found == "no commit yet"
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    assert checkout.check_git(tmp_path).status == "ok"
    (tmp_path / "a").write_text("2")
    assert "1 changed files" in checkout.check_git(tmp_path).found


def test_published_weights_can_be_here_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hf auth login" in checkout.check_published_weights(tmp_path).advice
    monkeypatch.setenv("HF_TOKEN", "x")
    assert checkout.check_published_weights(tmp_path).status == "ok"
    (tmp_path / "models" / "sam3").mkdir(parents=True)
    assert "config.json is missing" in checkout.check_published_weights(tmp_path).found


def test_folders_that_cannot_be_written() -> None:
    row = checkout.check_outputs(Path("/proc"))
    assert row.status == "failed" and "/proc/data cannot be written" in row.found
