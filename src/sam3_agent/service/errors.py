"""Errors as the API sends them: `{"error": {"code", "message", "field", "request_id"}}`, whatever went wrong.

The code is for programs, the message for people: one line that says what to do. OpenAI's clients read it as it is.
"""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from sam3.errors import BadInput, Sam3AgentError, Unavailable
from sam3.files import disk_trouble

log = structlog.get_logger(__name__)
STATUS_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


class Refused(Sam3AgentError):
    """A request that is turned away before or while it is answered.

    Args:
        status: of HTTP. code: for programs. retry_after: seconds after which it may work.
    """

    def __init__(
        self, status: int, code: str, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.status, self.code, self.retry_after = status, code, retry_after


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    field: str | None = None
    request_id: str | None = None


class ErrorReply(BaseModel):
    """The shape of every error."""

    error: ErrorBody


# for the OpenAPI document of every route
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": words}
    for status, words in {
        400: "The request cannot be used; the message says what to change.",
        401: "No API key, or an unknown one.",
        404: "There is no such thing, or it belongs to somebody else.",
        413: "The request is too large.",
        422: "A field is missing or has another type.",
        429: "Too many requests; see Retry-After.",
        503: "Busy, starting or shutting down; see Retry-After.",
    }.items()
}


def status_of(error: Sam3AgentError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, Unavailable):  # 429 where an engine's server is full, 503 where it is away
        return int(getattr(error, "status", 503))
    if isinstance(error, BadInput):
        return 404 if error.field == "session" else 400
    return 500


def no_room(error: BaseException | None) -> Refused | None:
    """The refusal when our own disk is behind an error: where it is and how it is called is nobody's business."""
    if error is None or disk_trouble(error) is None:
        return None
    log.error("disk", problem=str(error))
    return Refused(503, "storage", "There is no room here to keep what was sent. Try again later.", retry_after=30)


def body_of(error: Sam3AgentError, request_id: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    said = str(error).encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
    field = error.field.encode("utf-8", "replace").decode() if error.field else None
    body = ErrorBody(code=error.code, message=said, field=field, request_id=request_id)
    return {"error": body.model_dump()}


def response_of(error: Sam3AgentError, request_id: str | None = None) -> JSONResponse:
    """The response of an error, with Retry-After where waiting helps."""
    status = status_of(error)
    wait = getattr(error, "retry_after", None)
    if wait is None and status == 503:
        wait = 5.0
    headers = {"Retry-After": str(max(1, math.ceil(wait)))} if wait is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body_of(error, request_id), status, headers)


def install(app: FastAPI) -> None:
    """Every error of the app in the one shape."""

    @app.exception_handler(Sam3AgentError)
    async def ours(request: Request, error: Sam3AgentError) -> JSONResponse:
        return response_of(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def of_the_form(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        said = Refused(422, "invalid_request", f"{where or 'body'}: {first['msg']}", field=where or None)
        return response_of(said, request.state.request_id)

    @app.exception_handler(OSError)
    async def of_the_disk(request: Request, error: OSError) -> JSONResponse:
        refused = no_room(error)
        if refused is None:
            raise error
        return response_of(refused, request.state.request_id)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        if refused := no_room(error.__cause__):  # FastAPI calls it an error in the body
            return response_of(refused, request.state.request_id)
        code = STATUS_CODES.get(error.status_code, "http_error")
        said = Refused(error.status_code, code, f"{request.method} {request.url.path[:200]}: {error.detail}")
        response = response_of(said, request.state.request_id)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def of_ours(request: Request, error: Exception) -> JSONResponse:
        return internal(request.state.request_id)


def internal(request_id: str) -> JSONResponse:
    """A bug: no detail leaves the house, the request id finds it in the log."""
    said = Refused(500, "internal", f"Something went wrong here. Say this when you report it: {request_id}")
    return response_of(said, request_id)
