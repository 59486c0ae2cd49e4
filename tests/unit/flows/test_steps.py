"""A run counts as alive for as long as its process is, whatever its flow does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import steps
from flows.journal import is_alive


def test_a_run_is_alive_until_its_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    context = SimpleNamespace(flow_run=SimpleNamespace(id="7"))
    monkeypatch.setattr(steps.FlowRunContext, "get", lambda: context)
    with steps.alive() as run:
        assert run == "7"
    assert is_alive("run-7"), "its outcome may not have reached the server yet"
    with steps.alive() as run:  # a flow that is retried
        assert run == "7"
    steps.HELD.pop("run-7").close()
    assert not is_alive("run-7")
