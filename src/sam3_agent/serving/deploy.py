"""`sam3-agent deploy` and `rollback`: another version behind the same names, and no request lost.

    1. copy the version in, checked; load it under other names (`sam3_candidate`); smoke pictures and parity gate
    2. `sam3` goes over to it while it still asks the candidate's parts; the old version finishes its requests
    3. the parts follow, `sam3` goes over to them, the candidate goes

Nothing before step 2 touches the traffic, and no step leaves a model that asks parts which are not there. What is
interrupted is put right by the next call: back before the end of step 2, forward after it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadCheckpoint, BadInput
from sam3.files import read_json
from sam3.triton.canary import CANDIDATE
from sam3_agent.loop_settings import load_loop
from sam3_agent.serving import gate
from sam3_agent.serving.control import Control
from sam3_agent.serving.live import LIVE, Deployment, Live
from sam3_agent.serving.model_configs import MODELS, PARTS, VIDEO, WHOLE
from sam3_agent.serving.package import REPOSITORY, versions_in

LiveFolder = Annotated[Path, typer.Option(help="The repository the server reads.")]
Address = Annotated[str | None, typer.Option(help="gRPC host:port; SAM3_TRITON_URL or this machine when left out.")]


def deploy(
    version: Annotated[int | None, typer.Argument(help="A packaged version; the newest when left out.")] = None,
    live: LiveFolder = LIVE,
    packages: Annotated[Path, typer.Option(help="Where packaged versions are.")] = REPOSITORY,
    pictures: Annotated[Path, typer.Option(help="Folder of smoke pictures.")] = gate.PICTURES,
    address: Address = None,
    canary: Annotated[
        float,
        typer.Option(min=0, max=1, help="Try it with this share of the pictures first; limits: configs/loop.yaml."),
    ] = 0.0,
    watch: Annotated[float | None, typer.Option(min=0, help="Seconds of that trial; configs/loop.yaml's.")] = None,
    expected_shift: Annotated[
        float, typer.Option(min=0, max=1, help="Shift of presence that promotion measured (reports/promotion.json).")
    ] = 0.0,
    metrics: Annotated[str | None, typer.Option(help="URL of Triton's metrics; port 8002 of the server.")] = None,
) -> None:
    """Prove a packaged version and let it take the traffic; the one before stays for a rollback."""
    from sam3_agent.serving.canary import deploy_watched

    start = time.monotonic()
    found = versions_in(packages)
    number = version if version is not None else max(found, default=0)
    if number not in found:
        raise BadInput(f"{packages}: no version {number or ''}; there are {found}. Make one: sam3-agent package")
    if canary > 0:
        limits = load_loop().canary.chosen(canary, watch, expected_shift)
        print(deploy_watched(Control(address), Live(live), packages / str(number), limits, metrics, pictures))
        return
    state = put_live(Control(address), Live(live), packages / str(number), pictures)
    print(f"version {state.current} serves after {time.monotonic() - start:.1f} s; before: {state.previous}")


def rollback(live: LiveFolder = LIVE, address: Address = None) -> None:
    """Back to the version before; of one that is only tried, away from it."""
    start = time.monotonic()
    state = put_back(Control(address), Live(live))
    print(f"version {state.current} serves again after {time.monotonic() - start:.1f} s")


def put_live(control: Control, live: Live, package: Path, pictures: Path = gate.PICTURES) -> Deployment:
    """Deploy a package; returns what serves afterwards.

    Raises:
        BadCheckpoint: it is damaged, does not load or does not pass the gate; the traffic stays where it was.
        Unavailable: no server, or another deployment is under way.
    """
    with live.changing():
        control.check()
        before = without_canary(live)
        settle(control, live, before)
        known = all((live.folder / model / package.name).is_dir() for model in MODELS)
        try:
            version = live.install(package)
            if version == before.current:
                return before
            names = load_candidate(control, live, version)
            backend = str(read_json(package / "manifest.json")["backend"])
            gate.check_version(control.address, names, live, version, backend, gate.smoke_pictures(pictures))
            after = go_over(control, live, Deployment(version, before.current))
        except BaseException:
            retreat(control, live)
            if not known and live.deployment().current != int(package.name):
                live.remove(int(package.name))
            raise
        for old in versions_in(live.folder / WHOLE):
            if old not in (after.current, after.previous):
                live.remove(old)
        return after


def put_back(control: Control, live: Live) -> Deployment:
    """Return to the last good version; returns what serves afterwards.

    Raises:
        BadInput: there is none. BadCheckpoint: it is damaged.
    """
    with live.changing():
        control.check()
        tried = live.deployment().canary
        before = without_canary(live)
        if tried is not None:  # a rollback of what has not replaced anything yet
            before = Deployment(before.current, before.previous, refused=tried)
            live.record(before)
            settle(control, live, before)
            return before
        if before.previous is None:
            raise BadInput(f"{live.folder}: no version before {before.current}. Deploy one: sam3-agent deploy VERSION")
        settle(control, live, before)
        live.check(before.previous)
        try:
            load_candidate(control, live, before.previous)
            return go_over(control, live, Deployment(before.previous))
        except BaseException:
            retreat(control, live)
            raise


def without_canary(live: Live) -> Deployment:
    """End the trial of a version, if there is one: what serves alone from now on."""
    state = live.deployment()
    if state.canary is not None:
        state = Deployment(state.current, state.previous)
        live.record(state)
    return state


def load_candidate(control: Control, live: Live, version: int) -> dict[str, str]:
    """Load a version under other names; returns model -> that name."""
    names = live.stage(version)
    for name in names.values():
        control.load(name)
    return names


def go_over(control: Control, live: Live, after: Deployment) -> Deployment:
    """Move the traffic to a version whose candidate is loaded.

    Once `sam3` asks the candidate's parts, the deployment counts: from there on only forward leads through states in
    which every model's parts are there.
    """
    assert after.current is not None
    candidates = {graph: part + CANDIDATE for graph, part in PARTS.items()}
    for model in (WHOLE, VIDEO):
        live.point(model, after.current, candidates)
        control.load(model)
        control.wait_only(model, after.current)
    live.record(after)
    settle(control, live, after)
    return after


def settle(control: Control, live: Live, state: Deployment) -> None:
    """Make the server and the folder agree with `deployment.json`, whatever a deployment has left half done.

    Parts first: a `sam3` of another version asks the candidate's parts, or its own are those that stay.
    """
    current = state.current
    if current is not None:
        moved = any(control.asks(model, CANDIDATE) for model in (WHOLE, VIDEO))
        for model in MODELS:
            live.point(model, current)
            if moved or control.serving(model) != [current]:
                control.load(model)
                control.wait_only(model, current)
        if moved:  # what asked the candidate's parts has requests to finish
            control.wait_quiet([part + CANDIDATE for part in PARTS.values() if control.serving(part + CANDIDATE)])
    forget_candidates(control, live)


def retreat(control: Control, live: Live) -> None:
    """After a failure: to whatever `deployment.json` says serves."""
    settle(control, live, live.deployment())


def forget_candidates(control: Control, live: Live) -> None:
    """Unload whatever is loaded under candidate names, those that ask before those that are asked."""
    for model in reversed(MODELS):
        try:
            if control.serving(model + CANDIDATE):
                control.unload(model + CANDIDATE)
        except BadCheckpoint:
            continue
    live.sweep()
