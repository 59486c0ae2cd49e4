"""`sam3-agent deploy` and `rollback`: another version behind the same names, and no request lost.

    1. copy the version in, checked; load it under other names (`sam3_candidate`); smoke pictures and parity gate
    2. `sam3` goes over to it while it still asks the candidate's parts; the old version finishes its requests
    3. the parts follow, `sam3` goes over to them, the candidate goes

Nothing before step 2 touches the traffic, and no step leaves a model that asks parts which are not there. What fails
or is interrupted is put right by the next call.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sam3.errors import BadCheckpoint, BadInput
from sam3.files import read_json
from sam3_agent.serving import gate
from sam3_agent.serving.control import Control
from sam3_agent.serving.live import CANDIDATE, LIVE, Deployment, Live
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
) -> None:
    """Prove a packaged version and let it take the traffic; the one before stays for a rollback."""
    start = time.monotonic()
    found = versions_in(packages)
    number = version if version is not None else max(found, default=0)
    if number not in found:
        raise BadInput(f"{packages}: no version {number or ''}; there are {found}. Make one: sam3-agent package")
    state = put_live(Control(address), Live(live), packages / str(number), pictures)
    print(f"version {state.current} serves after {time.monotonic() - start:.1f} s; before: {state.previous}")


def rollback(live: LiveFolder = LIVE, address: Address = None) -> None:
    """Back to the version before."""
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
        before = live.deployment()
        settle(control, live, before)
        known = all((live.folder / model / package.name).is_dir() for model in MODELS)
        try:
            version = live.install(package)
            if version == before.current and control.serving(WHOLE) == [version]:
                return before
            backend = str(read_json(package / "manifest.json")["backend"])
            prove(control, live, version, backend, pictures)
            switch(control, live, version, before)
        except BaseException:
            settle(control, live, before)
            if not known:
                live.remove(int(package.name))
            raise
        after = Deployment(version, before.current if before.current != version else before.previous)
        live.record(after)
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
        before = live.deployment()
        if before.previous is None:
            raise BadInput(f"{live.folder}: no version before {before.current}. Deploy one: sam3-agent deploy VERSION")
        settle(control, live, before)
        live.check(before.previous)
        try:
            for name in live.stage(before.previous).values():
                control.load(name)
            switch(control, live, before.previous, before)
        except BaseException:
            settle(control, live, before)
            raise
        after = Deployment(before.previous)
        live.record(after)
        return after


def prove(control: Control, live: Live, version: int, backend: str, pictures: Path) -> None:
    """Load a version under other names and hold it against its graphs."""
    names = live.stage(version)
    for name in names.values():
        control.load(name)
    gate.check_version(control.address, names[WHOLE], live, version, backend, gate.smoke_pictures(pictures))


def switch(control: Control, live: Live, version: int, before: Deployment) -> None:
    """Move the traffic to a version whose candidate is loaded."""
    candidates = {graph: part + CANDIDATE for graph, part in PARTS.items()}
    for parts in (candidates, PARTS):
        if parts is PARTS:
            for part in PARTS.values():
                live.point(part, version)
                control.load(part)
        for model in (WHOLE, VIDEO):
            live.point(model, version, parts)
            control.load(model)
            if before.current not in (None, version):
                control.wait_only(model, version)
    forget_candidates(control, live)


def settle(control: Control, live: Live, state: Deployment) -> None:
    """Make the server and the folder agree with `deployment.json`, whatever a failed or killed deployment left."""
    current = state.current
    if current is not None:
        moved = any(live.asks_candidate(model) for model in (WHOLE, VIDEO))
        wrong = [model for model in MODELS if moved or control.serving(model) != [current]]
        for model in MODELS:
            live.point(model, current)
            if model in wrong:
                control.load(model)
    forget_candidates(control, live)


def forget_candidates(control: Control, live: Live) -> None:
    """Unload whatever is loaded under candidate names, those that ask before those that are asked."""
    for model in reversed(MODELS):
        try:
            if control.serving(model + CANDIDATE):
                control.unload(model + CANDIDATE)
        except BadCheckpoint:
            continue
    live.sweep()
