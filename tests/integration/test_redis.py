"""The caches with a real Redis: shared between processes, gone after their time, and never worth an error."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from redis_server import free_port, redis_server
from scene_service import SCENES, SceneEngine

from sam3_agent import Agent
from sam3_agent.cache.caches import Caches, CacheSettings
from sam3_agent.cache.embeddings import EmbeddingCache
from sam3_agent.cache.redis_store import RedisStore
from sam3_agent.cache.text import TextCache, lend


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as (address, _):
        yield address


class Known(SceneEngine):
    """An engine that says whose weights it runs."""

    sha256 = "0123"


def ask(engine: SceneEngine, picture: np.ndarray, url: str) -> object:
    agent = Agent(engine, caches=Caches.of(CacheSettings(url=url)), mirror="never")
    return agent.process("how many dogs?", [picture]).answer


def test_a_second_process_answers_from_what_the_first_has_seen(url: str) -> None:
    first = Known()
    picture = first.draw(SCENES["park"])
    assert ask(first, picture, url) == 3
    second = Known()  # knows no scene: only the cache can answer
    assert ask(second, picture, url) == 3 and second.encodes == 0
    other = Known()
    other.sha256 = "4567"
    assert ask(other, picture, url) == 0  # other weights, other answers


class Bomb:
    exploded = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (setattr, (Bomb, "exploded", True))


def test_a_pickle_planted_in_redis_is_ignored_and_replaced(url: str) -> None:
    engine = Known()
    picture = engine.draw(SCENES["park"])
    assert ask(engine, picture, url) == 3
    server = redis.Redis.from_url(url)
    [key] = [key for key in server.scan_iter() if b":result:" in key]
    for planted in (pickle.dumps(Bomb()), b"", b"\xff" * 100, server.get(key)[:-9]):
        server.set(key, planted)
        assert ask(engine, picture, url) == 3 and not Bomb.exploded
        assert server.get(key) not in (None, planted)


def test_embeddings_go_round_through_redis_and_a_planted_pickle_does_not(url: str) -> None:
    from sam3.engines.onnx_engine import Embedding

    one = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)

    def fresh() -> EmbeddingCache:
        return EmbeddingCache(1_000_000, redis=RedisStore(url))

    sent = Embedding(trunk=one, level=one + 1, started=one[0], size=(30, 40), fine=(one, one * 2))
    assert fresh().fetch("onnx", "1", [b"p"], lambda _: [sent]) == [sent]
    [back] = fresh().fetch("onnx", "1", [b"p"], lambda _: pytest.fail("encoded again"))
    assert (
        back.size == (30, 40) and np.array_equal(back.level, sent.level) and np.array_equal(back.fine[1], sent.fine[1])
    )
    server = redis.Redis.from_url(url)
    for key in list(server.scan_iter()):
        server.set(key, pickle.dumps(Bomb()))
    assert fresh().fetch("onnx", "1", [b"p"], lambda _: [sent]) == [sent] and not Bomb.exploded


def test_values_have_a_time_to_live(url: str) -> None:
    store = RedisStore(url, ttl=77)
    store.put("a", b"1")
    assert 0 < redis.Redis.from_url(url).ttl("sam3-agent:a") <= 77


def test_redis_dying_in_the_middle_costs_speed_only(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(tmp_path, port) as (url, process):
        engine = Known()
        agent = Agent(engine, caches=Caches.of(CacheSettings(url=url)), mirror="never")
        pictures = [engine.draw(SCENES[name]) for name in ("park", "street", "room")]
        assert agent.process("how many dogs?", [pictures[0]]).answer == 3
        process.kill()
        process.wait()
        assert agent.process("how many dogs?", [pictures[0]]).answer == 3
        for _ in range(50):
            assert agent.process("how many cars?", [pictures[1]]).answer == 4
        store = agent.caches.redis
        assert store is not None and 1 <= store.failures <= 4  # the dead one is left alone, not asked fifty times
    with redis_server(tmp_path, port):
        store._silent_until = 0.0
        assert store.alive() and agent.process("how many chairs?", [pictures[2]]).answer == 3


def test_an_address_that_never_answers_delays_a_question_by_a_moment() -> None:
    agent = Agent(engine := Known(), caches=Caches.of(CacheSettings(url=f"redis://127.0.0.1:{free_port()}/0")))
    assert agent.process("how many dogs?", [engine.draw(SCENES["park"])]).answer == 3
    assert agent.caches.redis is not None and agent.caches.redis.failures <= 4


def test_phrases_are_kept_within_a_budget_and_shared(url: str) -> None:
    engine = type("Engine", (), {"name": "onnx"})()
    engine._words = {}
    first = lend(engine, 100_000, "w1", RedisStore(url))
    assert first is engine._words is not None
    for number in range(100):
        engine._words[f"phrase {number}"] = (np.full((8, 256), number, np.float32), ())
    assert first.held.usage().bytes <= 100_000 and engine._words["phrase 99"][0][0, 0] == 99
    other = TextCache(100_000, "w1", RedisStore(url))
    assert "phrase 3" in other and other["phrase 3"][0][0, 0] == 3
    assert "phrase 3" not in TextCache(100_000, "w2", RedisStore(url))
    server = redis.Redis.from_url(url)
    for key in list(server.scan_iter()):
        server.set(key, pickle.dumps(Bomb()))
    assert "phrase 4" not in TextCache(100_000, "w1", RedisStore(url)) and not Bomb.exploded
