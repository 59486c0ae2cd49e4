"""`sam3-agent download` against a hub that behaves like the real one: whole, interrupted, changed, gated, absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_hub import COMMIT, FakeHub
from safetensors.numpy import save

from sam3.checkpoint_files import weights_problem
from sam3.errors import BadCheckpoint, Unavailable
from sam3.files import read_json
from sam3_agent import cli
from sam3_agent.hub import fetch

WEIGHTS = save({"a": np.arange(300_000, dtype=np.float32)})
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "sam3.pt": b"not wanted",
    "train.py": b"not wanted",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    server = FakeHub(dict(FILES))
    for name, value in {"HF_ENDPOINT": server.url, "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    yield server
    server.close()


def test_a_checkpoint_arrives_whole_and_with_a_receipt(hub: FakeHub, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("org/open", tmp_path / "sam3", say=said.append)
    assert weights_problem(folder) == ""
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "download.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert read_json(folder / "download.json")["commit"] == COMMIT
    assert "model.safetensors: 1.2 MB, checksum right" in said
    assert [p.name for p in tmp_path.iterdir()] == ["sam3"], "no scratch folder stays"


def test_a_second_run_downloads_nothing(hub: FakeHub, tmp_path: Path) -> None:
    fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    hub.requests.clear()
    said: list[str] = []
    fetch("org/open", tmp_path / "sam3", say=said.append)
    assert "already" in said[0]
    assert not any("resolve" in request for request in hub.requests)


def test_a_broken_line_is_picked_up_where_it_broke(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut_after = 500_000
    folder = fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [request.split()[-1] for request in hub.requests if "bytes=" in request]
    assert ranges == ["bytes=500000-", "bytes=1000000-"]


def test_an_interrupted_run_is_gone_on_with_by_the_next(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut_after = 100_000
    with pytest.raises(Unavailable, match=r"run the same command again \(it goes on\)"):
        fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    assert not (tmp_path / "sam3").exists(), "nothing half-there"
    hub.cut_after = None
    hub.requests.clear()
    fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    assert [request for request in hub.requests if "bytes=300000-" in request]
    assert (tmp_path / "sam3" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_that_differs_from_its_checksum_is_removed(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] = WEIGHTS[:-4] + b"oops"
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors: differs from its published checksum"):
        fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    assert not (tmp_path / "sam3").exists()
    hub.files["model.safetensors"] = WEIGHTS
    assert weights_problem(fetch("org/open", tmp_path / "sam3", say=lambda _: None)) == ""


def test_a_gated_repository_says_what_to_do(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(Unavailable, match=r"access must be asked for\. Ask for it at .*/org/gated.*hf auth login"):
        fetch("org/gated", tmp_path / "sam3", say=lambda _: None)
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    with pytest.raises(Unavailable, match="your account has no access yet"):
        fetch("org/gated", tmp_path / "sam3", say=lambda _: None)
    assert not (tmp_path / "sam3").exists()


def test_a_repository_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="org/missing: the hub has no such model"):
        fetch("org/missing", tmp_path / "sam3", say=lambda _: None)


def test_a_repository_without_weights(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(Unavailable, match=r"holds no \.safetensors file"):
        fetch("org/open", tmp_path / "sam3", say=lambda _: None)


def test_no_network_says_so_in_one_line(hub: FakeHub, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as end:
        cli.main(["download", "org/open", "--to", str(tmp_path / "sam3")])
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert "the hub cannot be reached (http://127.0.0.1:9)" in err and err.count("\n") == 1


def test_no_room_is_told_before_anything_is_fetched(hub: FakeHub, tmp_path: Path, monkeypatch) -> None:
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("sam3_agent.hub.shutil.disk_usage", lambda path: usage(10, 10, 10))
    with pytest.raises(Exception, match=r"0\.0 GB free\. Free some space"):
        fetch("org/open", tmp_path / "sam3", say=lambda _: None)
    assert not any("resolve" in request for request in hub.requests)
