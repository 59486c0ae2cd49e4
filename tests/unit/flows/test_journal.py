"""Journals, locks, and the leash: what lets a killed run go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.journal import Journal, alone, is_alive
from flows.leash import leashed
from sam3.errors import BadConfig, Unavailable


def test_a_step_is_done_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(3):
        assert Journal(tmp_path / "turn.json").once("mine", lambda: calls.append(1) or {"pictures": 5}) == {
            "pictures": 5
        }
    assert calls == [1]
    Journal(tmp_path / "turn.json").forget("mine")
    assert "mine" not in Journal(tmp_path / "turn.json").steps


def test_a_step_that_fails_is_not_written_down(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "turn.json")
    with pytest.raises(ValueError, match="no"):
        journal.once("mine", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert Journal(tmp_path / "turn.json").steps == {}


def test_one_at_a_time_and_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    assert is_alive("training", tmp_path) is None
    with alone("training", locks=tmp_path):
        assert is_alive("training", tmp_path) is True
    assert is_alive("training", tmp_path) is False
    holding = "import sys, time; from pathlib import Path; from flows.journal import alone\n" \
        f"with alone('training', locks=Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"  # fmt: skip
    other = subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(Unavailable, match="another one is at it"), alone("training", locks=tmp_path):
        pass
    other.kill()
    other.wait()
    with alone("training", locks=tmp_path):
        pass


def test_whoever_dies_takes_what_it_started_along(tmp_path: Path) -> None:
    """The grandchild of a killed parent ends, too."""
    mark = tmp_path / "pid"
    work = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    inner = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"]
    outer = f"import subprocess; from flows.leash import leashed; subprocess.run(leashed({inner!r}))"
    parent = subprocess.Popen([sys.executable, "-c", outer])
    pid = _noted(mark)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _ends(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, None], ids=["killed", "ended"])
def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path, number: signal.Signals | None) -> None:
    """A server that was killed itself: its children would hold its port against the next one."""
    mark = tmp_path / "pid"
    work = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    wait = (
        "time.sleep(60)" if number else f"[time.sleep(0.05) for _ in range(200) if not os.path.exists({str(mark)!r})]"
    )
    server = f"import os, subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {work!r}]); {wait}"
    leash = subprocess.Popen(leashed([sys.executable, "-c", server]))
    pid = _noted(mark)
    if number:
        import psutil

        [killed] = psutil.Process(leash.pid).children()
        killed.send_signal(number)
    assert leash.wait(60) == (128 + number if number else 0)
    _ends(pid)


def _noted(mark: Path) -> int:
    """The process id that somebody writes there."""
    for _ in range(200):
        if mark.is_file() and mark.read_text():
            break
        time.sleep(0.05)
    return int(mark.read_text())


def _ends(pid: int) -> None:
    """It does, within some seconds."""
    for _ in range(200):
        if not _runs(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("it went on without anybody")


def _runs(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("status", [0, 3])
def test_the_leash_passes_the_status_on(status: int) -> None:
    assert subprocess.run(leashed([sys.executable, "-c", f"raise SystemExit({status})"])).returncode == status


@pytest.mark.parametrize(("name", "value"), [("data.raw", "data/dataset"), ("train.start", "outputs/champions/hen-3")])
def test_a_knob_is_turned_and_nothing_else(tmp_path: Path, repo_root: Path, name: str, value: str) -> None:
    from flows.knobs import turn_to

    params = tmp_path / "params.yaml"
    before = (repo_root / "params.yaml").read_text(encoding="utf-8")
    params.write_text(before, encoding="utf-8")
    assert turn_to({name: value}, params) and not turn_to({name: value}, params)
    after = params.read_text(encoding="utf-8")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 1 and changed[0].replace('"', "").lstrip().startswith(f"{name.split('.')[1]}: {value} #")
    assert len(after.splitlines()) == len(before.splitlines())
    params.write_text("concept: hen\n")
    with pytest.raises(BadConfig, match=f"no line {name}"):
        turn_to({name: value}, params)
