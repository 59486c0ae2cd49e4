"""Conversations in a database: whose they are, how long they last, what comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scene_service import SCENES, SceneEngine

from sam3.errors import BadInput, Unavailable
from sam3_agent import Agent
from sam3_agent.execution.media import Medium, medium
from sam3_agent.sessions.state import restored, saved
from sam3_agent.sessions.store import SessionStore

Opened = Callable[..., SessionStore]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return lambda **more: SessionStore(f"sqlite:///{tmp_path}/s.db", **more)


def noise(height: int = 30, width: int = 40) -> Medium:
    return medium(np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8))


def test_pictures_come_back_pixel_by_pixel_with_their_key(opened: Opened) -> None:
    store = opened()
    number = store.create("ann")
    plain = noise()
    large = noise(300, 3000)
    store.save(number, "ann", {"a": 1}, {0: plain, 1: large})
    kept = opened().load(number, "ann")
    assert kept.state == {"a": 1}
    for sent, back in zip((plain, large), kept.media, strict=True):
        assert np.array_equal(sent.pixels, back.pixels) and sent.frames[0].key == back.frames[0].key
    assert kept.media[1].frames[0].original is not None


def test_a_conversation_is_its_owners_alone(opened: Opened) -> None:
    store = opened()
    number = store.create("ann")
    for attempt in (
        lambda: store.load(number, "bob"),
        lambda: store.save(number, "bob", {}, {}),
        lambda: store.turns(number, "bob"),
        lambda: store.forget(number, "bob"),
        lambda: store.load("' OR 1=1 --", "ann"),
    ):
        with pytest.raises(BadInput, match="no such conversation"):
            attempt()
    assert store.load(number, "ann").state is None


def test_what_is_unused_too_long_is_gone(opened: Opened) -> None:
    now = [1000.0]
    store = opened(ttl=60, clock=lambda: now[0])
    old, used = store.create("ann"), store.create("ann")
    store.save(old, "ann", {}, {0: noise()}, {"id": "t1", "query": "q", "reply": {}})
    now[0] += 50
    store.save(used, "ann", {}, {})
    now[0] += 20
    with pytest.raises(BadInput, match="expired"):
        store.load(old, "ann")
    assert store.sweep() == 1 and store.sweep() == 0
    assert store.load(used, "ann").state == {}
    with store._engine.begin() as db:
        for table in ("pictures", "turns"):
            assert db.exec_driver_sql(f"select count(*) from {table}").scalar() == 0


def test_a_turn_is_kept_whole_or_not_at_all(opened: Opened) -> None:
    store = opened()
    number = store.create("ann")
    store.save(number, "ann", {"turn": 1}, {0: noise()})
    with pytest.raises(Exception, match="UNIQUE"):
        store.save(number, "ann", {"turn": 2}, {0: noise()})
    assert store.load(number, "ann").state == {"turn": 1}


def test_a_database_that_cannot_be_used_is_one_line_without_its_password() -> None:
    with pytest.raises(Unavailable) as told:
        SessionStore("postgresql+psycopg://ann:hunter22@127.0.0.1:1/none")
    assert "hunter22" not in str(told.value) and "127.0.0.1:1" in str(told.value)


def test_a_restored_conversation_goes_on_where_it_stopped() -> None:
    engine = SceneEngine()
    agent = Agent(engine, mirror="never")
    session = agent.session()
    session.ask("find the dogs", [engine.draw(SCENES["park"])])
    session.ask("only the black one")
    again = restored(Agent(engine, mirror="never"), saved(session), session.media)
    assert len(again.ask("undo").results[0].detections) == 3
    assert again.ask("which of them is the largest?").plan is not None


def test_an_open_question_is_still_open_after_a_restart() -> None:
    engine = SceneEngine()
    session = Agent(engine).session()
    assert session.ask("how many dogs are there?").status == "clarify"
    again = restored(Agent(engine), saved(session), [])
    assert again.ask("here it is", [engine.draw(SCENES["park"])]).answer == 3


@pytest.mark.parametrize(
    "damage",
    [{"moments": [{"plan": {"action": {"verb": "format disk"}}}]}, {"focus": 3}, {"lacks": None, "moments": 5}],
)
def test_a_damaged_row_is_one_line(damage: dict[str, object]) -> None:
    state = {**saved(Agent(SceneEngine()).session()), **damage}
    with pytest.raises(BadInput, match="cannot be read"):
        restored(Agent(SceneEngine()), state, [])


def test_a_full_database_is_one_line_and_keeps_what_it_had(opened: Opened) -> None:
    """In SQLite's own words, and without what was to be written: it may be somebody's picture."""
    store = opened()
    number = store.create("ann")
    with store._engine.begin() as db:
        pages = db.exec_driver_sql("PRAGMA page_count").scalar()
        db.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(Unavailable, match=r"database or disk is full") as refused:
        store.save(number, "ann", {"a": "x" * 100_000}, {0: noise(200, 200)})
    assert len(str(refused.value)) < 200
    assert store.load(number, "ann").state is None
    with store._engine.begin() as db:
        db.exec_driver_sql("PRAGMA max_page_count=1000000")
    store.save(number, "ann", {"a": 1}, {0: noise()})
    assert store.load(number, "ann").state == {"a": 1}
