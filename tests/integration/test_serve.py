"""`sam3-agent serve` as people start it: real weights, a question, a polite end; and sessions in Postgres."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis_server import free_port
from scene_service import SCENES, SceneEngine, chat, message

from sam3.errors import BadConfig
from sam3_agent import Agent
from sam3_agent.execution.media import medium
from sam3_agent.service.serve import serve
from sam3_agent.sessions.state import restored, saved
from sam3_agent.sessions.store import SessionStore


def started(folder: Path, port: int, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "SAM3_SERVICE_SESSIONS": f"sqlite:///{folder}/s.db"}
    command = [sys.executable, "-m", "sam3_agent.cli", "serve", "--port", str(port), *words]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def ready(address: str, process: subprocess.Popen[str], seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(f"{address}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready: {process.poll()}")


@pytest.mark.slow
def test_it_answers_with_real_weights_and_ends_what_it_began(tmp_path: Path, repo_root: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = started(tmp_path, port)
    try:
        ready(address, process)
        data = base64.b64encode((repo_root / "data/demo/yard.jpg").read_bytes()).decode()
        answers: list[Any] = []

        def ask() -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                answers.append(chat(client, message("how many chickens?", f"data:image/jpeg;base64,{data}")))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        asking.join(60)
        assert process.wait(40) in (0, -signal.SIGTERM)
        assert answers[0].status_code == 200 and isinstance(answers[0].json()["sam3"]["answer"], int)
        assert answers[0].json()["sam3"]["explain"]["model"].startswith("torch")
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_and_an_open_door_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAM3_SERVICE_SESSIONS", f"sqlite:///{tmp_path}/s.db")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Exception, match="cannot listen there"):
            serve(port=taken.getsockname()[1])
    monkeypatch.delenv("SAM3_SERVICE_KEYS", raising=False)
    with pytest.raises(BadConfig, match="without a key"):
        serve(host="0.0.0.0")


@pytest.mark.slow
def test_dev_starts_again_when_the_code_changes(tmp_path: Path, repo_root: Path) -> None:
    """The reloader watches the package; touching one of its files is a change."""
    port = free_port()
    process = started(tmp_path, port, "--dev")
    address = f"http://127.0.0.1:{port}"
    try:
        ready(address, process)
        start = again = httpx.get(f"{address}/v1/models").json()["data"][0]["created"]
        os.utime(repo_root / "src/sam3_agent/service/health.py")
        give_up = time.monotonic() + 60
        while again == start and time.monotonic() < give_up:
            time.sleep(0.5)
            with contextlib.suppress(httpx.HTTPError):
                again = httpx.get(f"{address}/v1/models", timeout=2).json()["data"][0]["created"]
        assert again != start
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A real server on a free port, run by the user that Debian's package makes; skipped where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    runuser = shutil.which("runuser")
    if not found or os.getuid() != 0 or runuser is None:
        pytest.skip("needs root and Debian's postgresql")
    folder, port = tmp_path / "pg", free_port()
    folder.mkdir()
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    shutil.chown(folder, "postgres")

    def run(*words: str) -> None:
        subprocess.run([runuser, "-u", "postgres", "--", *words], check=True, capture_output=True, cwd=folder)

    run(str(found[-1] / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "ann", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(found[-1] / "pg_ctl"), "-D", str(folder / "data"), "-w", "-o", options, "-l", str(folder / "log"), "start")
    yield f"postgresql+psycopg://ann@127.0.0.1:{port}/postgres"
    run(str(found[-1] / "pg_ctl"), "-D", str(folder / "data"), "-m", "immediate", "stop")


def test_conversations_live_in_postgres_just_as_well(postgres: str) -> None:
    engine = SceneEngine()
    session = Agent(engine, mirror="never").session()
    picture = medium(engine.draw(SCENES["park"]))
    session.ask("find the dogs", [picture])
    store = SessionStore(postgres)
    number = store.create("ann")
    turn = {"id": "t1", "query": "find the dogs ✓", "reply": {"text": "Found 3 dogs."}}
    store.save(number, "ann", saved(session), {0: picture}, turn)
    store.note("ann", "t1", "up", {})
    store.close()
    again = SessionStore(postgres)
    kept = again.load(number, "ann")
    assert kept.state is not None and again.turns(number, "ann")[0]["query"] == "find the dogs ✓"
    other = restored(Agent(engine, mirror="never"), kept.state, kept.media)
    assert other.ask("how many of them are not sitting?").answer == 2
    assert again.owns_turn("ann", "t1") and not again.owns_turn("bob", "t1") and again.feedback()[0]["verdict"] == "up"
    again.forget(number, "ann")
    again.close()
