"""Pictures and phrases -> detections over five graphs that somebody else runs, with both sides remembered.

The graphs are called through a function, which inside the server asks the composing models (`bls.py`) and in a unit
test runs ONNX sessions. Image embeddings are kept by content hash and text embeddings by phrase, so a second
phrase on a picture skips the image encoder and a known phrase skips the text encoder. Finer levels are made, and masks
drawn, only where something was found: the split is that of the engine in process (`sam3.export.cut`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam3.engines.answer import Answer, distinct
from sam3.engines.prompts import PADDING, pad_boxes
from sam3.errors import BadInput
from sam3.pixels import to_model
from sam3.tokenizer import Tokenizer
from sam3.triton.meters import Clock
from sam3.triton.recent import Recent
from sam3.types import Detections, FloatArray, Prompt, UInt8Array

Array = np.ndarray[Any, Any]
Call = Callable[[str, Mapping[str, Array], Sequence[str]], dict[str, Array]]  # graph, inputs, outputs wanted
GRAPHS = ("image_encoder", "text_encoder", "decoder", "fine_levels", "mask_head")
FOUND = ("logits", "boxes_out", "presence", "queries", "encoded")


K = TypeVar("K")
R = TypeVar("R")


@dataclass(eq=False)
class Embedding:
    """An encoded picture.

    Attributes:
        key: content hash of the picture.
        trunk: (1, D, h, w), from which the finer levels are made when there is something to draw.
        level: (1, d, h, w), what the DETR sees. started: (1, h * w, d), where it goes on from.
        size: (height, width) of the picture in pixels.
        fine: the finer levels (1, d, H_i, W_i), once somebody needed them.
    """

    key: str
    trunk: Array
    level: Array
    started: Array
    size: tuple[int, int]
    fine: tuple[Array, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(array.nbytes for array in (self.trunk, self.level, self.started, *(self.fine or ())))


@dataclass(frozen=True, eq=False)
class Pair:
    """One phrase on one picture."""

    embedding: Embedding
    prompt: Prompt
    threshold: float


class Grounder:
    """The pipeline of the detector around its graphs.

    Args:
        call: runs a graph of `GRAPHS` on a batch.
        image_size: side of the square that the image encoder takes, pixels.
        levels: how many feature levels there are, fine to coarse.
        image_bytes, text_bytes: memory for the embeddings that are kept.
        batch: pictures, phrases and pairs in one call.
        threads: decode and resize this many pictures at once.
    """

    def __init__(
        self,
        call: Call,
        tokenizer: Tokenizer,
        *,
        image_size: int,
        levels: int,
        image_bytes: int,
        text_bytes: int,
        batch: int,
        threads: int = 2,
        clock: Clock | None = None,
    ) -> None:
        self.call, self.tokenizer, self.image_size, self.batch = call, tokenizer, image_size, batch
        self.fine, self.coarsest = [f"level_{at}" for at in range(levels - 1)], f"level_{levels - 1}"
        self.images: Recent[Embedding] = Recent(image_bytes)
        self.words: Recent[tuple[Array, tuple[str, ...]]] = Recent(text_bytes)
        self.pool = ThreadPoolExecutor(threads)
        self.clock = clock or Clock()

    def each(self, work: Callable[[K], R], items: Sequence[K]) -> list[R]:
        """`work` of every item, several at once; one alone does not change threads."""
        return [work(items[0])] if len(items) == 1 else list(self.pool.map(work, items))

    def known(self, key: str) -> Embedding | None:
        """The embedding of a picture seen before."""
        return self.images.get(key)

    def embed(self, pictures: Mapping[str, UInt8Array]) -> dict[str, Embedding]:
        """Encode pictures (by key) in batches, and keep what comes out."""
        out: dict[str, Embedding] = {}
        keys = list(pictures)
        for start in range(0, len(keys), self.batch):
            group = keys[start : start + self.batch]
            with self.clock("resize"):
                pixels = np.stack(self.each(lambda key: to_model(pictures[key], self.image_size), group))
            with self.clock("image_encoder"):
                wanted = ("trunk", self.coarsest, "started")
                made = self.call("image_encoder", {"pixels": pixels}, wanted)
            for at, key in enumerate(group):
                # a copy: a slice would keep the whole batch, which the server lends for this call only
                trunk, level, started = (np.array(made[name][at : at + 1]) for name in wanted)
                out[key] = Embedding(key, trunk, level, started, pictures[key].shape[:2])
                self.images.put(key, out[key], out[key].nbytes)
        return out

    def ground(self, pairs: Sequence[Pair]) -> list[Detections]:
        """One `Detections` per pair, in order."""
        words = self._words([str(pair.prompt.text) for pair in pairs])
        found: list[Detections] = []
        for start in range(0, len(pairs), self.batch):
            found += self._decode(pairs[start : start + self.batch], words)
        return found

    def _words(self, phrases: Sequence[str]) -> dict[str, tuple[Array, tuple[str, ...]]]:
        """(T, d) features and warnings of each distinct phrase."""
        known = {phrase: self.words.get(phrase) for phrase in dict.fromkeys(phrases)}
        fresh = [phrase for phrase, held in known.items() if held is None]
        for start in range(0, len(fresh), self.batch):
            group = fresh[start : start + self.batch]
            tokens = [self.tokenizer.encode([phrase]) for phrase in group]
            width = max(item.ids.shape[1] for item in tokens)
            padded = self.tokenizer.encode(group, length=width)
            with self.clock("text_encoder"):
                text = self.call("text_encoder", {"ids": padded.ids, "mask": padded.mask}, ["text"])["text"]
            for at, phrase in enumerate(group):
                features = np.array(text[at, : tokens[at].ids.shape[1]])
                known[phrase] = (features, tokens[at].warnings)
                self.words.put(phrase, (features, tokens[at].warnings), features.nbytes + len(phrase))
        return {phrase: held for phrase, held in known.items() if held is not None}

    def _decode(self, pairs: Sequence[Pair], words: Mapping[str, tuple[Array, tuple[str, ...]]]) -> list[Detections]:
        feed, warnings = self._feed(pairs, words)
        with self.clock("decoder"):
            out = self.call("decoder", feed, FOUND)

        def draw(chosen: Sequence[int], wanted: Sequence[NDArray[np.int64]]) -> list[FloatArray]:
            queries = [out["queries"][at][index] for at, index in zip(chosen, wanted, strict=True)]
            return self._draw([pairs[at].embedding for at in chosen], queries, out["encoded"][list(chosen)])

        said = [(*words[str(pair.prompt.text)][1], *more) for pair, more in zip(pairs, warnings, strict=True)]
        sizes = [pair.embedding.size for pair in pairs]
        presence = out["presence"].reshape(len(pairs))
        answer = Answer(out["logits"], out["boxes_out"], presence, draw, sizes, said)
        with self.clock("masks"):
            return answer.detections([pair.threshold for pair in pairs])

    def _draw(self, embeddings: Sequence[Embedding], queries: Sequence[Array], encoded: Array) -> list[FloatArray]:
        """Mask logits (n, h, w) of each embedding's queries (n, d), all in one call."""
        self._refine([item for item in distinct(embeddings)[0] if item.fine is None])
        most = max(map(len, queries))
        padded = np.zeros((len(queries), most, queries[0].shape[1]), np.float32)
        for at, rows in enumerate(queries):
            padded[at, : len(rows)] = rows
        held = [item.fine for item in embeddings if item.fine is not None]
        feed = {"queries": padded, "encoded": encoded}
        feed |= {name: _stacked([fine[at] for fine in held]) for at, name in enumerate(self.fine)}
        with self.clock("mask_head"):
            drawn = self.call("mask_head", feed, ["mask_rows"])["mask_rows"]
        side = held[0][0].shape[-2:]
        return [drawn[at, : len(rows)].reshape(len(rows), *side) for at, rows in enumerate(queries)]

    def _refine(self, embeddings: Sequence[Embedding]) -> None:
        """Make the finer levels of pictures, which are then kept with the rest."""
        for start in range(0, len(embeddings), self.batch):
            group = embeddings[start : start + self.batch]
            with self.clock("fine_levels"):
                made = self.call("fine_levels", {"trunk": _stacked([item.trunk for item in group])}, self.fine)
            for at, item in enumerate(group):
                item.fine = tuple(np.array(made[name][at : at + 1]) for name in self.fine)
                self.images.put(item.key, item, item.nbytes)

    def _feed(
        self, pairs: Sequence[Pair], words: Mapping[str, tuple[Array, tuple[str, ...]]]
    ) -> tuple[dict[str, Array], list[tuple[str, ...]]]:
        held = [words[str(pair.prompt.text)][0] for pair in pairs]
        text = np.zeros((len(pairs), max(len(item) for item in held), held[0].shape[1]), np.float32)
        mask = np.zeros(text.shape[:2], bool)
        for at, features in enumerate(held):
            text[at, : len(features)], mask[at, : len(features)] = features, True
        boxes, labels, warnings = pad_boxes([pair.embedding.size for pair in pairs], [pair.prompt for pair in pairs])
        if not boxes.shape[1]:  # the graph wants one box; a padding box is no box
            boxes = np.full((len(pairs), 1, 4), 0.5, np.float32)
            labels = np.full((len(pairs), 1), PADDING, np.int64)
        feed: dict[str, Array] = {"text": text, "text_mask": mask, "boxes": boxes, "box_labels": labels}
        feed[self.coarsest] = _stacked([pair.embedding.level for pair in pairs])
        feed["started"] = _stacked([pair.embedding.started for pair in pairs])
        return feed, warnings


def _stacked(rows: Sequence[Array]) -> Array:
    """(1, ...) arrays as one (N, ...); one alone is not copied."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def check_boxes(size: tuple[int, int], prompts: Sequence[Prompt]) -> None:
    """Refuse exemplar boxes outside a picture before they spoil a batch with other people's requests.

    Raises:
        BadInput: as `pad_boxes`.
    """
    if any(prompt.boxes is not None for prompt in prompts):
        pad_boxes([size] * len(prompts), prompts)


def unknown_key(key: str) -> BadInput:
    """What a client is told whose picture is no longer remembered."""
    return BadInput(f"image_key {key[:40]!r}: not known here (any more). Send the picture.", field="image_key")
