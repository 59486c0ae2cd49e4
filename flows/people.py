"""Waiting for a person: a question in the Prefect UI, with a form, a timeout, and nobody's answer meaning no.

A run of a deployment is suspended: its process ends and the server starts it again when somebody answers, so neither a
killed worker nor a killed server loses the question; when nobody does in time, `flows.resume` starts it again. A run
without a deployment pauses where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_run_logger, pause_flow_run, suspend_flow_run
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput, read_flow_run_input

POLL = 5  # seconds between looks while a run waits in place


class Approval(RunInput):
    """What the form asks."""

    approve: bool
    comment: str = ""
    by: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of it; `given` is False when nobody answered in time."""

    approve: bool
    given: bool
    comment: str = ""
    by: str = ""


def ask(question: str, hours: float, key: str) -> Answer:
    """Ask for approval.

    Args:
        question: shown above the form, Markdown.
        key: of this question in this run: answered once, a run that is started again does not ask again.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "questions are asked within a flow"
    form = Approval.with_initial_data(description=question, approve=False)
    seconds = max(1, round(hours * 3600))
    get_run_logger().info("waiting for a person, for %s h at most: %s", f"{hours:g}", question.splitlines()[0])
    try:
        if context.flow_run.deployment_id is not None:
            said = suspend_flow_run(wait_for_input=form, timeout=seconds, key=key)
        else:
            said = pause_flow_run(wait_for_input=form, timeout=seconds, key=key, poll_interval=min(POLL, seconds))
    except FlowPauseTimeout:
        return Answer(False, False, f"nobody answered within {hours:g} h")
    if read_flow_run_input(said.metadata.key) is None:  # nobody's: the form as it was asked
        return Answer(False, False, f"nobody answered within {hours:g} h")
    return Answer(bool(said.approve), True, said.comment, said.by)
