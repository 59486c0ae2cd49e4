"""Every model of the repository over HTTP and gRPC answers as the in-process ONNX engine does."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
from PIL import Image
from pycocotools import mask as coco_mask
from triton_asking import BOX, Served, assert_same, picture, question
from tritonclient.utils import InferenceServerException

from sam3.decoding import decode
from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import OUTPUTS, TritonEngine, detections_of
from sam3.triton.client import texts
from sam3.triton.manifest import sha256_of
from sam3.types import Detections, Prompt

Infer = Callable[..., dict[str, Any]]
fresh = itertools.count(500)  # of pictures that nobody has sent yet


def png(image: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind)
    return out.getvalue()


# -- first of all: what is true before anybody has asked anything


def test_ready_means_warm(serve: Callable[..., Served]) -> None:
    started = serve()
    for stage in ("image_encoder", "text_encoder", "decoder"):
        assert started.metric("sam3_stage_runs_total", model="sam3", stage=stage) >= 1
    assert started.metric("nv_inference_request_success", model="sam3") == 1, "the warm-up; nobody else has asked yet"
    started.server.stop()


def test_small_parts_run_in_the_whole_models_own_process_and_answer_alike(
    serve: Callable[..., Served], reference: OnnxEngine
) -> None:
    started = serve()
    parts = [f"sam3_{part}" for part in ("image_encoder", "text_encoder", "decoder", "fine_levels", "mask_head")]
    before = [started.metric("nv_inference_count", model=part) for part in parts]
    engine = TritonEngine(started.server.addresses.grpc, threshold=0.0)
    images, prompts = [picture(90), picture(91, 60, 40)], [Prompt("hen"), Prompt("goose", BOX)]
    for one, other in zip(
        engine.ground(engine.encode(images), prompts), reference.ground(reference.encode(images), prompts), strict=True
    ):
        assert_same(one, other)
    assert [started.metric("nv_inference_count", model=part) for part in parts] == before, "nobody was asked"
    engine.close()
    started.server.stop()


# -- every model


def feed_of(session: Any, pairs: int, seed: int) -> dict[str, Any]:
    """Random tensors for a part, of any size where its axes are open."""
    rng, sizes = np.random.default_rng(seed), {"tokens": 5, "boxes": 2, "queries_kept": 4}
    feed: dict[str, Any] = {}
    for item in session.get_inputs():
        shape = [pairs, *(size if isinstance(size, int) else sizes[size] for size in item.shape[1:])]
        feed[item.name] = rng.normal(size=shape).astype(np.float32)
    if "text_mask" in feed:
        feed["text_mask"] = np.ones((pairs, 5), bool)
        feed["boxes"] = np.full((pairs, 2, 4), 0.5, np.float32)
        feed["box_labels"] = np.array([[1, 0], [1, -10], [0, 1]], np.int64)[:pairs]
    return feed


@pytest.mark.parametrize("part", ["image_encoder", "decoder", "fine_levels", "mask_head"])
def test_a_part_alone(infer: Infer, reference: OnnxEngine, part: str) -> None:
    session = reference.parts[part]
    feed, names = feed_of(session, 3, 1), [output.name for output in session.get_outputs()]
    got = infer(f"sam3_{part}", feed, names)
    for name, value in zip(names, session.run(names, feed), strict=True):
        np.testing.assert_allclose(got[name].reshape(value.shape), value, atol=1e-4)


def test_text_encoder(infer: Infer, reference: OnnxEngine) -> None:
    tokens = reference.tokenizer.encode(["a red car", "hen"])
    [expected] = reference.parts["text_encoder"].run(["text"], {"ids": tokens.ids, "mask": tokens.mask})
    got = infer("sam3_text_encoder", {"ids": tokens.ids, "mask": tokens.mask}, ["text"])
    np.testing.assert_allclose(got["text"], expected, atol=1e-5)


def test_whole_model_on_pixels_with_phrases_and_boxes(infer: Infer, reference: OnnxEngine) -> None:
    image = picture(2)
    prompts = [Prompt("red car"), Prompt("a hen", BOX), Prompt(None, np.vstack([BOX, BOX + 9]), np.array([1, 0]))]
    expected = reference.ground(reference.encode([image]) * 3, prompts)
    exemplars = {
        "exemplar_boxes": np.vstack([BOX, BOX, BOX + 9])[None],
        "exemplar_labels": np.array([[1, 1, 0]], np.int32),
        "exemplar_phrases": np.array([[1, 2, 2]], np.int32),
    }
    out = infer("sam3", {"image": image[None], **question("red car", "a hen", "", **exemplars)}, OUTPUTS)
    for one, other in zip(detections_of(out, image.shape[:2]), expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_whole_model_on_a_picture_file(infer: Infer, reference: OnnxEngine, kind: str) -> None:
    data = png(picture(3, 70, 50), kind)
    image = decode(data, "it")
    [expected] = reference.ground(reference.encode([image]), [Prompt("hen")])
    out = infer("sam3", {"image_bytes": texts([data]), **question("hen")}, (*OUTPUTS, "rle", "image_size"))
    assert_same(detections_of(out, image.shape[:2])[0], expected)
    assert out["image_size"].tolist() == [[70, 50]]
    masks = [coco_mask.decode(json.loads(text)) for text in out["rle"][0]]
    assert (np.array(masks, bool) == expected.masks).mean() > 0.9999


def test_errors_are_not_remembered(infer: Infer) -> None:
    """Triton's own response cache would answer the second time with an empty success."""
    for _ in range(3):
        with pytest.raises(InferenceServerException, match="damaged"):
            infer("sam3", {"image_bytes": texts([b"no picture"]), **question("hen")}, ["boxes"])


def test_nothing_found_is_an_empty_answer(infer: Infer) -> None:
    out = infer("sam3", {"image": picture(4)[None], **question("hen", "duck", threshold=1.0)}, (*OUTPUTS, "rle"))
    assert out["boxes"].shape == (1, 0, 4)
    assert out["rle"].shape == (1, 0)
    assert [len(item) for item in detections_of(out, (48, 80))] == [0, 0]
    assert out["presence"].shape == (1, 2)


# -- batching and caches


def test_requests_that_come_together_run_as_batches(asking: Served, reference: OnnxEngine) -> None:
    images = [picture(100 + at, 40 + at % 3, 60) for at in range(24)]  # of different sizes
    names = ("nv_inference_exec_count", "nv_inference_count")
    before = [asking.metric(name, model="sam3_image_encoder") for name in names]
    whole = asking.metric("nv_inference_exec_count", model="sam3")

    async def all_at_once() -> list[Detections]:
        engine = TritonEngine(asking.server.addresses.grpc, threshold=0.0)
        embeddings = await engine.aencode(images)
        found = await engine.aground(embeddings, [Prompt("hen")] * len(images))
        await asyncio.to_thread(engine.close)
        return found

    found = asyncio.run(all_at_once())
    runs = asking.metric("nv_inference_exec_count", model="sam3_image_encoder") - before[0]
    rows = asking.metric("nv_inference_count", model="sam3_image_encoder") - before[1]
    assert rows == 24
    assert runs <= 12, "a batch holds two pictures or more on average"
    assert asking.metric("nv_inference_exec_count", model="sam3") - whole <= 24, "48 requests"
    stats = grpc.InferenceServerClient(asking.server.addresses.grpc).get_inference_statistics("sam3", as_json=True)
    assert max(int(row.get("batch_size", 0)) for row in stats["model_stats"][0]["batch_stats"]) >= 4
    for image, item in zip(images, found, strict=True):
        assert_same(item, reference.ground(reference.encode([image]), [Prompt("hen")])[0])


def test_the_same_request_twice_is_answered_from_the_response_cache(asking: Served, infer_asking: Infer) -> None:
    inputs = {"image": picture(next(fresh))[None], **question("hen")}
    first = infer_asking("sam3", inputs, OUTPUTS)
    hits, runs = (
        asking.metric("sam3_cache_total", model="sam3", kind="response", outcome="hit"),
        asking.metric("nv_inference_exec_count", model="sam3_decoder"),
    )
    again = infer_asking("sam3", inputs, OUTPUTS)
    assert asking.metric("sam3_cache_total", model="sam3", kind="response", outcome="hit") == hits + 1
    assert asking.metric("nv_inference_exec_count", model="sam3_decoder") == runs, "no graph ran"
    np.testing.assert_array_equal(first["boxes"], again["boxes"])


def test_where_nothing_is_found_nothing_is_drawn(asking: Served, infer_asking: Infer) -> None:
    def runs() -> list[float]:
        return [asking.metric("nv_inference_count", model=f"sam3_{part}") for part in ("fine_levels", "mask_head")]

    inputs, before = {"image": picture(next(fresh))[None]}, runs()
    infer_asking("sam3", {**inputs, **question("hen", "duck", threshold=1.0)}, OUTPUTS)
    assert runs() == before
    infer_asking("sam3", {**inputs, **question("hen", "duck")}, OUTPUTS)
    assert runs() == [before[0] + 1, before[1] + 2], "finer levels once a picture, masks once a pair"
    infer_asking("sam3", {**inputs, **question("goose")}, OUTPUTS)
    assert runs() == [before[0] + 1, before[1] + 3]


def test_a_second_phrase_on_a_picture_skips_the_image_encoder(asking: Served, reference: OnnxEngine) -> None:
    engine = TritonEngine(asking.server.addresses.grpc, threshold=0.0)
    image = picture(6)
    [embedding] = engine.encode([image])
    runs = asking.metric("nv_inference_count", model="sam3_image_encoder")
    texts_run = asking.metric("nv_inference_count", model="sam3_text_encoder")
    hits = asking.metric("sam3_cache_total", model="sam3", kind="image", outcome="hit")
    [one] = engine.ground([embedding], [Prompt("a goose")])
    [other] = engine.ground(engine.encode([image.copy()]), [Prompt("a goat")])
    assert asking.metric("nv_inference_count", model="sam3_image_encoder") == runs
    assert asking.metric("sam3_cache_total", model="sam3", kind="image", outcome="hit") >= hits + 2
    assert asking.metric("nv_inference_count", model="sam3_text_encoder") == texts_run + 2
    engine.ground(engine.encode([picture(7)]), [Prompt("a goose")])
    assert asking.metric("nv_inference_count", model="sam3_text_encoder") == texts_run + 2, "a known phrase"
    held = reference.encode([image])
    assert_same(one, reference.ground(held, [Prompt("a goose")])[0])
    assert_same(other, reference.ground(held, [Prompt("a goat")])[0])
    engine.close()


def test_the_repository_is_only_read(served: Served) -> None:
    files = {path: sha256_of(path) for path in Path(served.live.folder).rglob("*") if path.is_file()}
    engine = TritonEngine(served.server.addresses.grpc)
    engine.encode([picture(8)])
    engine.close()
    assert {path: sha256_of(path) for path in Path(served.live.folder).rglob("*") if path.is_file()} == files


def test_dashboard_and_alerts_name_metrics_that_the_server_exports(served: Served, repo_root: Path) -> None:
    board = (repo_root / "serving/grafana/dashboards/sam3.json").read_text()
    named = set(re.findall(r"\b(?:nv|sam3)_[a-z_]+", board + (repo_root / "serving/prometheus/alerts.yml").read_text()))
    page = urllib.request.urlopen(served.server.addresses.metrics, timeout=10).read().decode()
    exported = set(re.findall(r"^# TYPE (\w+)", page, re.M))
    missing = {name for name in named if name not in exported and not name.startswith("nv_gpu_")}  # there is no GPU
    assert missing == set()
