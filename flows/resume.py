"""Runs whose process has died are put back into the queue, under the same id; so a kill costs time and nothing else.

    python -m flows.resume             # once; `python -m flows.worker` does it all the time

A run holds a lock of the kernel for as long as its process lives (`flows.steps.alive`). A run that the server believes to
be running, or that crashed, and whose lock nobody holds, is scheduled again; what it has done is in its journal, so it
goes on from there. A run that was being cancelled when its process died is cancelled. A run that waited for a person, in
vain and for as long as it was to, is failed by the server; it is scheduled again to hear that the answer is no.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.journal import LOCKS, is_alive
from flows.steps import RUN

TAG = "sam3-agent"
MOST = 10  # times that a run is started again
PATIENCE = {  # a run that is just being started, or stopped, has no lock (yet): seconds in a state before it counts
    "PENDING": 90,
    "RUNNING": 8,
    "CRASHED": 2,
    "CANCELLING": 30,
    "FAILED": 1,
}
UNANSWERED = "The flow was paused and never resumed."  # what the server says of a question whose time is up
OLD = timedelta(days=7)


async def resume(locks: Path = LOCKS) -> list[str]:
    """Look once; says what was done with which run."""
    from prefect import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Scheduled

    kinds = [StateType[name] for name in PATIENCE]
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[TAG]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=kinds))
    )
    done = []
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=wanted, limit=200):
            if (
                run.state is None
                or run.deployment_id is None
                or run.parent_task_run_id is not None
                or not _lost(run, locks)
            ):
                continue
            if run.state.type == StateType.CANCELLING:
                await client.set_flow_run_state(run.id, Cancelled(message="its process was gone"), force=True)
                done.append(f"{run.name}: cancelled")
            elif (run.run_count or 0) < MOST:
                why = "nobody answered" if run.state.type == StateType.FAILED else "its process was gone"
                state: Any = Scheduled(message=f"{why}: it goes on from its journal")
                await client.set_flow_run_state(run.id, state, force=True)
                done.append(f"{run.name}: goes on")
    return done


def _lost(run: Any, locks: Path) -> bool:
    """Whether nobody is at a run any more."""
    if run.state.type.value == "FAILED" and run.state.message != UNANSWERED:
        return False
    now, since = datetime.now(UTC), run.state.timestamp
    if now - since > OLD:
        return False
    return now - since > timedelta(seconds=PATIENCE[run.state.type.value]) and not is_alive(f"{RUN}{run.id}", locks)


def main() -> None:
    """Look once."""
    for line in asyncio.run(resume()):
        print(line)


if __name__ == "__main__":
    main()
