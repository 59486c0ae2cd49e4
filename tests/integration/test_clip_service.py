"""Clips at a real server: a stock openai client, MCP, and clients that hang up in the middle."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clip_service import FarmEngine, clip_url, write_farm
from service_server import serving


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_farm(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def engine(clip: Path) -> FarmEngine:
    return FarmEngine(clip)


@pytest.fixture(scope="module")
def address(engine: FarmEngine, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, engine, roots=str(clip.parent), clip_workers=1, clip_queue=0, patience=5) as where:  # type: ignore[arg-type]
        yield where


def idle(address: str, seconds: float = 5.0) -> bool:
    """Whether the only worker for clips is free again soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if "sam3_agent_clips_answering 0.0" in httpx.get(f"{address}/metrics").text:
            return True
        time.sleep(0.05)
    return False


def test_a_stock_openai_client_asks_about_a_clip(address: str, clip: Path) -> None:
    from openai import OpenAI

    openai = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    video: Any = {"type": "video_url", "video_url": {"url": clip_url(clip)}}
    first: Any = {"role": "user", "content": [{"type": "text", "text": "how many ducks are there?"}, video]}
    reply: Any = openai.chat.completions.create(model="sam3-agent", messages=[first])
    assert "2 distinct ducks" in reply.choices[0].message.content
    more: Any = [first, reply.choices[0].message, {"role": "user", "content": "when does the first one appear?"}]
    again: Any = openai.chat.completions.create(model="sam3-agent", messages=more)
    assert again.sam3["answer"] == pytest.approx(2.0, abs=0.6)


def test_the_mcp_tools_take_clips(address: str, clip: Path) -> None:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> tuple[Any, Any, Any]:
        async with Client(streamable_http_client(f"{address}/mcp")) as mcp:
            followed = await mcp.call_tool("track", {"concept": "duck", "video": str(clip)})
            asked = await mcp.call_tool("ask", {"query": "when does the last duck appear?", "images": [clip_url(clip)]})
            outside = await mcp.call_tool("track", {"concept": "duck", "video": "/etc/farm.mp4"})
            return followed, asked, outside

    followed, asked, outside = asyncio.run(talk())
    [result] = followed.structured_content["results"]
    assert result["count"] == 2 and result["tracks"][0]["first"] == pytest.approx(2.0, abs=0.6)
    assert asked.structured_content["answer"] == pytest.approx(3.5, abs=0.6)
    assert outside.is_error and "outside the folders" in outside.content[0].text


@pytest.mark.parametrize("form", [{"query": "count the hens"}, {"things": ["hen"], "every": 0.1}])
def test_work_ends_when_a_streaming_client_hangs_up(
    address: str, engine: FarmEngine, clip: Path, form: dict[str, object]
) -> None:
    looks, engine.delay = engine.looks, 0.15
    try:
        with httpx.stream("POST", f"{address}/v1/track", json={"video": str(clip), **form}, timeout=20) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines))["event"] in ("clip", "frame")
            next(lines)
        assert idle(address) and engine.looks - looks <= 10  # of 12 or 60
    finally:
        engine.delay = 0.0


def test_work_ends_when_a_client_that_waits_for_one_document_gives_up(
    address: str, engine: FarmEngine, clip: Path
) -> None:
    engine.delay, looks = 0.4, engine.looks
    body = {"video": str(clip), "query": "count the ducks", "stream": False}
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/track", json=body, timeout=1.0)
        assert idle(address) and engine.looks - looks <= 8  # of 12
    finally:
        engine.delay = 0.0
    assert httpx.post(f"{address}/v1/track", json=body, timeout=20).json()["answer"] == 2


def test_work_ends_when_a_websocket_is_closed(address: str, engine: FarmEngine, clip: Path) -> None:
    from websockets.sync.client import connect

    engine.delay, looks = 0.3, engine.looks
    try:
        with connect(f"{address.replace('http', 'ws')}/v1/stream") as socket:
            socket.send(json.dumps({"query": "count the ducks", "videos": [str(clip)]}))
            assert json.loads(socket.recv(10))["event"] == "frame"
        assert idle(address) and engine.looks - looks <= 8
    finally:
        engine.delay = 0.0
