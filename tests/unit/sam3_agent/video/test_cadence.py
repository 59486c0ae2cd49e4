"""When the detector looks."""

from __future__ import annotations

import pytest

from sam3.errors import BadInput
from sam3_agent.video.cadence import LONGEST, Cadence
from sam3_agent.video.track import parse_every


def looks(
    cadence: Cadence, times: list[float], changes: dict[int, float] | None = None, cost: tuple = (0, 0), first: int = 0
) -> list[int]:
    out = []
    for number, time in enumerate(times, start=first):
        look = cadence.due(number, time, (changes or {}).get(number, 0.01))
        if look:
            cadence.looked(number, time)
            out.append(number)
        cadence.spent(cost[0] if look else cost[1], looked=look)
    return out


def test_every_fifth_frame() -> None:
    assert looks(Cadence(every=5), [t / 25 for t in range(16)]) == [0, 5, 10, 15]


def test_once_a_second_whatever_the_rate() -> None:
    assert looks(Cadence(seconds=1), [t / 10 for t in range(25)]) == [0, 10, 20]
    assert looks(Cadence(seconds=1), [t * 0.7 for t in range(5)]) == [0, 2, 4]


def test_a_cut_is_looked_at_at_once() -> None:
    assert looks(Cadence(every=10), [t / 25 for t in range(12)], {4: 0.4}) == [0, 4]
    assert looks(Cadence(every=10, on_change=False), [t / 25 for t in range(12)], {4: 0.4}) == [0, 10]


def test_time_that_runs_backwards_begins_anew() -> None:
    assert looks(Cadence(seconds=1), [0, 0.5, 0.1, 0.2]) == [0, 2]


@pytest.mark.parametrize(("look", "carry", "budget", "least"), [
    (210, 10, 50, 5),  # (210 + 4 * 10) / 5 = 50
    (100, 10, 200, 1),
    (1000, 10, 20, 99),
    (1000, 30, 20, LONGEST),  # even carrying is over the budget
])  # fmt: skip
def test_n_grows_until_the_mean_holds_the_budget(look: float, carry: float, budget: float, least: int) -> None:
    cadence = Cadence(every=1, budget_ms=budget)
    cadence.spent(look, looked=True)
    cadence.spent(carry, looked=False)
    assert cadence.least == least


def test_n_shrinks_again_when_looks_become_cheap() -> None:
    cadence = Cadence(every=1, budget_ms=50)
    looks(cadence, [t / 25 for t in range(200)], cost=(400, 10))
    assert cadence.least > 8
    looks(cadence, [8 + t / 25 for t in range(200)], cost=(40, 10), first=200)
    assert cadence.least < 3


@pytest.mark.parametrize(("text", "every", "seconds"), [("5", 5, 1.0), ("1s", None, 1.0), ("250ms", None, 0.25)])
def test_every_in_words(text: str, every: int | None, seconds: float) -> None:
    cadence = parse_every(text)
    assert (cadence.every, cadence.seconds) == (every, seconds)


@pytest.mark.parametrize("text", ["0", "-3", "often", "nans", "-1s", "", "1.5"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="every"):
        parse_every(text)


def test_no_budget_of_nothing() -> None:
    with pytest.raises(BadInput, match="budget"):
        Cadence(budget_ms=0)
