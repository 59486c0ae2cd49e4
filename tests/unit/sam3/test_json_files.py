"""What is said of a JSON file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3.errors import BadInput
from sam3.files import read_json


def test_a_missing_product_of_the_pipeline_says_what_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"^data/splits/val\.json: .+The pipeline makes it: make demo, or dvc repro\.$"):
        read_json("data/splits/val.json")
    with pytest.raises(BadInput, match=r"No such file or directory\)\.$"):
        read_json("mine/val.json")
    Path("data").mkdir()
    Path("data/val.json").mkdir()
    with pytest.raises(BadInput, match=r"Is a directory\)\.$"):
        read_json("data/val.json")


@pytest.mark.parametrize(("content", "words"), [(b'{"a": 1,\n}', "line 2: not valid JSON"), (b"\xff", "not UTF-8")])
def test_a_broken_file_names_the_place(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_json(tmp_path / "x.json")
