"""What travels through the video room: a frame that comes in, and what was seen in it that goes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from sam3.types import UInt8Array
from sam3_agent.execution.outcome import TrackedDetections


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        number: 0-based, in the source's own count.
        time: seconds from the start of the source.
        pixels: uint8 RGB (H, W, 3), upright.
        taken: `time.monotonic()` when it was decoded; the age of a live frame is counted from here.
    """

    number: int
    time: float
    pixels: UInt8Array
    taken: float = field(default_factory=monotonic)


@dataclass(eq=False)
class FrameResult:
    """What was seen in one frame.

    Attributes:
        number, time: of the frame.
        seen: the things shown, each with its track id; `labels` are the phrases.
        detected: whether the detector looked at this frame, or things were carried here.
        presence: by phrase, the smoothed probability that the concept is there.
        milliseconds: by stage: flow, encode, ground, associate, carry.
    """

    number: int
    time: float
    seen: TrackedDetections
    detected: bool
    presence: dict[str, float] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)


class Tracker(Protocol):
    """Anything that follows things frame by frame, with bounded memory."""

    def update(self, frame: Frame) -> FrameResult:
        """The next frame, in order of time; frames may be missing."""
        ...
