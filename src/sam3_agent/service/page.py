"""The page: static files, and the example pictures with their questions. Hand-made, because Gradio cannot single out
an object under the pointer, take a box for a missed one, or draw outlines that stay crisp at every zoom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse

from sam3.errors import BadConfig
from sam3_agent.service.errors import Refused
from sam3_agent.service.state import TheService

STATIC = Path(__file__).parent / "static"
router = APIRouter(include_in_schema=False)
CONCEPT = "chicken"  # where there is no params.yaml to say what the examples are about


def install(app: FastAPI) -> None:
    """The page at `/`."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


@router.get("/")
async def page() -> FileResponse:
    """The page itself."""
    return FileResponse(STATIC / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"})


@router.get("/favicon.ico")
async def icon() -> FileResponse:
    """The icon."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


@router.get("/examples")
async def examples(service: TheService) -> list[dict[str, Any]]:
    """Pictures to try, with a question each; empty where the folder is not there."""
    return [{"picture": question.picture.name, "ask": question.text} for question in _questions(service)]


@router.get("/examples/{name}")
async def example(name: str, service: TheService) -> FileResponse:
    """One of the pictures; only names that are listed can be had."""
    for question in _questions(service):
        if question.picture.name == name:
            return FileResponse(question.picture)
    raise Refused(404, "not_found", "There is no such example.")


def _questions(service: TheService) -> list[Any]:
    from sam3_agent.demo import read_questions
    from sam3_agent.params import load_params

    try:
        concept = load_params().concept
    except BadConfig:
        concept = CONCEPT
    try:
        return read_questions(service.settings.examples, concept)
    except BadConfig:
        return []
