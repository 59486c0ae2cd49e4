"""How things moved between two frames: dense optical flow (OpenCV's DIS), and a mask carried along it.

DIS is "Fast Optical Flow using Dense Inverse Search" (Kroeger et al., ECCV 2016). Inside a thing's mask one similarity
transform is fitted to the flow (RANSAC); where that explains the flow the mask is moved as a whole from where the detector
last drew it, which keeps its outline sharp however many frames pass. Where it does not (a walking person) the mask is
bent along the flow itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3.types import BoolArray, FloatArray, UInt8Array

WORKING_SIDE = 384  # pixels of the longer side at which flow is computed
LARGER = 3.0  # small frames are enlarged by at most this: DIS works on patches of eight pixels
POINTS = 400  # at most, that a transform is fitted to
RIGID = 0.6  # share of points that one transform must explain
INLIER = 1.5  # working pixels


class Flow:
    """The motion from the last frame to this one. One object follows one video."""

    def __init__(self, side: int = WORKING_SIDE) -> None:
        import cv2

        self.side = side
        self._dis: Any = cv2.DISOpticalFlow_create(  # type: ignore[attr-defined]
            cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
        )
        self._dis.setFinestScale(1)  # half the error of the preset FAST at half its time
        self._before: UInt8Array | None = None
        self._now: UInt8Array | None = None
        self._forward: FloatArray | None = None
        self._backward: FloatArray | None = None
        self.scale = 1.0

    def step(self, pixels: UInt8Array) -> None:
        """Take the next frame, uint8 RGB (H, W, 3). Another size than before starts anew."""
        import cv2

        height, width = pixels.shape[:2]
        self.scale = min(LARGER, self.side / max(height, width))
        size = (max(16, round(width * self.scale)), max(16, round(height * self.scale)))
        how = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size, interpolation=how)
        same = self._now is not None and self._now.shape == small.shape
        self._before, self._now = (self._now if same else None), np.asarray(small, np.uint8)
        self._forward = self._backward = None

    @property
    def change(self) -> float:
        """Mean difference of the two frames' brightness, 0..1; 1 where there is no frame before."""
        import cv2

        if self._before is None or self._now is None:
            return 1.0
        return float(cv2.absdiff(self._before, self._now).mean()) / 255

    @property
    def forward(self) -> FloatArray | None:
        """float32 (h, w, 2): where each working pixel of the last frame went; None without a last frame."""
        if self._forward is None and self._before is not None:
            self._forward = np.asarray(self._dis.calc(self._before, self._now, None), np.float32)
        return self._forward

    @property
    def backward(self) -> FloatArray | None:
        """float32 (h, w, 2): where each working pixel of this frame came from."""
        if self._backward is None and self._before is not None:
            self._backward = np.asarray(self._dis.calc(self._now, self._before, None), np.float32)
        return self._backward


Window = tuple[slice, slice]  # rows, columns


@dataclass(eq=False)
class Carried:
    """A mask on its way through frames.

    Attributes:
        anchor: bool (H, W), as the detector drew it (or as it was bent last).
        moved: float64 (2, 3), full-size pixels of the anchor -> of this frame.
        mask: bool (H, W) in this frame. window: the part of the frame that holds it; None when it is empty.
        sure: share of the points inside that one transform explained, 0..1; 1 at the anchor.
    """

    anchor: BoolArray
    moved: NDArray[np.float64]
    mask: BoolArray
    sure: float = 1.0
    step: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))  # pixels, by which it moved last

    def __post_init__(self) -> None:
        self.window = self._anchored = _window(self.mask)  # found once: a large frame's mask is long to search

    @classmethod
    def at(cls, mask: BoolArray) -> Carried:
        """A mask where it was just drawn."""
        return cls(mask, np.eye(2, 3), mask)

    @property
    def box(self) -> FloatArray | None:
        """float32 (4,) xyxy, tight on the mask; None when it is empty."""
        return None if self.window is None else _box(self.window)

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return 0 if self.window is None else int(np.count_nonzero(self.mask[self.window]))

    def carry(self, flow: Flow) -> None:
        """Move to the frame that `flow` has taken last."""
        forward = flow.forward
        self.step = np.zeros(2, np.float32)
        window = self.window
        if forward is None or window is None:
            return
        points = _points(self.mask, window, flow.scale, forward.shape[:2])
        if len(points) < 6:
            return
        there = points + forward[points[:, 1].astype(int), points[:, 0].astype(int)]
        step, self.sure = _similarity(points, there)
        self.step = np.asarray(np.median(there - points, axis=0) / flow.scale, np.float32)
        if step is None:
            return
        if self.sure >= RIGID:
            step[:, 2] /= flow.scale
            self.moved = (np.vstack([step, [0, 0, 1]]) @ np.vstack([self.moved, [0, 0, 1]]))[:2]
            self.mask, self.window = _warped(self.anchor, self._anchored, self.moved)
        else:
            self.mask, self.window = _bent(self.mask, flow, window, float(np.abs(there - points).max()))
            self.anchor, self.moved, self._anchored = self.mask, np.eye(2, 3), self.window

    def resized(self, shape: tuple[int, int]) -> Carried:
        """The same in frames of another size (H, W)."""
        import cv2

        grown = cv2.resize(self.mask.astype(np.uint8) * 255, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) > 127
        return Carried.at(np.asarray(grown))


def box_of(mask: BoolArray) -> FloatArray | None:
    """float32 (4,) xyxy of a mask's pixels, x1 and y1 exclusive; None of an empty mask."""
    window = _window(mask)
    return None if window is None else _box(window)


def _box(window: Window) -> FloatArray:
    rows, columns = window
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.float32)


def _window(mask: BoolArray) -> Window | None:
    import cv2

    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (slice(y, y + height), slice(x, x + width)) if width and height else None


def _points(mask: BoolArray, window: Window, scale: float, shape: tuple[int, ...]) -> FloatArray:
    """(n, 2) xy working pixels inside the mask; its rim is left out where there is enough, for flow mixes there."""
    import cv2

    inner = np.ascontiguousarray(mask[window]).view(np.uint8)
    reach = max(1, round(1.5 / scale))
    core = cv2.erode(
        cv2.copyMakeBorder(inner, 1, 1, 1, 1, cv2.BORDER_CONSTANT), np.ones((2 * reach + 1,) * 2, np.uint8)
    )
    core = core[1:-1, 1:-1]
    if np.count_nonzero(core) * scale**2 < 30:
        core = inner
    step = max(1, round((np.count_nonzero(core) / POINTS) ** 0.5))
    ys, xs = np.nonzero(core[::step, ::step])
    points = np.stack([xs * step + window[1].start, ys * step + window[0].start], 1).astype(np.float32) * scale
    inside = (points[:, 0] <= shape[1] - 1) & (points[:, 1] <= shape[0] - 1)
    return points[inside]


def _similarity(here: FloatArray, there: FloatArray) -> tuple[NDArray[np.float64] | None, float]:
    """The rotation, scale and shift that takes most points `here` to `there`, and the share it explains."""
    import cv2

    found, inliers = cv2.estimateAffinePartial2D(
        here, there, method=cv2.RANSAC, ransacReprojThreshold=INLIER, maxIters=200, confidence=0.98
    )
    if found is None or not np.isfinite(found).all():
        return None, 0.0
    size = float(np.hypot(found[0, 0], found[1, 0]))
    if not 0.8 < size < 1.25:  # nothing grows by a quarter between two frames: the flow is of something else
        return np.column_stack([np.eye(2), np.median(there - here, axis=0)]), 1.0
    return np.asarray(found, np.float64), float(inliers.mean())


def _warped(anchor: BoolArray, window: Window | None, moved: NDArray[np.float64]) -> tuple[BoolArray, Window | None]:
    """The anchor moved by an affine map, and where it is now; only the part that can hold it is computed."""
    import cv2

    out = np.zeros_like(anchor)
    if window is None:
        return out, None
    rows, columns = window
    corners = np.array([[x, y, 1] for x in (columns.start, columns.stop) for y in (rows.start, rows.stop)]) @ moved.T
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, anchor.shape[::-1])
    if (high - low < 1).any():
        return out, None
    part = np.ascontiguousarray(anchor[window]).view(np.uint8) * 255
    local = moved.copy()
    local[:, 2] += moved[:, :2] @ np.array([columns.start, rows.start]) - low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = cv2.warpAffine(part, local, size, flags=cv2.INTER_LINEAR) > 127
    return _placed(out, drawn, (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))))


def _bent(mask: BoolArray, flow: Flow, window: Window, reach: float) -> tuple[BoolArray, Window | None]:
    """The mask pulled along the backward flow, pixel by pixel, within the reach of the motion; and where it is now."""
    import cv2

    backward = flow.backward
    if backward is None:
        return mask, window
    margin = int(reach / flow.scale) + 4
    rows = slice(max(0, window[0].start - margin), min(mask.shape[0], window[0].stop + margin))
    columns = slice(max(0, window[1].start - margin), min(mask.shape[1], window[1].stop + margin))
    ys, xs = np.mgrid[rows, columns].astype(np.float32)
    shift = cv2.remap(backward, xs * flow.scale, ys * flow.scale, cv2.INTER_LINEAR) / flow.scale
    came = cv2.remap(
        mask.view(np.uint8) * 255,
        xs + shift[..., 0],
        ys + shift[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return _placed(np.zeros_like(mask), came > 127, (rows, columns))


def _placed(out: BoolArray, part: BoolArray, where: Window) -> tuple[BoolArray, Window | None]:
    """`part` put into `out`, and the window of its pixels."""
    out[where] = part
    inner = _window(part)
    if inner is None:
        return out, None
    (rows, columns), (down, right) = inner, (where[0].start, where[1].start)
    return out, (slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right))
