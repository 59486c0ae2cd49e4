"""Pictures in, masks out: the arithmetic that every engine shares, in numpy, PIL and OpenCV.

    pixels = to_model(image, 256)                        # what the image encoder eats
    detections = from_model(logits, boxes, presence, masks_of, image.shape[:2], threshold=0.5)

The resize is PIL's antialiased bilinear one, which is what the published processor does; the square ignores
the aspect ratio, also as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3.errors import BadInput
from sam3.types import Detections, FloatArray, UInt8Array

DUPLICATE_IOU = 0.5  # two masks that share more than this show one thing


def check_image(image: UInt8Array) -> UInt8Array:
    """Hold an image against the contract: uint8 RGB (H, W, 3), not empty.

    Raises:
        BadInput: says what the array is and what it should be.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise BadInput(
            f"image of dtype {array.dtype}: expected uint8 RGB. Scale it to 0..255 and convert.",
            field="image",
        )
    if array.ndim != 3 or array.shape[2] != 3:
        raise BadInput(f"image of shape {array.shape}: expected (H, W, 3) RGB. Drop alpha, repeat grey.", field="image")
    if 0 in array.shape:
        raise BadInput(f"image of shape {array.shape}: it has no pixels.", field="image")
    return array


def to_model(image: UInt8Array, side: int) -> FloatArray:
    """uint8 RGB (H, W, 3) -> float32 (3, side, side) in [-1, 1]."""
    resized = Image.fromarray(check_image(image)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).transpose(2, 0, 1) / 127.5 - 1.0


def normalise_boxes(boxes: NDArray[np.floating], height: int, width: int) -> tuple[FloatArray, tuple[str, ...]]:
    """Exemplar boxes for the geometry encoder.

    Args:
        boxes: (K, 4) xyxy pixels.

    Returns:
        float32 (K, 4) cxcywh in [0, 1], clipped to the image, and a warning for each box that stuck out.

    Raises:
        BadInput: not (K, 4), not finite, or no part of a box is inside the image.
    """
    array = np.asarray(boxes, np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise BadInput(f"boxes of shape {array.shape}: expected (K, 4) xyxy pixels.", field="boxes")
    if not np.isfinite(array).all():
        raise BadInput("boxes: a coordinate is not a finite number.", field="boxes")
    limit = np.array([width, height, width, height], np.float32)
    clipped = np.clip(array, 0, limit)
    if (clipped[:, 2:] <= clipped[:, :2]).any():
        at = int(np.flatnonzero((clipped[:, 2:] <= clipped[:, :2]).any(1))[0])
        raise BadInput(
            f"box {at} {array[at].tolist()}: empty or outside the {width}x{height} image (xyxy pixels).",
            field="boxes",
        )
    warnings = tuple(f"box {at} clipped to the image" for at in np.flatnonzero((clipped != array).any(1)))
    x0, y0, x1, y1 = (clipped / limit).T
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1).astype(np.float32), warnings


def sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def from_model(
    logits: FloatArray,
    boxes: FloatArray,
    presence_logit: float,
    masks_of: Callable[[NDArray[np.int64]], FloatArray],
    size: tuple[int, int],
    *,
    threshold: float,
    warnings: tuple[str, ...] = (),
) -> Detections:
    """The raw answer for one pair -> `Detections` at the original resolution, best first.

    Args:
        logits: (Q,); boxes: (Q, 4) xyxy in [0, 1].
        masks_of: from query indexes (N,) to mask logits (N, h, w); asked only for what is kept.
        size: (H, W) of the original image.
        threshold: keep scores of at least this; score = sigmoid(logit) * sigmoid(presence).

    Of queries that draw the same thing only the best is kept (`distinct`).
    """
    height, width = size
    presence = float(sigmoid(np.array(presence_logit, np.float64)))
    scores = (sigmoid(logits.astype(np.float64)) * presence).astype(np.float32)
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    if not len(kept):
        found = Detections.empty(height, width, presence)
        found.warnings = warnings
        return found
    full = len(kept) == len(logits)
    drawn = masks_of(kept)
    alone = distinct(drawn > 0)
    kept, masks = kept[alone], enlarge(drawn[alone], size)
    solid = masks.any((1, 2))  # a query whose mask is empty shows nothing
    kept, masks = kept[solid], masks[solid]
    pixels = np.clip(boxes[kept], 0, 1) * np.array([width, height, width, height], np.float32)
    if full:
        warnings = (
            *warnings,
            f"all {len(logits)} object slots are used: there may be more objects than the model can list",
        )
    return Detections(pixels.astype(np.float32), scores[kept], masks, presence, warnings=warnings)


def distinct(masks: NDArray[np.bool_], most: float = DUPLICATE_IOU) -> NDArray[np.int64]:
    """Mask NMS: indexes of the masks that no better one covers, in their order.

    SAM 3 does the same with the detections of a video. A well-trained DETR hardly needs it; with it, one that learns
    from many queries an object becomes useful far sooner (DETA; Ouyang-Zhang et al. 2022, "NMS Strikes Back").

    Args:
        masks: (N, h, w), best first.
        most: IoU with a better mask from which a mask is a duplicate.
    """
    flat = masks.reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float32)
    shared = flat @ flat.T
    area = np.diag(shared)
    iou = shared / np.maximum(area[:, None] + area[None] - shared, 1)
    kept: list[int] = []
    for at in range(len(masks)):
        if not (iou[at, kept] >= most).any():
            kept.append(at)
    return np.array(kept, np.int64)


def enlarge(masks: FloatArray, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask logits (N, h, w) -> bool (N, H, W): bilinear, then above zero.

    Only the surroundings of what is above zero are enlarged: nowhere else can a blend of neighbours be.
    """
    height, width = size
    out = np.zeros((len(masks), height, width), bool)
    for at, mask in enumerate(masks):
        above = mask > 0
        rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
        if not len(rows):
            continue
        (y, tall), (x, wide) = _surroundings(rows, len(mask), height), _surroundings(columns, mask.shape[1], width)
        part = np.ascontiguousarray(mask[y, x], np.float32)
        pixels = (wide.stop - wide.start, tall.stop - tall.start)
        out[at, tall, wide] = cv2.resize(part, pixels, interpolation=cv2.INTER_LINEAR) > 0
    return out


def _surroundings(hits: NDArray[np.intp], cells: int, pixels: int) -> tuple[slice, slice]:
    """The cells from the first hit to the last with a neighbour on each side, and the pixels that they become.

    They begin and end where a border of cells is a border of pixels, so that a part is enlarged as the whole would be.
    """
    step = cells // math.gcd(cells, pixels)
    first, last = max(int(hits[0]) - 1, 0) // step * step, min(int(hits[-1]) + 2, cells)
    last = -(-last // step) * step
    return slice(first, last), slice(first * pixels // cells, last * pixels // cells)
