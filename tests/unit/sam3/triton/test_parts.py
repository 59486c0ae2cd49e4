"""The pieces that run inside Triton, without a server: caches, queries, checksums, streams."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sam3.errors import BadCheckpoint, BadInput
from sam3.triton import own_parts
from sam3.triton.answer import output_tensors, pack_masks, unpack_masks
from sam3.triton.manifest import verify, write_manifest
from sam3.triton.query import read_query
from sam3.triton.recent import Recent
from sam3.triton.streams import MAX_HIDDEN, Stream, Streams
from sam3.types import Detections

WANTED = frozenset({"boxes"})
IMAGE = np.zeros((8, 9, 3), np.uint8)


def words(*phrases: str) -> np.ndarray[Any, Any]:
    return np.array([phrase.encode() for phrase in phrases], object)


class TestRecent:
    def test_the_oldest_make_room(self) -> None:
        cache: Recent[str] = Recent(10)
        cache.put("a", "A", 4)
        cache.put("b", "B", 4)
        assert cache.get("a") == "A"  # now b is the oldest
        cache.put("c", "C", 4)
        assert [cache.get(key) for key in "abc"] == ["A", None, "C"]
        assert (cache.held, cache.hits, cache.misses) == (8, 3, 1)

    def test_what_is_larger_than_all_is_not_kept(self) -> None:
        cache: Recent[str] = Recent(10)
        cache.put("a", "A", 4)
        cache.put("b", "B", 11)
        assert [cache.get(key) for key in "ab"] == ["A", None]

    def test_the_same_key_is_counted_once(self) -> None:
        cache: Recent[str] = Recent(10)
        for _ in range(5):
            cache.put("a", "A", 8)
        assert (cache.held, len(cache)) == (8, 1)


class TestQuery:
    def test_what_the_answer_depends_on_is_in_the_fingerprint(self) -> None:
        base: dict[str, Any] = {"image": IMAGE, "phrases": words("hen")}
        boxes = np.array([[1, 1, 5, 5]], np.float32)
        variants = [
            base,
            base | {"image": IMAGE + 1},
            base | {"image": IMAGE.reshape(9, 8, 3)},
            base | {"phrases": words("hen", "duck")},
            base | {"threshold": np.array([0.1], np.float32)},
            base | {"exemplar_boxes": boxes},
            base | {"exemplar_boxes": boxes, "exemplar_labels": np.zeros(1, np.int32)},
        ]
        prints = [read_query(item, WANTED).fingerprint() for item in variants]
        prints.append(read_query(base, frozenset({"rle"})).fingerprint())
        assert len(set(prints)) == len(prints)
        assert read_query(dict(base), WANTED).fingerprint() == prints[0]

    def test_a_picture_alone_may_be_encoded(self) -> None:
        assert read_query({"image": IMAGE}, frozenset({"image_key"})).prompts == ()
        with pytest.raises(BadInput, match="0 of them"):
            read_query({"image": IMAGE}, WANTED)

    def test_boxes_go_to_their_phrases(self) -> None:
        query = read_query(
            {
                "image": IMAGE,
                "phrases": words("hen", ""),
                "exemplar_boxes": np.array([[0, 0, 2, 2], [3, 3, 5, 5], [1, 1, 2, 2]], np.float32),
                "exemplar_labels": np.array([1, 1, 0], np.int32),
                "exemplar_phrases": np.array([1, 0, 1], np.int32),
            },
            WANTED,
        )
        assert [prompt.text for prompt in query.prompts] == ["hen", "visual"]
        assert query.prompts[0].boxes.tolist() == [[3, 3, 5, 5]]  # type: ignore[union-attr]
        assert query.prompts[1].box_labels.tolist() == [1, 0]  # type: ignore[union-attr]


class Graph:
    """A graph that notes what it is run on."""

    def __init__(self) -> None:
        self.fed: list[dict[str, tuple[tuple[int, ...], str]]] = []

    def get_inputs(self) -> list[Any]:
        rows = [("text", ["n", "tokens", 8], "tensor(float)"), ("text_mask", ["n", "tokens"], "tensor(bool)")]
        return [SimpleNamespace(name=name, shape=shape, type=kind) for name, shape, kind in rows]

    def run(self, outputs: list[str] | None, feed: dict[str, np.ndarray[Any, Any]]) -> list[Any]:
        self.fed.append({name: (value.shape, str(value.dtype)) for name, value in feed.items()})
        return []


class TestOwnParts:
    def test_each_graph_has_run_before_the_model_is_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: dict[str, Graph] = {}
        monkeypatch.setattr(own_parts, "open_session", lambda path, threads: made.setdefault(path.name, Graph()))
        own_parts.OwnParts({"decoder": Path("a"), "mask_head": Path("b")}, 1)
        once = [{"text": ((1, 7, 8), "float32"), "text_mask": ((1, 7), "bool")}]
        assert [graph.fed for graph in made.values()] == [once, once]

    def test_they_are_held_together_or_not_at_all(self, tmp_path: Path) -> None:
        files = {name: tmp_path / name for name in "ab"}
        assert not own_parts.small_enough(files, 0), "no file need be there"
        for path in files.values():
            path.write_bytes(bytes(600_000))
        assert [own_parts.small_enough(files, size) for size in (1, 2)] == [False, True]


class TestAnswer:
    @pytest.mark.parametrize("size", [(7, 9), (8, 8), (1, 1)])
    def test_masks_pack_and_unpack(self, size: tuple[int, int]) -> None:
        masks = np.random.default_rng(0).random((3, *size)) > 0.5
        packed = pack_masks(masks)
        assert packed.shape == (3, -(-size[0] * size[1] // 8))
        np.testing.assert_array_equal(unpack_masks(packed, *size), masks)
        assert unpack_masks(packed[:0], *size).shape == (0, *size)

    def test_only_what_is_wanted_is_made(self) -> None:
        found = [Detections.empty(4, 4, 0.25), Detections.empty(4, 4)]
        out = output_tensors(found, (4, 4), "key", frozenset({"presence", "boxes"}))
        assert set(out) == {"presence", "boxes"}
        assert out["boxes"].shape == (1, 0, 4)
        assert out["presence"].tolist() == [[0.25, 0.0]]


class TestManifest:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "sub").mkdir()
        (tmp_path / "a").write_bytes(b"a")
        (tmp_path / "sub/b").write_bytes(b"b")
        write_manifest(tmp_path, version=1)
        return tmp_path

    def test_untouched_it_holds(self, folder: Path) -> None:
        assert verify(folder)["version"] == 1

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda f: (f / "a").write_bytes(b"b"), "checksum"),
            (lambda f: (f / "sub/b").unlink(), "missing"),
            (lambda f: (f / "c").write_bytes(b""), "not in the manifest"),
            (lambda f: (f / "manifest.json").unlink(), "half copied"),
            (lambda f: (f / "manifest.json").write_text("{}"), "lists no files"),
        ],
    )
    def test_anything_else_is_refused(self, folder: Path, spoil: Any, says: str) -> None:
        spoil(folder)
        with pytest.raises(BadCheckpoint, match=says):
            verify(folder)


def seen(*boxes: tuple[int, int, int, int]) -> Detections:
    """Detections whose masks fill their boxes, in a picture of 64 x 64 pixels."""
    masks = np.zeros((len(boxes), 64, 64), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32), masks, 1.0)


class TestStreams:
    # left half and right half look different to the encoder
    LEVEL = np.stack([np.repeat([[1.0] * 4 + [0.0] * 4], 8, 0), np.repeat([[0.0] * 4 + [1.0] * 4], 8, 0)])[None].astype(
        np.float32
    )

    def test_an_object_that_moves_keeps_its_number_whatever_the_order(self) -> None:
        stream = Stream()
        assert stream.follow([seen((0, 0, 20, 20), (40, 40, 60, 60))], self.LEVEL) == [1, 2]
        assert stream.follow([seen((42, 40, 62, 60), (3, 0, 23, 20))], self.LEVEL) == [2, 1]
        assert stream.follow([seen((6, 0, 26, 20), (30, 0, 40, 10), (44, 40, 64, 60))], self.LEVEL) == [1, 3, 2]

    def test_phrases_do_not_take_each_others_numbers(self) -> None:
        stream = Stream()
        one = seen((0, 0, 20, 20))
        assert stream.follow([one, one], self.LEVEL) == [1, 2]
        assert stream.follow([seen(), one], self.LEVEL) == [2]
        assert stream.follow([one, seen()], self.LEVEL) == [1]

    def test_one_that_was_hidden_comes_back_and_one_gone_for_long_does_not(self) -> None:
        stream = Stream()
        stream.follow([seen((0, 0, 20, 20))], self.LEVEL)
        for _ in range(5):
            assert stream.follow([seen()], self.LEVEL) == []
        assert stream.follow([seen((6, 6, 26, 26))], self.LEVEL) == [1], "near, and it looks the same"
        for _ in range(MAX_HIDDEN + 1):
            stream.follow([seen()], self.LEVEL)
        assert stream.follow([seen((6, 6, 26, 26))], self.LEVEL) == [2]
        assert len(stream.tracks) == 1

    def test_another_object_in_its_place_after_a_gap_is_another(self) -> None:
        stream = Stream()
        stream.follow([seen((12, 0, 30, 20))], self.LEVEL)
        stream.follow([seen()], self.LEVEL)
        assert stream.follow([seen((34, 0, 52, 20))], self.LEVEL) == [2], "near, but it looks different"

    def test_tracks_and_streams_are_bounded(self) -> None:
        streams = Streams(limit=3)
        for at in range(10):
            streams.start(str(at), ())
        assert [streams.get(str(at)) is not None for at in range(10)] == [False] * 7 + [True] * 3
        stream = streams.get("9")
        assert stream is not None
        for at in range(40):
            corner = at % 8
            stream.follow([seen(*[(corner, corner, corner + 1, corner + 1)] * 20)], self.LEVEL)
        assert len(stream.tracks) <= 256

    def test_a_silent_stream_is_forgotten(self) -> None:
        streams = Streams(idle=-1.0)
        streams.start("old", ())
        streams.start("new", ())
        assert streams.get("old") is None
        assert len(streams) == 1
