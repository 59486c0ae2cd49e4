"""The stream's web side: a page, the picture as MJPEG, results over WebSocket, events, health, and Prometheus.

`/` page · `/stream.mjpg` picture · `/ws` results as JSON, newest only (`/ws?masks=1` with RLE) · `/events` · `/healthz` · `/metrics`.
Browsers may connect only from the page itself: a WebSocket whose Origin is another host is refused. With `SAM3_STREAM_KEY` set every
address but `/healthz` wants it, as `?key=` or `Authorization: Bearer`; without it the page is for this machine alone.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from sam3_agent.video.results import as_row

if TYPE_CHECKING:
    from sam3_agent.video.live.stream import Stream

KEY_VARIABLE = "SAM3_STREAM_KEY"
MOST_VIEWERS = 64  # of pictures and results, at the same time
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>sam3-agent stream</title>
<style>body{margin:0;font:15px system-ui;background:#14181d;color:#e8ecf0}main{max-width:1100px;margin:auto;padding:16px}
img{width:100%;border-radius:6px;background:#000;display:block}#now{margin:12px 0;font-variant-numeric:tabular-nums}
ol{padding:0;list-style:none;max-height:40vh;overflow:auto}li{padding:4px 0;border-top:1px solid #2a3138}</style>
<main><img id="live" alt="the live picture with what was found"><p id="now" role="status">waiting for the camera</p>
<ol id="log" aria-label="events"></ol></main><script>
const q=location.search;document.getElementById("live").src="stream.mjpg"+q;const now=document.getElementById("now"),log=document.getElementById("log");
function open_(){const s=new WebSocket(location.origin.replace(/^http/,"ws")+location.pathname.replace(/[^/]*$/,"ws")+q);
s.onmessage=m=>{const r=JSON.parse(m.data);
now.textContent=Object.entries(r.counts).map(([k,v])=>v+" "+k).join(", ")+"  ·  "+r.fps.toFixed(1)+" frames/s  ·  "+Math.round(r.age*1000)+" ms old";
for(const e of r.events){const li=document.createElement("li");li.textContent=new Date(e.at*1000).toLocaleTimeString()+"  "+
(e.event==="count changed"?e.label+": "+e.before+" to "+e.count:e.label+" "+e.id+" "+e.event);log.prepend(li);
while(log.children.length>200)log.lastChild.remove()}};
s.onclose=()=>{now.textContent="connection lost, trying again";setTimeout(open_,1000)}}open_()</script>"""


class Locked:
    """Lets nobody in without the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection."""
        if scope["type"] in ("http", "websocket") and scope["path"] != "/healthz":
            asked = HTTPConnection(scope)
            given = asked.query_params.get("key") or asked.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.key.encode()):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                    return
                await Response("the key is missing or wrong", status_code=401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Seats:
    """Viewers stay for hours: there are only so many seats."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.taken = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] not in ("/ws", "/stream.mjpg"):
            await self.app(scope, receive, send)
            return
        if self.taken >= MOST_VIEWERS:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013})
                return
            busy = Response("too many viewers", status_code=503, headers={"Retry-After": "10"})
            await busy(scope, receive, send)
            return
        self.taken += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.taken -= 1


def build(stream: Stream) -> FastAPI:
    """The app of one stream."""
    board = stream.board

    @asynccontextmanager
    async def attached(_: FastAPI) -> AsyncIterator[None]:
        board.attach(asyncio.get_running_loop())
        yield
        board.close()

    app = FastAPI(title="sam3-agent stream", lifespan=attached, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Seats)
    key = os.environ.get(KEY_VARIABLE, "")
    if key:
        app.add_middleware(Locked, key=key)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        return PAGE

    @app.get("/stream.mjpg")
    async def picture() -> StreamingResponse:
        return StreamingResponse(_mjpeg(stream), media_type="multipart/x-mixed-replace; boundary=frame")

    @app.get("/events")
    async def events() -> JSONResponse:
        return JSONResponse(list(stream.events.recent))

    @app.get("/healthz")
    async def health() -> JSONResponse:
        return JSONResponse(stream.health(), status_code=200 if stream.capture.state == "connected" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(stream.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.websocket("/ws")
    async def results(socket: WebSocket, masks: bool = False) -> None:
        if not _same_host(socket):
            await socket.close(1008)
            return
        await socket.accept()
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                await _left(socket)
                group.cancel_scope.cancel()

            group.start_soon(leave)
            with suppress(WebSocketDisconnect):
                await _tell(socket, stream, masks)
            group.cancel_scope.cancel()

    return app


async def _left(socket: WebSocket) -> None:
    """Until the viewer goes: while the camera is away nothing is sent that would show it."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _mjpeg(stream: Stream) -> AsyncIterator[bytes]:
    """One part a picture; a viewer that reads slowly gets fewer."""
    last = -1
    while not stream.board.closed:
        post = await stream.board.newer(last)
        if post is None:
            continue
        last = post.number
        data = await asyncio.to_thread(stream.board.jpeg, post)
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        yield head.encode() + data + b"\r\n"


async def _tell(socket: WebSocket, stream: Stream, masks: bool) -> None:
    """Newest results to one client, with every event since the last."""
    last, told = -1, None  # a viewer that just came is told what happened before
    while not stream.board.closed:
        post = await stream.board.newer(last)
        if post is None:
            continue
        last = post.number
        recent = list(stream.events.recent)
        since = next((at + 1 for at in range(len(recent) - 1, -1, -1) if recent[at] is told), 0)
        new: list[Any] = recent[since:]
        told = recent[-1] if recent else told
        row = await asyncio.to_thread(as_row, post.result, masks=True) if masks else post.row
        await socket.send_json({**row, **stream.now(), "events": new})


def _same_host(socket: WebSocket) -> bool:
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")
