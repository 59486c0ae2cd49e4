"""`sam3-agent mine-inbox` as a process that is killed, and as an array on a real SLURM whose element is."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from made_pairs import make_pairs

PICTURES, EACH = 12, 2


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mining")
    make_pairs(folder / "inbox", PICTURES)
    (folder / "inbox/pairs.json").unlink()
    return folder / "inbox"


def command(inbox: Path, out: Path, *more: str) -> list[str]:
    given = ["mine-inbox", str(inbox), "--out", str(out), "--concept", "square", "--pictures", str(EACH)]
    return [sys.executable, "-m", "sam3_agent.cli", *given, "--threshold", "0.05", *more]


@pytest.fixture(scope="module")
def whole(inbox: Path) -> bytes:
    """The merged file of a run that nothing happened to."""
    out = inbox.parent / "whole"
    done = subprocess.run(command(inbox, out), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{PICTURES} pictures" in done.stdout and "0 repeated, 0 unreadable" in done.stdout
    return (out / "mined.jsonl.gz").read_bytes()


def manifests(out: Path) -> dict[int, float]:
    """Shard -> when its manifest was written."""
    return {int(path.stem): path.stat().st_mtime for path in out.glob("results/*/*.json")}


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_with_the_same_bytes(inbox: Path, whole: bytes) -> None:
    out = inbox.parent / "killed"
    process = subprocess.Popen(command(inbox, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not manifests(out):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    before = manifests(out)
    assert before and len(before) < PICTURES // EACH
    done = subprocess.run(command(inbox, out), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "mined.jsonl.gz").read_bytes() == whole
    assert {shard: manifests(out)[shard] for shard in before} == before  # what was done was left alone
    names = [json.loads(line)["name"] for line in gzip.decompress(whole).splitlines()]
    assert len(names) == len(set(names)) == PICTURES


@pytest.fixture
def cluster() -> Iterator[slurm_cluster.SlurmCluster]:
    if (reason := slurm_cluster.missing()) is not None:
        pytest.skip(reason)
    running = slurm_cluster.SlurmCluster().start()
    yield running
    running.stop()


@pytest.mark.slow
def test_an_array_whose_element_is_killed_ends_with_the_same_bytes(
    inbox: Path, whole: bytes, cluster: slurm_cluster.SlurmCluster
) -> None:
    out = inbox.parent / "array"
    with (out.parent / "array.txt").open("w") as text:
        asked = command(inbox, out, "--tasks", "2", "--partition", "low", "--time", "10")
        process = subprocess.Popen(asked, env=cluster.env, stdout=text, stderr=text)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not manifests(out) and process.poll() is None:
            time.sleep(0.02)
        for task in psutil.process_iter():
            try:
                line, env = task.cmdline(), task.environ()
            except psutil.Error:
                continue
            if "submitit.core._submit" in line and env.get("SLURM_CONF") == cluster.env["SLURM_CONF"]:
                task.kill()
                break
        process.wait(timeout=120)
    assert process.returncode == 0, (out.parent / "array.txt").read_text()[-2000:]
    assert (out / "mined.jsonl.gz").read_bytes() == whole
