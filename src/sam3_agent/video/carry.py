"""The light tracker: the detector looks at some frames, optical flow carries the masks through the rest.

    tracker = CarryTracker(engine, ["duck", "hen"], Cadence(every=5), rate=25)
    for frame in read_frames(source_of("clip.mp4")):
        result = tracker.update(frame)          # result.seen: masks, labels, track ids

A look encodes the picture once and grounds every phrase on it; a thing that was expected and not found is asked for once
more on the same features, with the place where it should be as an example. Memory is bounded: the last frame's flow, one
mask a track, and nothing of tracks that are over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sam3.errors import BadInput
from sam3.types import BoolArray, Detections, Engine, FloatArray, Prompt, UInt8Array
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.association import MISSING, Association, numbers
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.flow import Carried, Flow, box_of
from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.presence import LEFT, SHOWN, excused, smoothed
from sam3_agent.video.recall import Manner, Recall

SECOND_LOOK = 0.5  # mask overlap with where the thing was expected, to be believed
MOST = 200  # tracks shown at once of one phrase


@dataclass(eq=False)
class Followed:
    """A thing under way. `area`: pixels when last found; `presence`: smoothed score; `manner`: how it looks and moves."""

    number: int
    phrase: str
    carried: Carried
    area: float
    score: float
    presence: float
    manner: Manner


@dataclass
class _Clock:
    """Milliseconds by stage of one frame."""

    spent: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.spent[stage] = self.spent.get(stage, 0.0) + 1000 * (now - self._since)
        self._since = now


class CarryTracker:
    """Follows several phrases in one pass.

    Args:
        engine: finds things in single pictures; best with a low threshold, for weak detections continue tracks.
        phrases: noun phrases; things of different phrases are different tracks.
        cadence: when the detector looks; once a second when None.
        rate: frames a second, about.
        birth: score from which a new thing is believed.
        second_look: ask again, with an example box, for what was expected and not found.
    """

    def __init__(
        self,
        engine: Engine,
        phrases: Sequence[str],
        cadence: Cadence | None = None,
        *,
        rate: float = 25.0,
        birth: float = 0.5,
        second_look: bool = True,
    ) -> None:
        if not phrases:
            raise BadInput("nothing to follow. Name at least one thing.", field="phrases")
        self.engine, self.cadence, self.birth, self.second_look = engine, cadence or Cadence(), birth, second_look
        self.rate = rate if rate > 0 else 25.0
        self.flow = Flow()
        self.followed: dict[int, Followed] = {}
        self.presence: dict[str, float] = {}
        self.looks = 0
        self._counter = numbers()
        self._tracks: dict[str, Association] = {}
        self._shape: tuple[int, ...] | None = None
        self._pixels: UInt8Array | None = None
        self._time = 0.0
        between = self.cadence.every / self.rate if self.cadence.every is not None else self.cadence.seconds
        self._missing = max(MISSING, 2.5 * between)
        self._recall = Recall(self._missing)
        for phrase in phrases:
            self.add(phrase)

    @property
    def phrases(self) -> list[str]:
        """What is followed."""
        return list(self._tracks)

    def add(self, phrase: str) -> None:
        """Follow one more thing, from the next look on."""
        self._tracks.setdefault(phrase, Association(self._counter, self.rate, self.birth, self._missing))

    def update(self, frame: Frame) -> FrameResult:
        """The next frame. Another size than before (a camera that was set anew) keeps the tracks."""
        clock = _Clock()
        resized = frame.pixels.shape != self._shape
        if resized and self._shape is not None:
            self._resize(self._shape[:2], frame.pixels.shape[:2])
        self._shape, self._pixels = frame.pixels.shape, frame.pixels
        passed, self._time = frame.time - self._time, frame.time
        self.flow.step(frame.pixels)
        look = resized or self.cadence.due(frame.number, frame.time, self.flow.change)
        if self.followed:
            _ = self.flow.forward  # computed once, when it is first asked for
        clock.lap("flow")
        for one in self.followed.values():
            one.carried.carry(self.flow)
            one.manner.moved(one.carried.step, passed)
        clock.lap("carry")
        if look:
            self._look(frame, clock)
            self.cadence.looked(frame.number, frame.time)
        else:
            self._drop_empty()
            for phrase, tracks in self._tracks.items():
                boxes = {one.number: one.carried.box for one in self._of(phrase)}
                tracks.carried({n: box for n, box in boxes.items() if box is not None}, frame.time)
            clock.lap("associate")
        self.cadence.spent(sum(clock.spent.values()), looked=look)
        return FrameResult(frame.number, frame.time, self._shown(), look, dict(self.presence), clock.spent)

    # --- a look -------------------------------------------------------------------------------------------------------

    def _look(self, frame: Frame, clock: _Clock) -> None:
        [embedding] = self.engine.encode([frame.pixels])
        self.looks += 1
        clock.lap("encode")
        found = self.engine.ground([embedding] * len(self._tracks), [Prompt(text=phrase) for phrase in self._tracks])
        clock.lap("ground")
        missed: list[Followed] = []
        for (phrase, tracks), detections in zip(self._tracks.items(), found, strict=True):
            self.presence[phrase] = smoothed(self.presence.get(phrase), detections.presence)
            missed += self._associated(phrase, tracks, detections, frame.time)
        masks = [mask for one in found for mask in one.masks[one.scores >= self.birth]]
        missed = [one for one in missed if not self._excused(one, masks)]
        clock.lap("associate")
        if missed and self.second_look:
            prompts = [Prompt(text=one.phrase, boxes=one.carried.box[None]) for one in missed]  # type: ignore[index]
            again = self.engine.ground([embedding] * len(missed), prompts)
            clock.lap("ground")
            missed = [one for one, seen in zip(missed, again, strict=True) if not self._seen_again(one, seen)]
        for one in missed:
            one.presence = smoothed(one.presence, 0.0)
            if one.presence < SHOWN:
                self._lose(one)
        clock.lap("associate")

    def _associated(self, phrase: str, tracks: Association, found: Detections, at: float) -> list[Followed]:
        """Give every detection its track. Returns the things that should be there and were not found."""
        ids = tracks.seen(found.boxes, found.scores, at)
        before = {one.number: one for one in self._of(phrase)}
        known = [row for row, number in enumerate(ids) if number in before]
        for row in (*known, *(row for row, number in enumerate(ids) if number >= 0 and number not in before)):
            box, mask = found.boxes[row], found.masks[row]
            if row not in known:
                ids[row] = self._recalled(ids[row], phrase, tracks, box, mask, before)
            before.pop(ids[row], None)
            self._take(ids[row], phrase, box, mask, float(found.scores[row]))
        return list(before.values())

    def _excused(self, one: Followed, masks: Sequence[BoolArray]) -> bool:
        """Whether there is a reason that it was not found; if so, it is out of sight now."""
        if one.carried.box is not None and not excused(one.carried.mask, one.area, masks, one.manner.box):
            return False
        self._lose(one)
        return True

    def _recalled(
        self,
        number: int,
        phrase: str,
        tracks: Association,
        box: FloatArray,
        mask: BoolArray,
        missed: dict[int, Followed],
    ) -> int:
        """The number of a newcomer, or that of the thing which went out of sight and is it."""
        assert self._pixels is not None
        self._recall.forget(number)
        manners = {one.number: one.manner for one in missed.values()}
        old = self._recall.found(phrase, Manner.of(box, mask, self._pixels), self._time, manners)
        if old is None:
            return number
        tracks.rename(number, old)
        return old

    def _take(self, number: int, phrase: str, box: FloatArray, mask: BoolArray, score: float) -> None:
        """A track goes on, or begins, with what was detected."""
        assert self._pixels is not None
        area, known = float(np.count_nonzero(mask)), self.followed.get(number)
        if known is None:
            manner = Manner.of(box, mask, self._pixels)
            self.followed[number] = Followed(number, phrase, Carried.at(mask), area, score, score, manner)
            return
        known.manner.seen(box, mask, self._pixels)
        known.carried, known.area, known.score = Carried.at(mask), area, score
        known.presence = smoothed(known.presence, score)

    def _lose(self, one: Followed) -> None:
        """A thing is not shown any more, and kept in mind for a while."""
        del self.followed[one.number]
        self._recall.lost(one.number, one.phrase, one.manner, self._time)

    def _seen_again(self, one: Followed, found: Detections) -> bool:
        """Whether the second look shows the thing where it was expected; if so, it goes on from there."""
        here = one.carried.mask
        for row in np.argsort(-found.scores, kind="stable"):
            mask = found.masks[row]
            both = np.count_nonzero(mask & here)
            if both and both / np.count_nonzero(mask | here) >= SECOND_LOOK:
                self._take(one.number, one.phrase, found.boxes[row], mask, float(found.scores[row]))
                return True
        return False

    # --- between looks ------------------------------------------------------------------------------------------------

    def _drop_empty(self) -> None:
        """What has moved out of the picture is not followed any more."""
        for one in list(self.followed.values()):
            if one.carried.area <= LEFT * one.area:
                self._lose(one)

    def _resize(self, before: tuple[int, ...], now: tuple[int, ...]) -> None:
        """The camera gives frames of another size: everything known is scaled."""
        factor = np.array([now[1] / before[1], now[0] / before[0]], np.float32)
        for one in self.followed.values():
            one.carried = one.carried.resized((now[0], now[1]))
            one.area *= float(factor.prod())
            one.manner.scaled(factor)
        for tracks in self._tracks.values():
            tracks.resized(factor)
        self._recall = Recall(self._missing)

    def _of(self, phrase: str) -> list[Followed]:
        return [one for one in self.followed.values() if one.phrase == phrase]

    def _shown(self) -> TrackedDetections:
        """The things of this frame, in order of their numbers."""
        height, width = self._shape[:2]  # type: ignore[index]
        shown = sorted(self.followed.values(), key=lambda one: one.number)[: MOST * len(self._tracks)]
        boxes = [one.carried.box for one in shown]
        rows = [(one, box) for one, box in zip(shown, boxes, strict=True) if box is not None]
        return TrackedDetections(
            np.array([box for _, box in rows], np.float32).reshape(-1, 4),
            np.array([one.presence for one, _ in rows], np.float32),
            np.array([one.carried.mask for one, _ in rows], bool).reshape(-1, height, width),
            max(self.presence.values(), default=0.0),
            [one.phrase for one, _ in rows],
            track_ids=np.array([one.number for one, _ in rows], int),
        )

    # --- going on after an interruption ---------------------------------------------------------------------------------

    def resume(
        self,
        last: FrameResult,
        highest: int,
        recent: Sequence[FrameResult] = (),
        *,
        before: Frame | None = None,
        looked: tuple[int, float] = (-1, 0.0),
    ) -> None:
        """Go on after `last`, as far as what was written down allows.

        Args:
            last: the last frame's result. highest: the highest track number so far.
            recent: results before `last`, whose boxes teach the filters how things move.
            before: the last frame itself, for the flow. looked: number and time of the last look.
        """
        for _ in range(highest):
            next(self._counter)
        seen = last.seen
        for label, number, mask, score in zip(seen.labels, seen.track_ids, seen.masks, seen.scores, strict=True):
            area, presence, box = float(np.count_nonzero(mask)), float(score), box_of(mask)
            if box is None:
                continue
            manner = Manner.of(box, mask, before.pixels if before else np.zeros((*mask.shape, 3), np.uint8))
            self.followed[int(number)] = Followed(
                int(number), label, Carried.at(mask), area, presence, presence, manner
            )
        for phrase, tracks in self._tracks.items():
            for one in [*recent, last]:
                rows = [i for i, label in enumerate(one.seen.labels) if label == phrase]
                boxes = {int(one.seen.track_ids[i]): one.seen.boxes[i] for i in rows}
                tracks.resume({number: box for number, box in boxes.items() if number not in tracks.waiting})
                tracks.carried(boxes, one.time)
        self.presence = dict(last.presence)
        self.cadence.looked(*looked)
        if before is not None:
            self.flow.step(before.pixels)
            self._shape, self._pixels, self._time = before.pixels.shape, before.pixels, before.time
