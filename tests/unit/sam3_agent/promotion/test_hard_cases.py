"""Some of every annotated batch is measured on and never trained on; the same pictures whoever asks and whenever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam3.errors import BadInput
from sam3.files import read_json
from sam3_agent.annotation.annotated import Annotation, deliver
from sam3_agent.promotion.hard_cases import hold_out, is_hard


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Twenty pictures, every second one with a chicken."""
    rng, pictures, rows = np.random.default_rng(0), {}, []
    for at in range(20):
        data = cv2.imencode(".png", rng.integers(0, 255, (64, 96, 3), np.uint8))[1].tobytes()
        pictures[f"{at}.png"] = data
        square = [[[[10.0, 10.0], [40.0, 10.0], [40.0, 40.0], [10.0, 40.0]]]] if at % 2 else []
        rows.append(Annotation(
            id=f"a{at}", batch="batch-1", file=f"{at}.png", sha256=hashlib.sha256(data).hexdigest(), width=96, height=64,
            annotator="ann", task="t", model_version="m", created="2026-01-01T00:00:00Z",
            updated="2026-01-01T00:00:00Z", instances=square, none=not at % 2,
        ))  # fmt: skip
    deliver(tmp_path / "annotated/batch-1", rows, lambda row: pictures[row.file], concept="chicken")
    return tmp_path / "annotated/batch-1"


def test_a_batch_is_divided_by_content_once_and_for_all(annotated: Path, tmp_path: Path, repo_root: Path) -> None:
    places = {"params": repo_root / "params.yaml", "train": tmp_path / "train", "hard": tmp_path / "hard"}
    first = hold_out(annotated, 0.4, **places)
    assert first.trained + first.held == 20 and 2 <= first.held <= 14 and first.hard is not None
    sides = [{path.name for path in (tmp_path / side / "batch-1/images").iterdir()} for side in ("train", "hard")]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 20
    rows = [json.loads(line) for line in (tmp_path / "train/batch-1/annotations.jsonl").read_text().splitlines()]
    assert {row["file"] for row in rows} == sides[0]
    assert {Path(row["file_name"]).name for row in read_json(first.hard)["images"]} == sides[1]
    assert hold_out(annotated, 0.4, **places) == first


def test_nothing_is_held_out_when_nothing_is_asked_for_or_nothing_shows_the_concept(
    annotated: Path, tmp_path: Path, repo_root: Path
) -> None:
    places = {"params": repo_root / "params.yaml", "train": tmp_path / "train", "hard": tmp_path / "hard"}
    none = hold_out(annotated, 0.0, **places)
    assert (none.trained, none.held, none.hard) == (20, 0, None)
    with pytest.raises(BadInput, match="no annotated batch"):
        hold_out(tmp_path / "nowhere", 0.2, **places)


def test_the_share_is_kept_over_many_pictures() -> None:
    digests = [hashlib.sha256(str(at).encode()).hexdigest() for at in range(5000)]
    assert sum(is_hard(one, 0.2) for one in digests) / 5000 == pytest.approx(0.2, abs=0.02)
