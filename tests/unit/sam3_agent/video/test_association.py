"""Detections get the numbers of the tracks that they continue."""

from __future__ import annotations

import numpy as np

from sam3_agent.video.association import Association, numbers


def box(x: float, y: float = 10, side: float = 20) -> np.ndarray:
    return np.array([x, y, x + side, y + side], np.float32)


def seen(tracks: Association, time: float, *boxes: np.ndarray, scores: list[float] | None = None) -> list[int]:
    return tracks.seen(np.array(boxes).reshape(-1, 4), np.array(scores or [0.9] * len(boxes), np.float32), time)


def test_a_new_thing_has_its_number_at_once_and_keeps_it() -> None:
    tracks = Association(numbers(), rate=10)
    assert seen(tracks, 0.0, box(10), box(80)) == [1, 2]
    assert seen(tracks, 0.1, box(82), box(12)) == [2, 1]


def test_two_phrases_share_the_count() -> None:
    counter = numbers()
    ducks, hens = Association(counter, 10), Association(counter, 10)
    assert seen(ducks, 0, box(10)) + seen(hens, 0, box(10)) + seen(ducks, 0.1, box(10), box(90)) == [1, 2, 1, 3]


def test_a_weak_detection_continues_a_track_and_starts_none() -> None:
    tracks = Association(numbers(), 10)
    assert seen(tracks, 0, box(10)) == [1]
    assert seen(tracks, 0.1, box(11), box(90), scores=[0.3, 0.3]) == [1, -1]


def test_a_thing_hidden_for_less_than_the_wait_is_the_same() -> None:
    tracks = Association(numbers(), 10, missing=1.5)
    for t in range(6):
        seen(tracks, t / 10, box(10 + 2 * t))
    for t in range(6, 12):
        assert seen(tracks, t / 10) == []
    assert seen(tracks, 1.2, box(34)) == [1]


def test_after_the_wait_it_is_a_new_one() -> None:
    tracks = Association(numbers(), 10, missing=1.0)
    seen(tracks, 0, box(10))
    seen(tracks, 0.1, box(10))
    for t in range(2, 30):
        seen(tracks, t / 10)
    assert seen(tracks, 3.0, box(10)) == [2]
    assert tracks.waiting == {2}


def test_boxes_carried_by_flow_keep_a_fast_thing_in_reach() -> None:
    """It turned round between looks: prediction alone would be 120 pixels off."""
    tracks, way = Association(numbers(), 10), [*range(0, 60, 10), *range(60, 0, -10)]
    seen(tracks, 0, box(0))
    for t, x in enumerate(way[1:], start=1):
        tracks.carried({1: box(x)}, t / 10)
    assert seen(tracks, len(way) / 10, box(0)) == [1]


def test_another_frame_size_keeps_the_tracks() -> None:
    tracks = Association(numbers(), 10)
    seen(tracks, 0, box(40))
    tracks.resized(np.array([2.0, 2.0], np.float32))
    assert seen(tracks, 0.1, box(80, 20, 40)) == [1]


def test_a_track_that_turns_out_to_be_an_older_one_takes_its_number() -> None:
    tracks = Association(numbers(), 10)
    assert seen(tracks, 0, box(10)) == [1]
    assert seen(tracks, 0.1, box(90)) == [2]
    tracks.rename(2, 1)
    assert seen(tracks, 0.2, box(91)) == [1] and tracks.waiting == {1}
