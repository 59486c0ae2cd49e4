"""The metric is the published one: its figures, its formula, its treatment of several annotators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sam3.eval.cgf1 import score_files
from sam3.eval.matching import THRESHOLDS, PairScore

FIXTURES = ["01_normal", "03_dup_ties_crowded", "07_perfect_small"]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{path}/{key}")
    else:
        yield path, value


@pytest.mark.parametrize("iou", ["segm", "bbox"])
@pytest.mark.parametrize("fixture", FIXTURES)
def test_every_published_figure_is_reproduced(shared_dir: Path, fixture: str, iou: Any) -> None:
    folder = shared_dir / "cgf1" / fixture
    official = dict(leaves(json.loads((folder / f"official_{iou}.json").read_text())))
    ours = dict(leaves(score_files(folder / "gt.json", folder / "pred.json", iou).to_json()))
    assert ours.keys() == official.keys()
    for path, figure in official.items():
        assert ours[path] == pytest.approx(figure, abs=1e-9), path


def test_all_fixtures_on_disk_are_tested(shared_dir: Path) -> None:
    assert sorted(p.parent.name for p in (shared_dir / "cgf1").glob("*/gt.json")) == FIXTURES


def test_wrapped_predictions_score_like_the_bare_list(board) -> None:
    board.pair([(0, 0, 10, 10)], [((0, 0, 10, 9), 0.9)])
    board.pair()
    truth, bare = board.write()
    wrapped = bare.with_name("wrapped.json")
    wrapped.write_text(json.dumps({"predictions": board.predictions, "presence": {"100": 0.9}, "meta": {}}))
    assert score_files(truth, wrapped).to_json() == score_files(truth, bare).to_json()


@pytest.mark.parametrize(
    ("truth", "found", "crowd", "kind"),
    [
        ([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.9)], 0, "IL_TP"),
        ([(0, 0, 9, 9)], [((30, 30, 5, 5), 0.9)], 0, "IL_TP"),  # a detection anywhere says "it is there"
        ([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.49999)], 0, "IL_FN"),
        ([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.5)], 0, "IL_TP"),
        ([], [((0, 0, 9, 9), 0.9)], 0, "IL_FP"),
        ([], [], 0, "IL_TN"),
        ([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.9)], 1, "IL_FP"),  # a crowd is no instance
        ([(0, 0, 9, 9)], [], 1, "IL_TN"),
    ],
)
def test_the_kind_of_a_pair(board, truth: Any, found: Any, crowd: int, kind: str) -> None:
    board.pair(truth, found, crowd=crowd)
    counts = score_files(*board.write()).to_json()["image_level_counts"]
    assert counts == {"IL_TP": 0, "IL_FP": 0, "IL_TN": 0, "IL_FN": 0} | {kind: 1}


def test_without_negatives_the_score_is_zero_and_says_why(board) -> None:
    board.pair([(0, 0, 10, 10)], [((0, 0, 10, 10), 0.9)])
    result = score_files(*board.write())
    assert result.cgf1 == 0 and result.pmf1 > 0.99
    assert "no negative pairs" in result.to_json()["warnings"][0]


def test_without_a_hit_the_macro_figure_is_minus_one_as_published(board) -> None:
    board.pair([(0, 0, 10, 10)])
    board.pair()
    summary = score_files(*board.write()).to_json()["summary"]
    assert summary["cgF1_eval_segm_positive_macro_F1"] == -1
    assert summary["cgF1_eval_segm_cgF1"] == 0


def test_polygons_and_run_lists_are_masks_too(board) -> None:
    board.pair([(10, 5, 20, 10)], [((10, 5, 20, 10), 0.9)])
    board.pair()
    board.annotations[0]["segmentation"] = [[10, 5, 30, 5, 30, 15, 10, 15]]
    runs = [10 * 40 + 5] + [10, 30] * 19 + [10]
    board.predictions[0]["segmentation"] = {"size": [40, 60], "counts": [*runs, 2400 - sum(runs)]}
    assert score_files(*board.write()).pairs[0].matches[0].iou == 1


def test_a_pair_score_survives_json(board) -> None:
    board.pair([(0, 0, 10, 10), (20, 0, 7, 3)], [((0, 0, 9, 7), 0.9), ((20, 1, 7, 3), 0.8)])
    (pair,) = score_files(*board.write()).pairs
    assert PairScore.from_json(json.loads(json.dumps(pair.to_json()))) == pair


# several annotators: each case has what two of them drew and the pair kind and TP@0.5 that count
ANNOTATORS = [
    ([(0, 0, 10, 10)], [(0, 0, 10, 5)], [((0, 0, 10, 5), 0.9)], "TP", 10),  # the second agrees fully
    ([(0, 0, 10, 5)], [(0, 0, 10, 10)], [((0, 0, 10, 5), 0.9)], "TP", 10),
    ([(0, 0, 10, 10)], [], [], "TN", 0),  # a true negative wins, whatever the order
    ([], [(0, 0, 10, 10)], [], "TN", 0),
    ([], [(0, 0, 10, 10)], [((0, 0, 10, 10), 0.9)], "TP", 10),
    ([(30, 30, 5, 5)], [], [((0, 0, 10, 10), 0.9)], "TP", 0),  # both F1 are 0: the first wins ties
    ([], [(30, 30, 5, 5)], [((0, 0, 10, 10), 0.9)], "FP", 0),
]


@pytest.mark.parametrize(("first", "second", "found", "kind", "hits"), ANNOTATORS)
def test_the_annotator_who_agrees_most_counts(board, tmp_path, first, second, found, kind, hits) -> None:
    paths = []
    for name, drawn in (("a.json", first), ("b.json", second)):
        other = type(board)(tmp_path)
        other.pair(drawn)
        paths.append(tmp_path / name)
        paths[-1].write_text(json.dumps(other.truth()))
    board.pair([], found)
    _, predictions = board.write()
    (pair,) = score_files(paths, predictions).pairs
    assert (pair.kind, int(pair.tp.sum())) == (kind, hits)


def test_a_pair_must_be_exhaustive_for_every_annotator(board, tmp_path) -> None:
    board.pair([(0, 0, 9, 9)], [((0, 0, 9, 9), 0.9)])
    board.pair([(0, 0, 9, 9)])
    truth, predictions = board.write()
    board.images[1] = {**board.images[1], "is_instance_exhaustive": 0}
    second = tmp_path / "second.json"
    second.write_text(json.dumps(board.truth()))
    assert len(score_files([truth, second], predictions).pairs) == 1
    assert len(score_files(truth, predictions).pairs) == 2


# ---- an independent formula: pixels as sets, the assignment by trying all, plain floats ----

SIDE = 12
rectangles = st.builds(
    lambda x, y, w, h: (x, y, min(w, SIDE - x), min(h, SIDE - y)),
    st.integers(0, SIDE - 1),
    st.integers(0, SIDE - 1),
    st.integers(1, SIDE),
    st.integers(1, SIDE),
)
scores = st.sampled_from([0.2, 0.49, 0.5, 0.7, 0.9])
pairs_drawn = st.lists(
    st.tuples(st.lists(rectangles, max_size=3), st.lists(st.tuples(rectangles, scores), max_size=3)),
    min_size=1,
    max_size=8,
)


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    x, y, w, h = box
    return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}


def best_assignment(truth: list, found: list) -> list[float]:
    """IoUs of the pairing with the largest sum; the example is thrown away when several tie differently."""
    ious = [[len(pixels(d) & pixels(t)) / len(pixels(d) | pixels(t)) for t in truth] for d in found]
    if len(found) <= len(truth):
        options = [[ious[d][t] for d, t in enumerate(p)] for p in permutations(range(len(truth)), len(found))]
    else:
        options = [[ious[d][t] for t, d in enumerate(p)] for p in permutations(range(len(found)), len(truth))]
    top = max(map(sum, options))
    best = {tuple(sorted(o)) for o in options if sum(o) > top - 1e-9}
    assume(len(best) == 1)
    return list(best.pop())


def slow_f1(tp: float, fp: float, fn: float) -> float:
    p, r = tp / (tp + fp + 1e-4), tp / (tp + fn + 1e-4)
    return 2 * p * r / (p + r + 1e-4)


def slow_cgf1(drawn: list) -> tuple[float, float, float]:
    """(cgF1, pmF1, IL_MCC), written down from the definition alone."""
    kinds = {"TP": 0, "FP": 0, "FN": 0, "TN": 0}
    sums = [[0, 0, 0] for _ in range(10)]
    for truth, found in drawn:
        found = [box for box, score in found if score >= 0.5]
        kinds[("TP" if found else "FN") if truth else ("FP" if found else "TN")] += 1
        if not truth:
            continue
        matched = best_assignment(truth, found) if found else []
        for i in range(10):
            hits = sum(iou >= THRESHOLDS[i] for iou in matched)
            sums[i] = [a + b for a, b in zip(sums[i], (hits, len(found) - hits, len(truth) - hits), strict=True)]
    tp, fp, fn, tn = (kinds[k] for k in ("TP", "FP", "FN", "TN"))
    mcc = (tp * tn - fp * fn) / (((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5 + 1e-6)
    curve = [slow_f1(*row) for row in sums]
    return sum(f * mcc for f in curve) / 10, sum(curve) / 10, mcc


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=pairs_drawn)
def test_the_metric_equals_an_independent_formula(board, drawn: list) -> None:
    fresh = type(board)(board.folder, height=SIDE, width=SIDE)
    for truth, found in drawn:
        fresh.pair(truth, found)
    result = score_files(*fresh.write())
    assert np.allclose((result.cgf1, result.pmf1, result.il_mcc), slow_cgf1(drawn), rtol=0, atol=1e-12)
