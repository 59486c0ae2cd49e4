"""The input tensors of one request to `sam3` -> a typed `Query`, or a `BadInput` that says what is wrong.

Shapes are those of one request without the batch axis. The server has already checked names, types and ranks; what
it cannot know (how many phrases, which phrase an exemplar belongs to, exactly one source of the picture) is here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam3.decoding import MAX_PIXELS, decode
from sam3.engines.prompts import VISUAL
from sam3.errors import BadInput
from sam3.pixels import check_image
from sam3.types import Prompt, UInt8Array

MAX_PHRASES = 64  # of one request; more belong in several
MAX_PHRASE = 400  # characters
MAX_BOXES = 64  # exemplars of one phrase
MAX_BYTES = 64_000_000  # of a compressed picture
SOURCES = ("image", "image_bytes", "image_key")
THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Query:
    """One request.

    Attributes:
        key: content hash of the picture, the name of its embedding.
        pixels: uint8 RGB (H, W, 3), or None.
        data: a JPEG, PNG, ... file, or None. Neither when the client knows the key already.
        prompts: one per phrase, boxes in pixels; empty when only the picture is to be encoded.
        wanted: the outputs that the client asked for.
    """

    key: str
    pixels: UInt8Array | None
    data: bytes | None
    prompts: tuple[Prompt, ...]
    threshold: float
    wanted: frozenset[str]

    def fingerprint(self) -> str:
        """A hash of everything that the answer depends on."""
        digest = hashlib.blake2b(repr((self.key, self.threshold, sorted(self.wanted))).encode(), digest_size=16)
        for prompt in self.prompts:
            boxes = (None, None) if prompt.boxes is None else (prompt.boxes.tolist(), prompt.box_labels.tolist())  # type: ignore[union-attr]
            digest.update(repr((prompt.text, *boxes)).encode())
        return digest.hexdigest()

    def picture(self) -> UInt8Array | None:
        """The pixels, decoded now if need be; None when only the key came.

        Raises:
            BadInput: not a picture, damaged, or over 50 megapixels (refused before a pixel is decoded).
        """
        if self.data is not None:
            return decode(self.data, "image_bytes", max_bytes=MAX_BYTES)
        return self.pixels


def read_query(inputs: Mapping[str, np.ndarray[Any, Any]], wanted: frozenset[str]) -> Query:
    """Check and read the tensors of one request.

    Raises:
        BadInput: the message and its field name the tensor.
    """
    given = [name for name in SOURCES if name in inputs]
    if len(given) != 1:
        what = " and ".join(given) or "none"
        raise BadInput(f"expected exactly one of {', '.join(SOURCES)}; got {what}.", field="image")
    pixels = data = None
    if given == ["image_key"]:
        key = _text(_one(inputs, "image_key"), "image_key")
    elif given == ["image_bytes"]:
        data = bytes(_one(inputs, "image_bytes"))
        key = hashlib.sha256(data).hexdigest()  # processors have instructions for it: twice as fast as BLAKE2b
    else:
        pixels = check_image(inputs["image"])
        if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
            raise BadInput(f"image of {pixels.shape[1]} x {pixels.shape[0]}: over {MAX_PIXELS / 1e6:.0f} megapixels.")
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        key = digest.hexdigest()
    prompts = _prompts(inputs)
    if not prompts and wanted - {"image_key", "image_size"}:
        raise BadInput(f"phrases: 0 of them; expected 1 to {MAX_PHRASES}.", field="phrases")
    threshold = float(_one(inputs, "threshold")) if "threshold" in inputs else THRESHOLD
    if not 0 <= threshold <= 1:
        raise BadInput(f"threshold {threshold}: expected a number from 0 to 1.", field="threshold")
    return Query(key, pixels, data, prompts, threshold, wanted)


def _prompts(inputs: Mapping[str, np.ndarray[Any, Any]]) -> tuple[Prompt, ...]:
    raw = inputs["phrases"].reshape(-1) if "phrases" in inputs else np.zeros(0, object)
    if len(raw) > MAX_PHRASES:
        raise BadInput(f"phrases: {len(raw)} of them; expected at most {MAX_PHRASES}. Send several requests.")
    phrases = [_text(item, "phrases").strip() for item in raw]
    if any(len(phrase) > MAX_PHRASE for phrase in phrases):
        raise BadInput(f"phrases: one has over {MAX_PHRASE} characters; expected a short noun phrase.", field="phrases")
    boxes = inputs.get("exemplar_boxes", np.zeros((0, 4), np.float32)).reshape(-1, 4)
    labels = inputs.get("exemplar_labels", np.ones(len(boxes), np.int32)).reshape(-1)
    owners = inputs.get("exemplar_phrases", np.zeros(len(boxes), np.int32)).reshape(-1)
    if not len(boxes) == len(labels) == len(owners):
        raise BadInput(f"{len(boxes)} exemplar_boxes, {len(labels)} exemplar_labels, {len(owners)} exemplar_phrases.")
    if len(owners) and not (owners.min() >= 0 and owners.max() < len(phrases)):
        raise BadInput(f"exemplar_phrases: expected indexes from 0 to {len(phrases) - 1}.", field="exemplar_phrases")
    if not np.isin(labels, (0, 1)).all():
        raise BadInput("exemplar_labels: expected 1 (like this) or 0 (not like this).", field="exemplar_labels")
    return tuple(_prompt(phrase, boxes[owners == at], labels[owners == at]) for at, phrase in enumerate(phrases))


def _prompt(phrase: str, boxes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Prompt:
    if len(boxes) > MAX_BOXES:
        raise BadInput(f"exemplar_boxes: {len(boxes)} for {phrase!r}; expected at most {MAX_BOXES}.")
    if not phrase and not len(boxes):
        raise BadInput("phrases: one is empty and has no exemplar box. Say what to look for.", field="phrases")
    return Prompt(phrase or VISUAL, boxes if len(boxes) else None, labels.astype(np.int64) if len(boxes) else None)


def _one(inputs: Mapping[str, np.ndarray[Any, Any]], name: str) -> Any:
    values = inputs[name].reshape(-1)
    if len(values) != 1:
        raise BadInput(f"{name}: {len(values)} values; expected one.", field=name)
    return values[0]


def _text(value: Any, name: str) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not UTF-8 text (byte {error.start}).", field=name) from error
