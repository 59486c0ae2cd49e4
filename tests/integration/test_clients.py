"""The service as other people's clients see it: openai's, MCP's, schemathesis."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scene_service import SceneEngine, data_url, message
from service_server import serving


@pytest.fixture(scope="module")
def engine() -> SceneEngine:
    return SceneEngine()


@pytest.fixture(scope="module")
def address(engine: SceneEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), engine, keys="ann:secret-of-ann") as where:
        yield where


@pytest.fixture(scope="module")
def park(engine: SceneEngine) -> str:
    return data_url(engine, "park")


# --- openai -------------------------------------------------------------------------------------------------------------


def client(address: str, key: str = "secret-of-ann") -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


def test_a_stock_openai_client_asks_and_refers_back(address: str, park: str) -> None:
    openai = client(address)
    first = message("find the dogs", park)
    reply = openai.chat.completions.create(model="sam3-agent", messages=[first])
    assert "3 dogs" in reply.choices[0].message.content and reply.usage.total_tokens > 0
    messages = [first, reply.choices[0].message, {"role": "user", "content": "how many of them are not sitting?"}]
    again = openai.chat.completions.create(model="sam3-agent", messages=messages)
    assert again.sam3["answer"] == 2


def test_a_stock_openai_client_streams(address: str, park: str) -> None:
    chunks = list(
        client(address).chat.completions.create(
            model="sam3-agent", messages=[message("how many cats?", park)], stream=True
        )
    )
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "2 cats" in words and chunks[-1].choices[0].finish_reason == "stop"
    assert [chunk.sam3["event"] for chunk in chunks if hasattr(chunk, "sam3")] == ["found", "said", "masks", "done"]


def test_openais_errors_are_raised_as_its_own(address: str) -> None:
    import openai

    with pytest.raises(openai.AuthenticationError, match="API key"):
        client(address, "wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="not served"):
        client(address).chat.completions.create(model="gpt-9", messages=[message("x")])
    with pytest.raises(openai.BadRequestError):
        client(address).chat.completions.create(model="sam3-agent", messages=[message("x", "data:image/png;base64,A")])
    assert "sam3-agent" in [model.id for model in client(address).models.list()]


# --- MCP ----------------------------------------------------------------------------------------------------------------


def structured(result: Any) -> dict[str, Any]:
    return getattr(result, "structured_content", None) or result.structuredContent


def test_the_official_mcp_client_over_http(address: str, park: str) -> None:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def talk(key: str) -> tuple[set[str], dict[str, Any], Any]:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http,
            Client(streamable_http_client(f"{address}/mcp", http_client=http)) as mcp,
        ):
            tools = {tool.name for tool in (await mcp.list_tools()).tools}
            reply = await mcp.call_tool("ask", {"query": "how many dogs?", "images": [park]})
            wrong = await mcp.call_tool("count", {"concept": "dog", "images": ["/etc/passwd"]})
            return tools, structured(reply), wrong

    tools, reply, wrong = asyncio.run(talk("secret-of-ann"))
    assert tools == {"ask", "segment", "count", "track", "plan"} and reply["answer"] == 3
    assert wrong.is_error and "outside the folders" in wrong.content[0].text
    with pytest.raises(BaseExceptionGroup):
        asyncio.run(talk("wrong"))


@pytest.mark.slow
def test_the_official_mcp_client_over_stdio(repo_root: Path) -> None:
    import sys

    from mcp import Client, StdioServerParameters

    picture = repo_root / "data" / "demo" / "yard.jpg"

    async def talk() -> tuple[Any, Any, Any]:
        words = ["-m", "sam3_agent.cli", "mcp", "--root", str(picture.parent)]
        async with Client(StdioServerParameters(command=sys.executable, args=words)) as mcp:
            plan = await mcp.call_tool("plan", {"query": "how many red cars are left of the bus?"})
            outside = await mcp.call_tool("count", {"concept": "dog", "images": [str(repo_root / "data/pack/x.png")]})
            inside = await mcp.call_tool("count", {"concept": "chicken", "images": [str(picture)]})
            return plan, outside, inside

    plan, outside, inside = asyncio.run(talk())
    assert structured(plan)["plans"] == ["count the red cars left of the bus"]
    assert outside.is_error and structured(inside)["status"] == "ok"


# --- any client ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_that_the_document_allows_breaks_the_service(address: str) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/mcp":  # speaks another protocol
            continue
        asked.append(operation.path)

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            response = case.call(headers={"Authorization": "Bearer secret-of-ann"}, timeout=20)
            case.validate_response(response, checks=[not_a_server_error])

        check()
    assert len(asked) >= 12 and "/v1/track" in asked


def test_a_picture_in_every_way_that_clients_write_it(address: str, park: str) -> None:
    import httpx

    raw = base64.b64decode(park.partition(",")[2])
    spellings = [
        park,
        park.replace("image/png", "image/PNG"),
        park.replace("data:", "DATA:"),
        "data:;base64," + base64.b64encode(raw).decode(),
        base64.b64encode(raw).decode(),
        "\n".join([park[:80], park[80:]]),
    ]
    for url in spellings:
        form = {"image": url, "concept": "dog", "masks": "none"}
        reply = httpx.post(f"{address}/v1/segment", json=form, headers={"X-API-Key": "secret-of-ann"})
        assert reply.status_code == 200, reply.text
        assert reply.json()["results"][0]["count"] == 3
