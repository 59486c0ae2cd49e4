"""The light tracker: stable numbers through occlusion, several phrases in one pass, births, deaths, no flicker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from video_stage import SIZE, Stage, iou

from sam3.errors import BadInput
from sam3.scenes.truth import Noise
from sam3.types import Detections, Prompt
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.frames import Frame, FrameResult


def follow(
    stage: Stage, phrases: list[str], frames: int = 40, every: int = 5, noise: Noise | None = None
) -> tuple[list[FrameResult], list[dict[int, np.ndarray]], CarryTracker]:
    tracker: CarryTracker | None = None
    results, truth = [], []
    for frame, masks, engine in stage.play(frames, noise or Noise(miss=0, false=0, edge=1, shift=0.5)):
        tracker = tracker or CarryTracker(engine, phrases, Cadence(every=every), rate=25)
        results.append(tracker.update(frame))
        truth.append(masks)
    assert tracker is not None
    return results, truth, tracker


def who(results: list[FrameResult], truth: list[dict[int, np.ndarray]]) -> dict[int, set[int]]:
    """thing -> the track numbers it was shown under."""
    out: dict[int, set[int]] = {}
    for result, masks in zip(results, truth, strict=True):
        for number, mask in zip(result.seen.track_ids, result.seen.masks, strict=True):
            thing = max(masks, key=lambda t: iou(masks[t], mask), default=None)
            if thing is not None and iou(masks[thing], mask) > 0.3:
                out.setdefault(thing, set()).add(int(number))
    return out


def test_things_keep_their_numbers_and_masks_between_looks(crossing: Stage) -> None:
    results, truth, tracker = follow(crossing, ["duck", "hen"])
    assert tracker.engine.looks == 8  # type: ignore[attr-defined]  # 40 frames, every 5th, one encode for both phrases
    assert {thing: len(ids) for thing, ids in who(results, truth).items()} == {1: 1, 2: 1}
    overlaps = [
        max(iou(mask, seen) for seen in result.seen.masks)
        for result, masks in zip(results, truth, strict=True)
        for mask in masks.values()
    ]
    assert np.mean(overlaps) > 0.8 and min(overlaps) > 0.6
    assert all(sorted(result.seen.labels) == ["duck", "hen"] for result in results)


def test_a_thing_that_passes_behind_another_is_the_same_afterwards() -> None:
    stage = Stage({"duck": lambda t: (5 + 2 * t, 40), "post a": lambda t: (50, 40), "post b": lambda t: (68, 40)})
    results, truth, _ = follow(stage, ["duck", "post"], frames=48)
    assert len(who(results, truth)[1]) == 1
    hidden = [t for t, masks in enumerate(truth) if 1 not in masks]
    shown = [t for t in hidden if any(label == "duck" for label in results[t].seen.labels)]
    assert len(hidden) >= 3 and len(shown) <= 5, "at most until the next look"


def test_two_alike_that_meet_keep_their_numbers() -> None:
    stage = Stage({"duck a": lambda t: (5 + 2 * t, 20), "duck b": lambda t: (95 - 2 * t, 34)})
    results, truth, _ = follow(stage, ["duck"], frames=40)
    ids = who(results, truth)
    assert all(len(numbers) == 1 for numbers in ids.values()) and ids[1] != ids[2]


def test_births_and_deaths_within_one_look() -> None:
    stage = Stage({
        "duck a": lambda t: (40, 10) if t >= 12 else None,
        "duck b": lambda t: (80, 60) if t < 21 else None,
        "duck c": lambda t: (100 + 3 * t, 30),
    })  # fmt: skip
    results, _, tracker = follow(stage, ["duck"], frames=41)
    counts = [len(result.seen) for result in results]
    assert counts[0] == 2 and counts[15] == 2 and counts[-1] == 1
    assert len(tracker.followed) == 1


def test_one_missed_look_does_not_make_it_blink(crossing: Stage) -> None:
    class Blinking:
        """Misses everything on its third look, second looks included."""

        def __init__(self) -> None:
            self.looks, self.inner = 0, None

        def encode(self, images):  # type: ignore[no-untyped-def]
            self.looks += 1
            return self.inner.encode(images)

        def ground(self, embeddings, prompts):  # type: ignore[no-untyped-def]
            found = self.inner.ground(embeddings, prompts)
            return [Detections.empty(*SIZE) for _ in found] if self.looks == 3 else found

    blinking = Blinking()
    tracker = CarryTracker(blinking, ["duck"], Cadence(every=3), rate=25)
    shown = []
    for frame, _, engine in crossing.play(20):
        blinking.inner = engine
        shown.append(tracker.update(frame).seen.track_ids.tolist())
    assert shown == [[1]] * 20


def test_what_was_missed_is_asked_for_again_with_its_place(crossing: Stage) -> None:
    asked: list[Prompt] = []

    class Forgetful:
        """Finds the duck only when it is shown where."""

        inner = None

        def encode(self, images):  # type: ignore[no-untyped-def]
            return self.inner.encode(images)

        def ground(self, embeddings, prompts):  # type: ignore[no-untyped-def]
            asked.extend(prompts)
            found = self.inner.ground(embeddings, prompts)
            first = len(asked) <= 1
            return [
                f if p.boxes is not None or first else Detections.empty(*SIZE)
                for f, p in zip(found, prompts, strict=True)
            ]

    forgetful = Forgetful()
    tracker = CarryTracker(forgetful, ["duck"], Cadence(every=4), rate=25)
    for frame, masks, engine in crossing.play(21):
        forgetful.inner = engine
        result = tracker.update(frame)
        assert result.seen.track_ids.tolist() == [1]
        assert iou(result.seen.masks[0], masks[2]) > 0.8
    assert any(prompt.boxes is not None for prompt in asked)


def test_another_resolution_in_mid_stream_keeps_the_tracks(crossing: Stage) -> None:
    import cv2

    from sam3.scenes.truth import TruthEngine

    engine = TruthEngine()
    tracker = CarryTracker(engine, ["duck", "hen"], Cadence(every=100), rate=25)
    shapes, ids = [], []
    for number in range(12):
        picture, masks = crossing.frame(number)
        if number >= 6:
            picture = cv2.resize(picture, None, fx=1.5, fy=1.5)
            masks = {t: cv2.resize(m.astype(np.uint8), None, fx=1.5, fy=1.5) > 0 for t, m in masks.items()}
        engine.show(picture, masks, {1: ("hen",), 2: ("duck",)})
        result = tracker.update(Frame(number, number / 25, picture))
        shapes.append(result.seen.masks.shape[1:])
        ids.append(result.seen.track_ids.tolist())
    assert shapes[5] == SIZE and shapes[6] == (144, 192)
    assert all(one == ids[0] for one in ids)
    assert engine.looks == 2, "a new size is looked at at once"


def test_a_phrase_can_be_added_under_way(crossing: Stage) -> None:
    tracker: CarryTracker | None = None
    for frame, _, engine in crossing.play(12):
        tracker = tracker or CarryTracker(engine, ["duck"], Cadence(every=5), rate=25)
        result = tracker.update(frame)
        if frame.number == 6:
            tracker.add("hen")
    assert sorted(result.seen.labels) == ["duck", "hen"]


def test_memory_holds_nothing_of_tracks_that_are_over() -> None:
    def come_and_go(offset: int) -> Callable[[int], tuple[float, float] | None]:
        return lambda t: (2 + 5 * ((t + offset) % 30), 10 + 30 * (offset % 3))

    stage = Stage({f"duck {n}": come_and_go(10 * n) for n in range(3)})
    _, _, tracker = follow(stage, ["duck"], frames=400, noise=Noise())
    assert len(tracker.followed) <= 6
    assert len(tracker._tracks["duck"].waiting) <= 30


def test_what_walks_out_between_two_looks_is_gone_at_once() -> None:
    stage = Stage({"duck": lambda t: (90 + 4 * t, 40)})
    results, _, tracker = follow(stage, ["duck"], frames=16, every=100)
    assert len(results[6].seen) == 1 and not len(results[15].seen)
    assert tracker.engine.looks == 1  # type: ignore[attr-defined]


def test_nothing_to_follow_is_refused(crossing: Stage) -> None:
    with pytest.raises(BadInput, match="nothing to follow"):
        CarryTracker(None, [])  # type: ignore[arg-type]
