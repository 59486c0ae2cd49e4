"""A new version with a share of the traffic, watched, and then either all of it or none.

    sam3-agent deploy --canary 0.1 --watch 600

`start` proves a package as `deploy` does and leaves it loaded as `sam3_candidate` with its share in its configuration,
which is where clients read it (`sam3.triton.canary`). `watch` compares the two by the server's own counters; `finish`
gives the new version everything, `end` takes it away. Interrupted, the same command goes on: what is being tried is
not proven twice. Nothing is lost in either case, since clients ask `sam3` when the candidate does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3.errors import BadInput, Sam3AgentError, Unavailable
from sam3.files import read_json
from sam3.triton.canary import CANDIDATE
from sam3_agent.loop_settings import CanaryLimits
from sam3_agent.serving import gate
from sam3_agent.serving.control import Control
from sam3_agent.serving.deploy import go_over, load_candidate, retreat, settle, without_canary
from sam3_agent.serving.live import Deployment, Live
from sam3_agent.serving.model_configs import WHOLE
from sam3_agent.serving.package import versions_in
from sam3_agent.serving.readings import (
    Sides,
    Verdict,
    counted,
    judge,
    metrics_url,
    read_metrics,
    slowdown,
    slower_beyond_chance,
)

Look = Callable[[], Sides]


@dataclass(frozen=True)
class Watched:
    """How a trial ended, and what serves now."""

    verdict: Verdict
    deployment: Deployment

    def __str__(self) -> str:
        now = self.deployment
        outcome = {
            "fine": f"version {now.current} serves; before: {now.previous}",
            "back": f"rolled back: version {now.current} goes on serving",
            "wait": f"version {now.canary} goes on with {now.share:.0%} of the pictures: too little traffic to decide",
        }[self.verdict.state]
        return "\n  ".join((outcome, *self.verdict.reasons))


def deploy_watched(
    control: Control,
    live: Live,
    package: Path,
    limits: CanaryLimits,
    metrics: str | None = None,
    pictures: Path = gate.PICTURES,
    told: Callable[[Verdict], None] | None = None,
) -> Watched:
    """Try a package with a share of the traffic, and deploy it or take it back.

    Args:
        metrics: URL of the server's Prometheus page. told: hears of every look.

    Raises:
        BadCheckpoint: it does not load or does not pass the parity gate. Unavailable: no server, or it was started
            anew during the trial, which ended that.
    """
    state = start(control, live, package, limits.share, pictures)
    if state.canary is None:  # it serves already, or there was nothing that it could be compared with
        return Watched(Verdict("fine", ("nothing to compare with: it serves alone.",)), state)
    url = metrics or metrics_url(control.address)
    verdict = watch(lambda: look(url, state), limits, alive=lambda: _alive(control, state), told=told)
    after = live.deployment()
    if verdict.state == "back" and after.canary is None:
        if after.refused != state.canary:
            raise Unavailable(
                f"version {state.canary}: its trial ended with the server that it ran on. Start it again."
            )
        return Watched(Verdict("back", ("somebody rolled it back.",)), after)
    if verdict.state == "fine":
        return Watched(verdict, finish(control, live))
    if verdict.state == "back":
        return Watched(verdict, end(control, live))
    return Watched(verdict, live.deployment())


def start(control: Control, live: Live, package: Path, share: float, pictures: Path = gate.PICTURES) -> Deployment:
    """Prove a package and give it a share of the traffic; doing it twice is doing it once."""
    if not 0 < share <= 1:
        raise BadInput(f"canary {share:g}: expected a share above 0, up to 1.", field="canary")
    with live.changing():
        control.check()
        before, number = live.deployment(), int(package.name)
        if before.current in (None, number):
            return before
        if (before.canary, before.share) == (number, share) and _alive(control, before):
            return before
        known = (live.folder / WHOLE / package.name).is_dir()
        settle(control, live, without_canary(live))
        try:
            version = live.install(package)
            names = load_candidate(control, live, version)
            backend = str(read_json(package / "manifest.json")["backend"])
            gate.check_version(control.address, names, live, version, backend, gate.smoke_pictures(pictures))
            live.share(share)
            control.load(names[WHOLE])  # from here on clients see the share
            after = Deployment(before.current, before.previous, version, share)
            live.record(after)
        except BaseException:
            retreat(control, live)
            if not known:
                live.remove(number)
            raise
        return after


def finish(control: Control, live: Live) -> Deployment:
    """Give the version that is tried all of the traffic."""
    with live.changing():
        before = live.deployment()
        if before.canary is None:
            return before
        try:
            # first its own name, so that nobody asks it any more: clients turn to `sam3`, which then goes over
            control.unload(WHOLE + CANDIDATE)
            after = go_over(control, live, Deployment(before.canary, before.current))
        except BaseException:
            without_canary(live)
            retreat(control, live)
            raise
        for old in versions_in(live.folder / WHOLE):
            if old not in (after.current, after.previous):
                live.remove(old)
        return after


def end(control: Control, live: Live) -> Deployment:
    """Take the version that is tried away; what served all along gets all of the traffic."""
    with live.changing():
        tried = live.deployment().canary
        state = without_canary(live)
        settle(control, live, state)
        if tried is not None and tried not in (state.current, state.previous):
            live.remove(tried)
        return state


def watch(
    look: Look,
    limits: CanaryLimits,
    *,
    alive: Callable[[], bool] = lambda: True,
    told: Callable[[Verdict], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Look every few seconds for as long as `limits.seconds`; ends at once when the new version must go back.

    A look that fails (the metrics page does not answer) is no verdict, and the last one that did not decides in the end;
    a version that is gone is one.
    """
    began, seen = clock(), list[Sides]()
    verdict = Verdict("wait", ("no look at the server's counters succeeded.",))
    while True:
        left = limits.seconds - (clock() - began)
        try:
            seen.append(look())
            verdict = _judged(seen, limits, last=left <= 0)
            if verdict.state != "back" and not alive():
                verdict = Verdict("back", ("the version that was tried is no longer served.",))
        except Sam3AgentError as error:
            verdict = _judged(seen, limits, last=True) if seen and left <= 0 else Verdict("wait", (str(error),))
        if told:
            told(verdict)
        if verdict.state == "back" or left <= 0:
            return verdict
        sleep(min(limits.every, max(0.0, limits.seconds - (clock() - began))))


def _judged(seen: Sequence[Sides], limits: CanaryLimits, last: bool) -> Verdict:
    """What the looks say so far; with too few of them to tell chance, latency is judged by the last one."""
    stable, tried = counted(seen[0], seen[-1])
    ratio = slowdown(stable, tried, limits.min_requests)
    sure = slower_beyond_chance(seen, limits, last) if ratio and ratio > limits.max_latency_ratio else False
    return judge(stable, tried, limits, sure=last if sure is None else sure)


def look(url: str, state: Deployment) -> Sides:
    """The counters of both versions now."""
    page = read_metrics(url)
    return page.of(WHOLE, state.current), page.of(WHOLE + CANDIDATE, state.canary)


def _alive(control: Control, state: Deployment) -> bool:
    return control.serving(WHOLE + CANDIDATE) == [state.canary]
