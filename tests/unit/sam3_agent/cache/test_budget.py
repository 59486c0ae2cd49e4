"""Budgets of bytes, keys that cannot collide, one encode for many who ask."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam3_agent.cache.budget import Budget
from sam3_agent.cache.embeddings import EmbeddingCache
from sam3_agent.cache.keys import fingerprint


def test_what_was_used_longest_ago_goes_first() -> None:
    held: Budget[str, int] = Budget(30)
    for name in "abc":
        held.put(name, 1, 10)
    held.get("a")
    held.put("d", 1, 10)
    assert [held.get(name) for name in "abcd"] == [1, None, 1, 1]
    assert held.usage().bytes == 30 and held.usage().evicted == 1


def test_what_is_larger_than_all_of_it_is_not_kept_and_replacing_counts_once() -> None:
    held: Budget[str, int] = Budget(30)
    held.put("a", 1, 20)
    held.put("b", 2, 31)
    held.put("a", 3, 25)
    assert held.get("a") == 3 and held.get("b") is None and held.usage().bytes == 25
    held.put("a", 4, 31)
    assert held.get("a") is None and held.usage().bytes == 0


def test_values_are_believed_for_their_time() -> None:
    now = [0.0]
    held: Budget[str, int] = Budget(30, ttl=5, clock=lambda: now[0])
    held.put("a", 1, 1)
    now[0] = 5.1
    assert held.get("a") is None and held.usage().bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40)), max_size=60))
def test_the_budget_is_kept_whatever_comes(puts: list[tuple[str, int]]) -> None:
    held: Budget[str, int] = Budget(100)
    for name, size in puts:
        held.put(name, size, size)
        assert held.usage().bytes == sum(item[1] for item in held._items.values()) <= 100


part = st.recursive(
    st.text(max_size=4) | st.binary(max_size=4) | st.integers(-3, 300) | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(part, part)
def test_different_parts_have_different_keys(first: Any, second: Any) -> None:
    same = repr(first) == repr(second)
    assert (fingerprint("x", value=first) == fingerprint("x", value=second)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": ("ab", "c")}, {"a": ("a", "bc")}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": "x", "b": "y"}, {"a": "y", "b": "x"}),
        ({"a": ("x", ("y",))}, {"a": (("x",), "y")}),
        ({"a": b"x"}, {"a": "x"}),
    ],
)
def test_keys_that_look_alike_are_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert fingerprint("x", **one) != fingerprint("x", **other)
    assert fingerprint("x", **one) != fingerprint("y", **one)


def test_many_who_ask_at_once_cause_one_encode() -> None:
    cache, encoded, gate = EmbeddingCache(1000), [], threading.Barrier(8)

    class Embedding:
        nbytes = 10

    def ask(keys: list[bytes]) -> list[Any]:
        def encode(positions: list[int]) -> list[Embedding]:
            encoded.extend(keys[at] for at in positions)
            time.sleep(0.02)
            return [Embedding() for _ in positions]

        gate.wait()
        return cache.fetch("none", "1", keys, encode)

    with ThreadPoolExecutor(8) as crowd:
        orders = [[b"a", b"b"], [b"b", b"a"], [b"c", b"a"], [b"b", b"c"]] * 2
        found = list(crowd.map(ask, orders))
    assert sorted(encoded) == [b"a", b"b", b"c"]
    by_key = {key: one for keys, ones in zip(orders, found, strict=True) for key, one in zip(keys, ones, strict=True)}
    assert all(
        by_key[k] is one for keys, ones in zip(orders, found, strict=True) for k, one in zip(keys, ones, strict=True)
    )


def test_an_encode_that_fails_does_not_hold_up_the_next() -> None:
    cache = EmbeddingCache(1000)

    def broken(_: list[int]) -> list[Any]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        cache.fetch("none", "1", [b"a"], broken)
    assert cache.fetch("none", "1", [b"a"], lambda positions: ["fine"]) == ["fine"]


def test_without_any_budget_everything_still_works() -> None:
    cache = EmbeddingCache(0)
    assert [cache.fetch("none", "1", [b"a", b"b"], lambda at: ["x"] * len(at)) for _ in range(2)] == [["x", "x"]] * 2


def test_embeddings_that_grow_when_they_are_used_are_counted_again() -> None:
    class Growing:
        nbytes = 10

    cache = EmbeddingCache(100)
    for number in range(6):
        [one] = cache.fetch("none", "1", [bytes([number])], lambda at: [Growing() for _ in at])
        one.nbytes = 40  # finer levels, made when it was first looked at
    assert cache.held.usage().bytes <= 100 and len(cache.held) <= 3
