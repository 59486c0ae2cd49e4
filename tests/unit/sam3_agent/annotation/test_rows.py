"""Corrections as rows: shapes in percent, brushes, deliveries that repeat, people who disagree, files from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3.errors import BadInput
from sam3.types import Detections
from sam3_agent.annotation.accept import accept
from sam3_agent.annotation.annotated import Annotation, deliver, read_rows, settle
from sam3_agent.annotation.brush import decode_brush, encode_brush
from sam3_agent.annotation.colours import by_colour
from sam3_agent.annotation.labelling import instructions, labelling_config
from sam3_agent.annotation.prompting import one_piece, under
from sam3_agent.annotation.pull import annotation_of, concept_of
from sam3_agent.annotation.shapes import fill, mask_region, outlines_of, polygon
from sam3_agent.mining import labelme
from sam3_agent.mining.batch import write_batch
from sam3_agent.mining.flag import mask_iou

SQUARE = [[10.0, 10.0], [40.0, 10.0], [40.0, 30.0], [10.0, 30.0]]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 1.0]))
def test_a_brush_survives_the_way_there_and_back(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert np.array_equal(decode_brush(encode_brush(mask), height, width), mask)


def test_a_brush_with_long_runs_and_one_cut_short() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:200] = True
    data = encode_brush(mask)
    assert np.array_equal(decode_brush(data, 300, 400), mask)
    for broken, size in ((data[:-3], (300, 400)), (data, (30, 40)), ([], (3, 4))):
        with pytest.raises(ValueError):
            decode_brush(broken, *size)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (290, 420), (8, 1000)])
def test_percent_are_of_width_and_of_height(width: int, height: int) -> None:
    ring = np.array([(0.1, 0.2), (0.9, 0.2), (0.5, 0.8)]) * (width, height)
    region = polygon(ring, "hen", width, height)
    assert np.allclose(region["value"]["points"], [[10, 20], [90, 20], [50, 80]])
    [back] = outlines_of(region, width, height) or []
    assert np.abs(back - ring).max() < 0.01


@pytest.mark.parametrize(("region", "area"), [
    ({"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 50, "height": 25}}, 100 * 25),
    ({"type": "rectanglelabels", "value": {"x": 50, "y": 50, "width": 20, "height": 30, "rotation": 30}}, 40 * 30),
    ({"type": "ellipselabels", "value": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10}}, np.pi * 40 * 10),
])  # fmt: skip
def test_boxes_and_ellipses_keep_their_area(region: dict[str, Any], area: float) -> None:
    rings = outlines_of(region, 200, 100)
    assert rings and fill(rings, 100, 200).sum() == pytest.approx(area, rel=0.03)


def test_a_turned_box_turns_about_its_corner_clockwise() -> None:
    region = {"type": "rectanglelabels", "value": {"x": 50, "y": 10, "width": 10, "height": 40, "rotation": 90}}
    [ring] = outlines_of(region, 200, 100) or []
    assert (
        np.allclose(ring[0], (100, 10))
        and ring[:, 0].min() == pytest.approx(60)
        and ring[:, 1].max() == pytest.approx(30)
    )


def test_one_part_is_a_polygon_and_several_are_a_brush() -> None:
    one = np.zeros((60, 80), bool)
    one[10:40, 10:50] = True
    two = one.copy()
    two[10:40, 25:35] = False
    ring = one.copy()
    ring[20:30, 20:40] = False
    kinds = [mask_region(mask, "hen")["type"] for mask in (one, two, ring)]  # type: ignore[index]
    assert kinds == ["polygonlabels", "brushlabels", "brushlabels"]
    for mask in (one, two):
        region = mask_region(mask, "hen")
        assert (
            region is not None
            and mask_iou(fill(outlines_of(region, 80, 60) or [], 60, 80)[None], mask[None])[0, 0] > 0.95
        )
    assert mask_region(np.zeros((60, 80), bool), "hen") is None


@pytest.mark.parametrize("value", [{}, {"points": [[1]]}, {"points": "no"}, {"points": [[float("nan"), 1]] * 3}])
def test_a_region_without_numbers_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="without usable numbers"):
        outlines_of({"type": "polygonlabels", "value": value}, 10, 10)


@pytest.mark.parametrize("concept", ["chicken", 'a "red" <hen> & co', "Hühner"])
def test_the_labelling_config_speaks_of_the_concept(concept: str) -> None:
    config = labelling_config(concept)
    tree = ElementTree.fromstring(config)
    assert {label.get("value") for label in tree.iter("Label")} == {concept} and concept_of(config) == concept
    assert [choice.get("value") for choice in tree.iter("Choice")] == [f"no {concept} here", "ambiguous"]
    assert [tag.get("name") for tag in tree.iter() if tag.get("smart") == "true"] == ["click", "box"]
    assert [tag.get("value") for tag in tree.iterfind("View/Header")] == ["Polygon", "Brush"], (
        "which of two labels is which"
    )
    assert tree.find(".//BrushLabels[@smart='false']") is not None, "a stroke is no question to the model"
    assert all(word in instructions(concept) for word in ("Delete", "Add", "Refine", "ambiguous"))


def said(**more: Any) -> Annotation:
    about = {
        "id": "a1", "batch": "b", "file": "hen.png", "sha256": "", "width": 80, "height": 60, "annotator": "ann",
        "task": "t", "model_version": "m@1", "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
        "instances": [[SQUARE]],
    }  # fmt: skip
    return Annotation(**{**about, **more})


def test_people_who_agree_are_believed_and_the_latest_speaks() -> None:
    moved = [[[x + 1, y] for x, y in SQUARE]]
    state, speaker, agreed = settle([said(), said(id="a2", annotator="bob", updated="2026-01-02", instances=[moved])])
    assert state == "positive" and speaker.id == "a2" and agreed is not None and agreed > 0.9


@pytest.mark.parametrize(("other", "state"), [
    ({"instances": []}, "disputed"),
    ({"instances": [], "ambiguous": True}, "disputed"),
    ({"instances": [[SQUARE], [[[50.0, 40.0], [70.0, 40.0], [70.0, 55.0]]]]}, "disputed"),
    ({"annotator": "ann", "updated": "2026-01-02", "instances": []}, "negative"),
    ({"reviewed": True, "instances": []}, "negative"),
])  # fmt: skip
def test_who_is_believed(other: dict[str, Any], state: str) -> None:
    """Two who disagree: nobody. The same person later: the later word. A review: the review."""
    assert settle([said(), said(**{"id": "a2", "annotator": "bob", **other})])[0] == state


def test_outlines_and_none_in_one_breath_are_contradictory() -> None:
    assert said(none=True).state() == "contradictory" and said(none=True, instances=[]).state() == "negative"


def test_a_delivery_that_repeats_or_comes_late_changes_nothing(tmp_path: Path) -> None:
    data = b"bytes of a picture"
    row = said(sha256=hashlib.sha256(data).hexdigest())
    first = deliver(tmp_path / "b", [row], lambda _: data, concept="hen")
    files = {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    assert (first.new, first.states) == (1, {"positive": 1})
    for late in ([row] * 5, [replace(row, updated="2025-12-31T00:00:00Z", instances=[])]):
        again = deliver(tmp_path / "b", late, lambda _: data, concept="hen")
        assert not again.changed and again.unchanged == len(late)
        assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == files
    newer = replace(row, updated="2026-01-03T00:00:00Z", instances=[])
    assert deliver(tmp_path / "b", [newer], lambda _: data, concept="hen").updated == 1
    assert json.loads((tmp_path / "b/labels/hen.json").read_text())["shapes"] == []
    gone = deliver(tmp_path / "b", [], lambda _: data, gone=lambda row: True, concept="hen")
    assert gone.withdrawn == 1 and not list((tmp_path / "b/labels").iterdir())


def test_a_picture_with_other_bytes_is_not_taken(tmp_path: Path) -> None:
    done = deliver(tmp_path / "b", [said(sha256="0" * 64)], lambda _: b"other", concept="hen")
    assert done.new == 0 and "not those that were handed out" in done.refused[0] and not read_rows(tmp_path / "b")


def test_an_annotation_of_label_studio_as_a_row() -> None:
    data = {"image": "/data/local-files/?d=b/images/h.png", "batch": "b", "name": "h.png", "sha256": "ab" * 32,
            "width": 80, "height": 60}  # fmt: skip
    result = [
        polygon(np.array(SQUARE), "hen", 80, 60),
        {"type": "keypointlabels", "from_name": "click", "value": {"x": 1, "y": 1}},
        {"type": "choices", "from_name": "picture", "value": {"choices": ["ambiguous"]}},
    ]
    task = {"id": 5, "data": data, "predictions": [{"id": 9, "model_version": "m@2"}]}
    one = {"id": 7, "result": result, "completed_by": 3, "created_at": "c", "updated_at": "u", "parent_prediction": 9}
    row = annotation_of(task, one, {"id": 2, "batch": "b"}, "hen", {3: "ann@x"})
    assert (row.annotator, row.task, row.model_version, row.ambiguous) == ("ann@x", "label-studio 2/5", "m@2", True)
    assert np.allclose(row.instances, [[SQUARE]])


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """A mined batch of two pictures with a square each."""
    rows = []
    (tmp_path / "inbox").mkdir()
    mask = np.zeros((60, 80), bool)
    mask[10:30, 10:40] = True
    from sam3.types import Detections

    rle = Detections(np.zeros((1, 4)), np.ones(1), mask[None], 1.0).to_rle()[0]
    for name in ("hen.png", "Süd.png"):
        cv2.imwrite(str(tmp_path / "inbox/x.png"), np.where(mask, 240, 20 + ord(name[0]) % 97).astype(np.uint8))
        (tmp_path / "inbox/x.png").rename(tmp_path / "inbox" / name)
        digest = hashlib.sha256((tmp_path / "inbox" / name).read_bytes()).hexdigest()
        instances = [{"score": 0.9, "box": [10, 10, 40, 30], "mask": rle, "flip": 1.0, "cut": None, "box_iou": 1.0}]
        rows.append({"url": str(tmp_path / "inbox"), "name": name, "sha256": digest, "width": 80, "height": 60,
                     "presence": 0.5, "value": 0.5, "reasons": ["presence"], "instances": instances})  # fmt: skip
    facts = {"name": "b1", "concept": "hen", "prefill": 0.5, "model": {"checkpoint": "lite", "sha256": "c" * 64}}
    write_batch(tmp_path / "to_annotate/b1", facts, rows)
    return tmp_path / "to_annotate/b1"


def test_saved_labelme_files_count_and_untouched_ones_do_not(batch: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing in it is a correction"):
        accept(batch / "images", batch, tmp_path / "annotated", annotator="ann")
    path = batch / "images/Süd.json"
    sheet = json.loads(path.read_text())
    first = labelme.shape("hen", SQUARE, group=1)
    second = labelme.shape("Hen", [[50, 10], [60, 10], [60, 30]], group=1)
    path.write_text(json.dumps({**sheet, "shapes": [first, second, labelme.shape("goose", SQUARE)]}))
    for at in range(2):
        done = accept(batch / "images", batch, tmp_path / "annotated", annotator="ann")
        assert (done.new, done.unchanged) == ((1, 0), (0, 1))[at]
    [row] = read_rows(tmp_path / "annotated/b1")
    assert row["file"] == "Süd.png" and row["annotator"] == "ann" and row["model_version"] == "lite@cccccccccccc"
    assert len(row["instances"]) == 1 and len(row["instances"][0]) == 2, "one bird behind a post"
    time.sleep(0.01)
    path.write_text(json.dumps({**sheet, "shapes": [], "flags": {"no hen here": True}}))
    os.utime(path)
    assert accept(batch / "images", batch, tmp_path / "annotated", annotator="ann").states == {"negative": 1}


def test_coco_from_cvat_with_polygons_and_runs(batch: Path, tmp_path: Path) -> None:
    runs = {"size": [60, 80], "counts": [600, 60 * 20, 3000]}
    content = {
        "categories": [{"id": 4, "name": "hen"}, {"id": 5, "name": "goose"}],
        "images": [{"id": 1, "file_name": "b1/hen.png", "width": 80, "height": 60},
                   {"id": 2, "file_name": "Su\u0308d.png", "width": 80, "height": 60}],
        "annotations": [{"image_id": 1, "category_id": 4, "segmentation": [np.ravel(SQUARE).tolist()]},
                        {"image_id": 1, "category_id": 4, "segmentation": runs},
                        {"image_id": 2, "category_id": 5, "segmentation": [np.ravel(SQUARE).tolist()]}],
    }  # fmt: skip
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    assert accept(file, batch, tmp_path / "a", annotator="ann").states == {"positive": 1}
    done = accept(file, batch, tmp_path / "a", annotator="ann", empty_is_none=True)
    assert done.states == {"negative": 1, "positive": 1} and (done.new, done.unchanged) == (1, 1)
    assert len(read_rows(tmp_path / "a/b1")[1]["instances"]) == 2
    content["images"] = [{"id": 1, "file_name": "hen.png", "width": 60, "height": 80}]
    file.write_text(json.dumps(content))
    assert "turn pictures by their EXIF tag" in accept(file, batch, tmp_path / "c").refused[0]
    file.write_text("{}")
    with pytest.raises(BadInput, match="not COCO"):
        accept(file, batch, tmp_path / "c")


def test_colours_alone_find_what_stands_out() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (120, 160, 3)).astype(np.uint8)
    disc = (np.hypot(*(np.mgrid[:120, :160] - np.array([60, 80])[:, None, None])) < 25).astype(bool)
    image[disc] = (230, 180, 40)
    for point in (None, (80.0, 60.0)):
        mask = by_colour(image, (45, 25, 115, 95), point)
        assert mask is not None and mask_iou(mask[None], disc[None])[0, 0] > 0.9
    assert by_colour(image, (5, 5, 6, 6)) is None


def test_what_somebody_clicked_on_is_one_piece() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:30] = True
    mask[38:50, 32:40] = True  # a strip of the bird next to it
    kept = one_piece(mask, 20, 20)
    assert np.array_equal(kept[:, :30], mask[:, :30]) and not kept[:, 30:].any()


def test_a_speck_of_another_mask_does_not_hide_the_bird() -> None:
    goose, hen = np.zeros((2, 60, 80), bool)
    goose[5:25, 40:70] = goose[30, 20] = True
    hen[20:45, 10:35] = True
    seen = Detections(np.zeros((2, 4), np.float32), np.array([0.9, 0.8], np.float32), np.stack([goose, hen]), 0.9)
    mask, score = under(seen, 20, 30) or (None, 0.0)
    assert mask is not None and np.array_equal(mask, hen) and score == pytest.approx(0.8)
    assert under(Detections(seen.boxes[:1], seen.scores[:1], seen.masks[:1], 0.9), 20, 30) is None
