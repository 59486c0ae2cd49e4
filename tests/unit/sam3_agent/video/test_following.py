"""A whole file: stopped anywhere and gone on with, it ends as if it had not been stopped."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from video_stage import Stage

from sam3.errors import BadInput
from sam3.scenes.truth import Noise, TruthEngine
from sam3_agent.video.cadence import Cadence
from sam3_agent.video.carry import CarryTracker
from sam3_agent.video.following import Span, follow_file, header, write_formats
from sam3_agent.video.frames import Frame, FrameResult
from sam3_agent.video.reading import facts, read_frames
from sam3_agent.video.results import Record
from sam3_agent.video.sources import Source, source_of


def engine_of(source: Source, stage: Stage) -> TruthEngine:
    """Knows the decoded frames of the clip."""
    engine = TruthEngine(Noise(false=0))
    for frame in read_frames(source):
        engine.show(frame.pixels, stage.frame(frame.number)[1], {1: ("hen",), 2: ("duck",)})
    return engine


def run(source: Source, stage: Stage, folder: Path, stop: int | None = None) -> Record:
    span, known = Span(), facts(source)
    record = Record(folder / "results.jsonl", header(source, known, ["duck", "hen"], span, {}))
    tracker = CarryTracker(engine_of(source, stage), ["duck", "hen"], Cadence(every=4), rate=10)

    def progress(done: int) -> None:
        if stop is not None and done >= stop:
            raise KeyboardInterrupt

    try:
        follow_file(source, tracker, record, span, progress=progress)
    finally:
        record.close()
    return record


@pytest.mark.parametrize("stop", [1, 6, 8, 29])
def test_a_stopped_run_ends_like_one_that_was_not(clip: Path, crossing: Stage, tmp_path: Path, stop: int) -> None:
    source = source_of(clip)
    whole = list(run(source, crossing, tmp_path / "whole").rows())
    with pytest.raises(KeyboardInterrupt):
        run(source, crossing, tmp_path / "halves", stop)
    halves = list(run(source, crossing, tmp_path / "halves").rows())
    assert [row["frame"] for row in halves] == list(range(30))
    for one, other in zip(whole, halves, strict=True):
        assert one["detected"] == other["detected"]
        assert [(t["id"], t["label"]) for t in one["tracks"]] == [(t["id"], t["label"]) for t in other["tracks"]]
        for a, b in zip(one["tracks"], other["tracks"], strict=True):
            np.testing.assert_allclose(a["box"], b["box"], atol=4)


def test_a_finished_run_is_not_done_again(clip: Path, crossing: Stage, tmp_path: Path) -> None:
    run(source_of(clip), crossing, tmp_path)
    before = (tmp_path / "results.jsonl").read_text()
    assert run(source_of(clip), crossing, tmp_path).done == 30
    assert (tmp_path / "results.jsonl").read_text() == before


def test_the_drawn_video_has_every_frame_and_shows_the_tracks(clip: Path, crossing: Stage, tmp_path: Path) -> None:
    source = source_of(clip)
    record = run(source, crossing, tmp_path)
    made = write_formats(record.path, source, ["video", "mot", "coco"], Span())
    assert [path.name for path in made] == ["mot.txt", "coco_vid.json", "tracks.mp4"]
    drawn = list(read_frames(source_of(made[-1])))
    assert len(drawn) == 30
    plain = next(iter(read_frames(source)))
    changed = np.abs(drawn[0].pixels.astype(int) - plain.pixels).mean(2)
    inside = crossing.frame(0)[1][1]
    assert changed[inside].mean() > 1.5 * changed[~inside].mean()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_frames_that_do_not_come_evenly_are_drawn_at_their_times(tmp_path: Path, crossing: Stage) -> None:
    import av

    times = [0.0, 0.1, 0.15, 0.9, 1.0, 2.5]
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(crossing.frame(number)[0], format="rgb24")
            picture.pts, picture.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    source = source_of(tmp_path / "phone.mp4")
    record = run(source, crossing, tmp_path)
    [drawn] = write_formats(record.path, source, ["video"], Span())
    assert [row["time"] for row in record.rows()] == pytest.approx(times, abs=0.002)
    assert [frame.time for frame in read_frames(source_of(drawn))] == pytest.approx(times, abs=0.002)


def test_other_pictures_of_the_same_name_are_another_run(tmp_path: Path) -> None:
    from PIL import Image

    heads = []
    for grey, camera in enumerate(("north", "south")):
        folder = tmp_path / camera / "frames"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((32, 32, 3), 100 * grey, np.uint8)).save(folder / f"{number}.bmp")
        source = source_of(folder)
        heads.append(header(source, facts(source), ["duck"], Span(), {}))
    assert heads[0]["video"] == heads[1]["video"] and heads[0]["bytes"] == heads[1]["bytes"] > 0
    assert heads[0] != heads[1]


class Forgetting:
    """A tracker with a memory of its own that cannot be written down: numbers by order of appearance."""

    def __init__(self, engine: TruthEngine, above: int = 0) -> None:
        self.above = above
        self.inner = CarryTracker(engine, ["duck", "hen"], Cadence(every=1), rate=10)
        self.frames: list[int] = []

    def update(self, frame: Frame) -> FrameResult:
        self.frames.append(frame.number)
        result = self.inner.update(frame)
        result.seen.track_ids = result.seen.track_ids + self.above
        return result


def test_a_tracker_that_cannot_be_written_down_sees_the_last_frames_again(
    clip: Path, crossing: Stage, tmp_path: Path
) -> None:
    source, span = source_of(clip), Span()
    head = header(source, facts(source), ["duck", "hen"], span, {})
    engine = engine_of(source, crossing)

    def go(tracker: Forgetting, stop: int | None = None) -> None:
        record = Record(tmp_path / "results.jsonl", head)

        def progress(done: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        try:
            follow_file(source, tracker, record, span, progress=progress)
        finally:
            record.close()

    first = Forgetting(engine, above=6)
    with pytest.raises(KeyboardInterrupt):
        go(first, stop=28)
    second = Forgetting(engine)
    go(second)
    assert second.frames[0] == 28 - 25 and second.frames[-1] == 29
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()[1:]]
    assert [row["frame"] for row in rows] == list(range(30))
    ids = [{track["label"]: track["id"] for track in row["tracks"]} for row in rows]
    assert {pair for one in ids for pair in one.items()} == {("hen", 7), ("duck", 8)}


@pytest.mark.parametrize("span", [Span(start=100), Span(start=2, end=1)])
def test_a_part_without_frames_is_named(clip: Path, crossing: Stage, tmp_path: Path, span: Span) -> None:
    source = source_of(clip)
    record = Record(tmp_path / "results.jsonl", header(source, facts(source), ["duck"], span, {}))
    with pytest.raises(BadInput, match=r"clip\.mp4: no frame from"):
        follow_file(source, CarryTracker(TruthEngine(), ["duck"], rate=10), record, span)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        Record(tmp_path / "file" / "results.jsonl", {})


@pytest.fixture
def knowing(clip: Path, crossing: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs get a tracker that knows the clip instead of weights."""

    def make(
        method: str, checkpoint: str, engine: str, phrases: list[str], cadence: Cadence, *rest: float
    ) -> CarryTracker:
        return CarryTracker(engine_of(source_of(clip), crossing), phrases, cadence, rate=10)

    monkeypatch.setattr("sam3_agent.video.track.make_tracker", make)


@pytest.mark.usefixtures("knowing")
def test_the_verb_track_writes_everything_and_says_what_it_followed(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam3_agent.video.track import track

    for _ in range(2):  # the second time nothing is left to do
        track(str(clip), ["duck", "hen", "duck"], out=tmp_path / "out", every="4")
        told = capsys.readouterr().out
        assert "30 frames" in told and "1 duck" in told and "1 hen" in told
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["coco_vid.json", "mot.txt", "results.jsonl", "tracks.mp4"]
    with pytest.raises(BadInput, match="phrases differ"):
        track(str(clip), ["goose"], out=tmp_path / "out", every="4")


@pytest.mark.usefixtures("knowing")
def test_the_verb_stream_plays_a_file_in_a_cameras_place(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam3_agent.video.live.verb import stream

    stream(str(clip), ["duck", "hen"], every="200ms", port=0, events=tmp_path / "events.jsonl")
    assert "30 frames decoded" in capsys.readouterr().out
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {(event["event"], event["label"]) for event in events} >= {("appeared", "duck"), ("appeared", "hen")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"formats": "gif"},
        {"method": "magic"},
        {"every": "0"},
        {"every": "infs"},
        {"things": [" "]},
        {"things": ["caf\udce9"]},
    ],
)
def test_wrong_options_are_named_before_anything_is_loaded(clip: Path, tmp_path: Path, wrong: dict) -> None:
    from sam3_agent.video.track import track

    given = {"things": ["duck"], "out": tmp_path / "out", **wrong}
    with pytest.raises(BadInput):
        track(str(clip), **given)
