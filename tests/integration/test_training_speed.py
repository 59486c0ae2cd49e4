"""The benchmark of training speed runs as it will on a GPU: SAM 3's own parts, masks by points, every loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_pairs import make_pairs


@pytest.mark.slow
def test_the_command_for_a_gpu_runs_at_a_reduced_size(repo_root: Path, tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "pairs", 16)
    script = [sys.executable, str(repo_root / "benchmarks/training_speed.py"), "--full-size", "--reduced"]
    flags = ["--batch", "8", "--mask-points", "12544", "--pictures", "16", "--steps", "1", "--rounds", "1"]
    place = ["--pairs", str(pairs), "--images", str(pairs.parent), "--out", str(tmp_path / "speed.json")]
    command = [*script, *flags, *place, "--workers", "0", "--threads", "1"]
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "speed.json").read_text())
    loops = ("cached", "cached_everywhere", "cached_channels_last", "uncached", "stock", "stock_mixed")
    assert all(found[name]["samples_per_second"] > 0 for name in loops)
    assert found["checkpoint"] == "SAM 3's parts, 64 px, random weights" and found["batch"] == 8
