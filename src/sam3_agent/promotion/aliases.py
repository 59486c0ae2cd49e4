"""The registry's aliases: `champion` serves, `candidate` wants to, `previous` is where a rollback leads.

Each step is safe to repeat, and the order is such that a kill in between leaves a champion: `previous` first, then
`champion`, then `candidate` goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sam3.errors import BadInput
from sam3_agent.tracking.mlflow_store import Store

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
SHIFT = "presence_shift"  # tag: by how much the version's presence differed from its predecessor's when it was promoted


@dataclass(frozen=True)
class Standing:
    """Version numbers by alias; None where there is none."""

    champion: int | None = None
    candidate: int | None = None
    previous: int | None = None


def standing(store: Store, name: str) -> Standing:
    """Who is what in the registry.

    Raises:
        Unavailable: MLflow does not answer.
    """
    return Standing(*(_version(store, name, alias) for alias in (CHAMPION, CANDIDATE, PREVIOUS)))


def crown(store: Store, name: str, version: int, tags: dict[str, str] | None = None) -> Standing:
    """Make a version the champion; the one before becomes `previous`. Doing it twice is doing it once.

    Raises:
        BadInput: the registry has no such version.
    """
    now = standing(store, name)
    with store._answering():
        client = store.client
        if not any(int(row.version) == version for row in client.search_model_versions(f"name = '{name}'")):
            raise BadInput(f"{name}: no version {version} in the registry. Register it: sam3-agent register")
        for key, value in (tags or {}).items():
            client.set_model_version_tag(name, str(version), key, value)
        if now.champion != version:
            if now.champion is not None:
                client.set_registered_model_alias(name, PREVIOUS, str(now.champion))
            client.set_registered_model_alias(name, CHAMPION, str(version))
        if now.candidate == version:
            client.delete_registered_model_alias(name, CANDIDATE)
    return standing(store, name)


def dethrone(store: Store, name: str, version: int, why: str) -> Standing:
    """Undo `crown` for a version that was rolled back: `previous` is champion again, or nobody where there was none.

    Without a champion, the starter weights are what must be beaten.
    """
    now = standing(store, name)
    if now.champion != version:
        return now
    with store._answering():
        store.client.set_model_version_tag(name, str(version), "rolled_back", why[:500])
        if now.previous in (None, version):  # the latter: killed while it was crowned
            store.client.delete_registered_model_alias(name, CHAMPION)
        else:
            store.client.set_registered_model_alias(name, CHAMPION, str(now.previous))
            store.client.delete_registered_model_alias(name, PREVIOUS)
    return standing(store, name)


def expected_shift(store: Store, name: str, version: int) -> float:
    """How far a version's presence lay from its predecessor's when it was promoted; 0 for one that does not say.

    A better model finds more, so its presence differs: a canary may object to what goes beyond this (`Trial`).

    Raises:
        BadInput: the tag is no such number.
    """
    with store._answering():
        said = store.client.get_model_version(name, str(version)).tags.get(SHIFT, "0")
    try:
        shift = float(said)
    except ValueError:
        shift = math.nan
    if not 0 <= shift <= 1:
        raise BadInput(
            f"{name}, version {version}: the tag {SHIFT} is {said!r}; expected a number from 0 to 1. Mend or delete it in MLflow.",
            field=SHIFT,
        )
    return shift


def _version(store: Store, name: str, alias: str) -> int | None:
    from mlflow.exceptions import MlflowException

    with store._answering():
        try:
            found: Any = store.client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
    return int(found.version)
