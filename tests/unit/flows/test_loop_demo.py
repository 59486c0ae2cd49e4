"""The demonstration of the loop, without its servers: its sizes, its visitors, its checkout."""

from __future__ import annotations

import random
import shutil
import subprocess
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from flows.knobs import turn_to
from flows.loop_demo import SIZES, Size, git, make_project, taken_again
from sam3.errors import Unavailable
from sam3_agent.loop_settings import load_loop
from sam3_agent.params import load_params


@pytest.mark.parametrize("size", SIZES)
def test_a_size_turns_knobs_that_exist_to_values_that_are_allowed(size: Size, repo_root: Path, tmp_path: Path) -> None:
    for name, values in SIZES[size].items():
        file = tmp_path / Path(name).name
        shutil.copy(repo_root / name, file)
        assert turn_to(values, file)
        read = load_params(file) if file.name == "params.yaml" else load_loop(file)
        for knob, value in values.items():
            section, key = knob.split(".")
            found = getattr(read, section)
            assert (found[key] if isinstance(found, dict) else getattr(found, key)) == value


def test_visitors_bring_pictures_that_no_cache_has_met(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[274] = 6  # lies on its side
    Image.effect_noise((120, 80), 60).convert("RGB").save(tmp_path / "a.jpg", exif=tag)
    rng = random.Random(1)
    made = [taken_again(tmp_path / "a.jpg", rng) for _ in range(30)]
    assert len({sha256(data).digest() for data in made}) == 30
    sizes = [Image.open(BytesIO(data)).size for data in made]
    assert all(66 <= width <= 80 and 100 <= height <= 120 for width, height in sizes), "upright, a little nearer"


def test_the_checkout_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import loop_demo

    def cut_off(*words: str, cwd: Path) -> str:
        if words[0] == "clone":
            (Path(words[-1]) / "half").touch()
            raise KeyboardInterrupt
        return git(*words, cwd=cwd)

    project = tmp_path / "project"
    monkeypatch.setitem(loop_demo.SIZES, "small", {"params.yaml": {"barnyard.pictures": 96}})
    monkeypatch.setattr(loop_demo, "git", cut_off)
    with pytest.raises(KeyboardInterrupt):
        make_project(project, "small")
    assert not project.exists()
    monkeypatch.setattr(loop_demo, "git", git)
    assert make_project(project, "small") and make_project(project, "small")
    assert load_params(project / "params.yaml").barnyard.pictures == 96
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True)
    assert not changed.stdout


def test_what_git_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"git status in .*not a git repository"):
        git("status", cwd=tmp_path)
