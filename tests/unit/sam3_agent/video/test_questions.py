"""Questions about a video file: followed, counted, timed, cut, and told frame by frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from video_stage import Stage, write_clip

from sam3.errors import BadInput
from sam3.scenes.truth import TruthEngine
from sam3_agent.conversation import Agent, Reply
from sam3_agent.video.clip import FrameSeen, load_clip
from sam3_agent.video.questions import watch

# 60 frames at 10 a second: a hen throughout, one duck from 2.0 s on, another from 3.5 to 5.0 s
STAGE = Stage({
    "hen": lambda t: (10, 60),
    "duck a": lambda t: (2 * (t - 20), 10) if t >= 20 else None,
    "duck b": lambda t: (100 - (t - 35), 64) if 35 <= t < 50 else None,
})  # fmt: skip
NAMES = {1: ("hen",), 2: ("duck",), 3: ("duck",)}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "farm.mp4", [STAGE.frame(t)[0] for t in range(60)])


@pytest.fixture
def agent(video: Path) -> Agent:
    engine, clip = TruthEngine(), load_clip(video)
    for picture, time in zip(clip.frames, clip.times, strict=True):
        engine.show(picture.pixels, STAGE.frame(round(10 * time))[1], NAMES)
    return Agent(engine=engine)


@pytest.mark.parametrize(("query", "answer"), [
    ("how many distinct ducks are there in the video?", 2),
    ("how many hens are there?", 1),
    ("how many ducks are there between 0:00 and 0:01?", 0),
    ("how many ducks are there between 0:02 and 0:03?", 1),
    ("how many ducks appear in the last 2 seconds?", 2),
    ("is there a duck at 0:01?", False),
    ("is there a duck at 0:04?", True),
])  # fmt: skip
def test_counts_and_facts(agent: Agent, video: Path, query: str, answer: object) -> None:
    reply = agent.process(query, [video])
    assert reply.answer == answer and type(reply.answer) is type(answer), reply.text


@pytest.mark.parametrize(("query", "seconds", "within"), [
    ("when does the first duck appear?", 2.0, 0.6),
    ("when does the last duck appear?", 3.5, 0.6),
    ("when does the first duck leave?", 4.9, 0.6),
    ("when do the hens appear?", 0.0, 0.01),
    ("how long is the hen visible?", 6.0, 0.3),
    ("when does the first duck appear after 0:03?", 3.0, 0.3),
])  # fmt: skip
def test_times_are_answered_in_seconds(agent: Agent, video: Path, query: str, seconds: float, within: float) -> None:
    reply = agent.process(query, [video])
    assert reply.status == "ok" and reply.answer == pytest.approx(seconds, abs=within), reply.text


def test_what_is_not_there_has_no_time(agent: Agent, video: Path) -> None:
    reply = agent.process("when does the first goose appear?", [video])
    assert reply.status == "empty" and reply.answer is None and "geese" in reply.text


def test_a_picture_has_no_times() -> None:
    engine = TruthEngine()
    picture, masks = STAGE.frame(0)
    engine.show(picture, masks, NAMES)
    reply = Agent(engine=engine).process("when does the first hen appear?", [picture])
    assert reply.status == "clarify"


def test_the_detector_looks_at_a_few_frames_only(agent: Agent, video: Path) -> None:
    engine = agent.engine
    reply = agent.process("track the ducks", [video])
    frames = reply.results[0].frames
    assert frames is not None and len(frames) == len(load_clip(video).frames)
    assert engine.looks <= len(frames) / 3  # type: ignore[attr-defined]
    ids = {int(n) for frame in frames for n in frame.track_ids}
    assert len(ids) == 2


def test_a_second_question_looks_at_nothing_again(agent: Agent, video: Path) -> None:
    session = agent.session()
    session.ask("how many ducks are there?", [video])
    looks = agent.engine.looks  # type: ignore[attr-defined]
    assert session.ask("when does the first duck appear?").status == "ok"
    assert agent.engine.looks == looks  # type: ignore[attr-defined]


def test_news_of_every_frame_come_before_the_reply(agent: Agent, video: Path) -> None:
    *news, reply = watch(agent, "count the ducks", video)
    assert isinstance(reply, Reply) and reply.answer == 2
    assert all(isinstance(one, FrameSeen) for one in news) and [one.frame for one in news] == list(range(len(news)))
    counts = [one.counts["duck"] for one in news]
    assert counts[0] == 0 and counts == sorted(counts) and counts[-1] == 2


def test_a_listener_that_goes_away_does_not_hold_the_work_up(agent: Agent, video: Path) -> None:
    listening = watch(agent, "count the ducks", video)
    next(listening)
    listening.close()
    assert agent.process("count the hens", [video]).answer == 1


def test_a_bad_file_is_named(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(BadInput, match="content"):
        list(watch(agent, "count the ducks", tmp_path / "list.mp4"))


def test_a_long_video_is_sampled_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam3_agent.video.clip.MOST_FRAMES", 10)
    path = write_clip(tmp_path / "long.mp4", [STAGE.frame(t % 60)[0] for t in range(100)])
    clip = load_clip(path)
    assert 9 <= len(clip.frames) <= 11 and clip.times[-1] > 8
