"""The tracker whose state is on the server: the same interface, one state per stream, forgotten streams begun anew."""

from __future__ import annotations

import numpy as np
from triton_asking import Served, picture

from sam3_agent.video.frames import Frame
from sam3_agent.video.served import ServedTracker


def test_a_stream_is_followed_and_begun_again_when_it_was_forgotten(served: Served) -> None:
    image = picture(11)
    frames = [Frame(t, t / 10, np.clip(image.astype(int) + t, 0, 255).astype(np.uint8)) for t in range(5)]
    with ServedTracker(served.server.addresses.grpc, ["hen", "duck"], threshold=0.0) as tracker:
        first, second = (tracker.update(frame) for frame in frames[:2])
        ids = set(first.seen.track_ids.tolist())
        assert len(ids) == len(first.seen) > 0 and set(first.seen.labels) == {"hen", "duck"}
        assert ids & set(second.seen.track_ids.tolist())
        assert set(first.presence) == {"hen", "duck"}
        highest = tracker._highest
        tracker._stream += 1  # a stream that the server does not hold, as after its restart
        third = tracker.update(frames[2])
        assert third.seen.track_ids.min() > highest, "numbers go on above the old ones"
        again = tracker.update(frames[3])
        assert set(again.seen.track_ids.tolist()) & set(third.seen.track_ids.tolist())


def test_two_streams_have_a_state_each(served: Served) -> None:
    with (
        ServedTracker(served.server.addresses.grpc, ["hen"], threshold=0.0) as one,
        ServedTracker(served.server.addresses.grpc, ["duck"], threshold=0.0) as other,
    ):
        a, b = one.update(Frame(0, 0, picture(12))), other.update(Frame(0, 0, picture(13)))
        assert a.seen.track_ids.min() == b.seen.track_ids.min() == 1
