"""`/healthz` (alive), `/readyz` (can answer), `/metrics` (Prometheus), `/v1/models` (whose weights)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sam3_agent.execution.seeing import name_of, version_of
from sam3_agent.service.errors import RESPONSES, Refused
from sam3_agent.service.state import Documented, TheService

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: RESPONSES[503]})
async def readyz(service: TheService) -> dict[str, str]:
    """The model is loaded and the database answers."""
    problem = service.problem or ("shutting down" if service.workers.draining else "")
    if not problem and not service.store.ready():
        problem = "the database of the conversations does not answer"
    if problem:
        raise Refused(503, "not_ready", problem, retry_after=5)
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(service: TheService) -> Response:
    """Numbers for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models", dependencies=[Documented], responses=RESPONSES)
async def models(service: TheService) -> dict[str, Any]:
    """The model that answers."""
    about: dict[str, Any] = {"threshold": service.agent.threshold, "floor": service.agent.floor}
    if service.agent.loaded:
        about |= {"engine": name_of(service.agent.engine), "version": version_of(service.agent.engine)}
    rows = [
        {"id": name, "object": "model", "created": int(service.started), "owned_by": "sam3-agent", "sam3": about}
        for name in dict.fromkeys(("sam3-agent", service.settings.checkpoint))
    ]
    return {"object": "list", "data": rows}
