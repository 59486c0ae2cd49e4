"""Every request passes here first: id, host, key, rate, size; and on its way out it is counted and logged.

Plain ASGI, so that a streamed answer counts as under way until its last byte.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sam3.errors import Sam3AgentError
from sam3_agent.service.errors import Refused, internal, response_of
from sam3_agent.service.keys import Keys, secret_of
from sam3_agent.service.limits import Limits
from sam3_agent.service.metrics import Metrics

SANE_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
GUARDED = ("/v1/", "/mcp")
UPLOADS = re.compile(r"/v1/track|/v1/sessions/[\w-]{1,64}/media")  # files may come here, in multipart bodies
FORM = 1_000_000  # bytes of a multipart body beside its file
log = structlog.get_logger("sam3_agent.request")
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'self'; form-action 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """ASGI middleware.

    Args:
        keys: who may ask. limits: how much. metrics: where it is counted.
        hosts: names that a request without keys may be addressed to.
        max_body: bytes of a request. max_upload: bytes of a file in a multipart body, where files are taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        limits: Limits,
        metrics: Metrics,
        hosts: list[str],
        max_body: int,
        max_upload: int = 0,
    ) -> None:
        self.app, self.keys, self.limits, self.metrics = app, keys, limits, metrics
        self.hosts, self.max_body, self.max_upload = hosts, max_body, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, headers)
        else:
            await self._request(scope, receive, send, headers, request_id)

    async def _socket(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        """A WebSocket says who it is in its header, or in its first message; `stream` looks after that."""
        try:
            self._host(headers)
            origin = headers.get("origin")
            if origin and origin.partition("://")[2] != headers.get("host"):
                raise Refused(403, "wrong_origin", "A page from elsewhere may not connect.")
            secret = secret_of(headers)
            scope["state"]["owner"] = self.keys.owner(secret) if secret or not self.keys.digests else None
        except Refused:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        self.metrics.running.inc()
        try:
            with self.limits.connected():
                await self.app(scope, receive, send)
        except Refused:
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": "too many connections, try again later"})
        finally:
            self.metrics.running.dec()

    async def _request(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str], request_id: str
    ) -> None:
        start, status, sent = time.perf_counter(), 500, False
        guarded = scope["path"].startswith(GUARDED)

        async def watched(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], True
                extra = {**HEADERS, "x-request-id": request_id}
                kind = dict(message["headers"]).get(b"content-type", b"")
                if kind.startswith(b"text/html") and scope["path"] not in ("/docs", "/redoc"):
                    extra["content-security-policy"] = POLICY
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        self.metrics.running.inc()
        owner = "-"
        try:
            if guarded:
                self._host(headers)
                owner = scope["state"]["owner"] = self.keys.owner(secret_of(headers))
                self.limits.spend(owner)
                with self.limits.running(owner):
                    await self.app(scope, self._measured(scope["path"], headers, receive), watched)
            else:
                await self.app(scope, self._measured(scope["path"], headers, receive), watched)
        except Sam3AgentError as error:
            if sent:
                raise
            await response_of(error, request_id)(scope, receive, watched)
        except Exception:
            log.exception("failed", path=scope["path"])
            if sent:
                raise
            await internal(request_id)(scope, receive, watched)
        finally:
            self._count(scope, status, time.perf_counter() - start, owner)

    def _host(self, headers: dict[str, str]) -> None:
        """Without keys a request must be addressed to this machine, not to a name that was made to point at it."""
        if self.keys.digests or "*" in self.hosts:
            return
        host = re.sub(r":\d+$", "", headers.get("host", ""))
        if host not in self.hosts:
            raise Refused(403, "wrong_host", f"host {host[:80]!r} is not served here. Set SAM3_SERVICE_HOSTS or keys.")

    def _measured(self, path: str, headers: dict[str, str], receive: Receive) -> Receive:
        """The body, as long as it keeps to the limit."""
        most, hint = self.max_body, "Scale pictures down."
        if headers.get("content-type", "").startswith("multipart/form-data") and UPLOADS.fullmatch(path):
            most, hint = max(self.max_body, self.max_upload + FORM), "Cut the clip."
        said = f"the request is over {most / 1e6:g} MB. {hint}"
        try:
            claimed = int(headers.get("content-length", "0"))
        except ValueError:
            raise Refused(400, "bad_input", "content-length: expected a number.") from None
        if claimed > most:
            raise Refused(413, "too_large", said)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, said)  # the one kind that FastAPI lets pass while it reads a body
            return message

        return counted

    def _count(self, scope: Scope, status: int, seconds: float, owner: str) -> None:
        route: Any = scope.get("route")
        name = getattr(route, "path", None) or ("/mcp" if scope["path"].startswith("/mcp") else "other")
        self.metrics.running.dec()
        self.metrics.requests.labels(name, scope["method"], str(status)).inc()
        self.metrics.seconds.labels(name).observe(seconds)
        if name not in ("/healthz", "/readyz", "/metrics"):
            log.info(
                "request", method=scope["method"], path=scope["path"][:200], status=status, owner=owner,
                ms=round(1000 * seconds, 1),
            )  # fmt: skip
