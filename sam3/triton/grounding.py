"""Pictures and phrases -> detections over three graphs that somebody else runs, with both sides remembered.

The graphs are called through a function, which inside the server asks the composing models (`bls.py`) and in a unit
test runs ONNX sessions. Image embeddings are kept by content hash and text embeddings by phrase, so a second
phrase on a picture skips the image encoder and a known phrase skips the text encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam3.engines.prompts import PADDING, pad_boxes
from sam3.errors import BadInput
from sam3.pixels import from_model, to_model
from sam3.tokenizer import Tokenizer
from sam3.triton.meters import Clock
from sam3.triton.recent import Recent
from sam3.types import Detections, Prompt, UInt8Array

Array = np.ndarray[Any, Any]
Call = Callable[[str, Mapping[str, Array], Sequence[str]], dict[str, Array]]  # graph, inputs, outputs wanted
GRAPHS = ("image_encoder", "text_encoder", "decoder")
FOUND = ("logits", "boxes_out", "presence", "masks")


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded picture: levels (1, d, H_i, W_i) float32, and its (height, width) in pixels."""

    levels: tuple[Array, ...]
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(level.nbytes for level in self.levels)


@dataclass(frozen=True, eq=False)
class Pair:
    """One phrase on one picture."""

    embedding: Embedding
    prompt: Prompt
    threshold: float


class Grounder:
    """The pipeline of the detector around its three graphs.

    Args:
        call: runs a graph of `GRAPHS` on a batch.
        image_size: side of the square that the image encoder takes, pixels.
        levels: how many feature levels it returns.
        image_bytes, text_bytes: memory for the embeddings that are kept.
        batch: pictures, phrases and pairs in one call.
        threads: decode and enlarge this many pictures at once.
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
        self.levels = [f"level_{at}" for at in range(levels)]
        self.images: Recent[Embedding] = Recent(image_bytes)
        self.words: Recent[tuple[Array, tuple[str, ...]]] = Recent(text_bytes)
        self.pool = ThreadPoolExecutor(threads)
        self.clock = clock or Clock()

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
                pixels = np.stack(list(self.pool.map(lambda key: to_model(pictures[key], self.image_size), group)))
            with self.clock("image_encoder"):
                levels = self.call("image_encoder", {"pixels": pixels}, self.levels)
            for at, key in enumerate(group):
                # a copy: a slice would keep the whole batch, which the server lends for this call only
                held = tuple(np.array(levels[name][at : at + 1]) for name in self.levels)
                out[key] = Embedding(held, pictures[key].shape[:2])
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

        def finish(at: int) -> Detections:
            pair = pairs[at]
            said = (*words[str(pair.prompt.text)][1], *warnings[at])
            return from_model(
                out["logits"][at],
                out["boxes_out"][at],
                float(out["presence"][at].reshape(-1)[0]),
                lambda kept: out["masks"][at][kept],
                pair.embedding.size,
                threshold=pair.threshold,
                warnings=said,
            )

        with self.clock("masks"):
            return list(self.pool.map(finish, range(len(pairs)))) if len(pairs) > 1 else [finish(0)]

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
        for at, name in enumerate(self.levels):
            rows = [pair.embedding.levels[at] for pair in pairs]
            feed[name] = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return feed, warnings


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
