"""The whole service as one ASGI app.

uvicorn --factory sam3_agent.service.app:from_environment
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI

if TYPE_CHECKING:
    from mcp.server.transport_security import TransportSecuritySettings

from sam3.errors import Sam3AgentError
from sam3_agent.conversation import Agent
from sam3_agent.service import (
    chat,
    errors,
    feedback,
    health,
    mcp_tools,
    page,
    segment,
    settings,
    stream,
    talk,
    track,
    uploads,
)
from sam3_agent.service.gate import Gate
from sam3_agent.service.settings import ServiceSettings
from sam3_agent.service.state import Service

AGAIN = 3.0  # seconds between attempts to load a model that is not there yet
SWEEP = 3600.0  # seconds between looks for expired conversations
ABOUT = (
    "Ask about pictures and clips in plain words; get masks, counts and answers. Masks are COCO RLE, boxes xyxy pixels."
)
log = structlog.get_logger(__name__)


def from_environment() -> FastAPI:
    """The app, as SAM3_SERVICE_*, SAM3_CACHE_* and SAM3_LLM_* say."""
    return create_app(settings.from_environment())


def create_app(chosen: ServiceSettings, agent: Agent | None = None) -> FastAPI:
    """The app.

    Args:
        agent: who answers; made from the settings when None.
    """
    configure_log(chosen.log)
    service = Service.of(chosen, agent or agent_of(chosen))
    tools = mcp_tools.build(service.agent, service.pictures, lambda work, clip: service.run(work, clip=clip))
    mcp_app = tools.streamable_http_app(stateless_http=True, json_response=True, transport_security=_security(service))

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        jobs = [asyncio.create_task(_warm(service)), asyncio.create_task(_sweep(service))]
        async with tools.session_manager.run():
            yield
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for crew in (service.workers, service.clips):
            await asyncio.to_thread(crew.close)
        service.store.close()

    app = FastAPI(
        title="sam3-agent", version="0.1.0", description=ABOUT, lifespan=life, docs_url="/docs", redoc_url=None
    )
    app.state.service = service
    errors.install(app)
    for room in (chat, segment, track, talk, uploads, feedback, health, stream):
        app.include_router(room.router)
    page.install(app)
    app.router.routes.extend(mcp_app.routes)
    app.add_middleware(
        Gate, keys=service.keys, limits=service.limits, metrics=service.metrics, max_body=chosen.max_body, max_upload=chosen.max_clip,
        hosts=[host.strip() for host in chosen.hosts.split(",")],
    )  # fmt: skip
    return app


def agent_of(chosen: ServiceSettings) -> Agent:
    """The agent that the settings ask for; its model is loaded later."""
    from sam3_agent.understanding.language_model import LanguageModel

    return Agent(
        checkpoint=chosen.checkpoint, engine_name=chosen.engine, threshold=chosen.threshold,
        floor=min(chosen.floor, chosen.threshold), planner=LanguageModel.from_environment(), mirror=chosen.mirror,
        price_per_gpu_hour=chosen.price_per_gpu_hour,
    )  # fmt: skip


async def _warm(service: Service) -> None:
    """Load the model and look once, so that the first question is as fast as the others; until it works."""
    import numpy as np

    def work() -> None:
        from sam3.types import Prompt

        engine = service.agent.engine
        [embedding] = engine.encode([np.full((64, 64, 3), 127, np.uint8)])
        engine.ground([embedding], [Prompt("thing")])

    while service.problem:  # a server of models may start after us, or be away for a while
        try:
            await asyncio.to_thread(work)
            service.problem = ""
            log.info("ready")
        except Sam3AgentError as error:
            if service.problem != str(error):
                log.error("not ready", problem=str(error))
            service.problem = str(error)
            await asyncio.sleep(AGAIN)
        except Exception:
            service.problem = "the model could not be loaded; see the log"
            log.exception("not ready")
            return


async def _sweep(service: Service) -> None:
    while True:
        with suppress(Exception):
            gone = await asyncio.to_thread(service.store.sweep)
            if gone:
                log.info("conversations expired", number=gone)
        await asyncio.sleep(SWEEP)


def _security(service: Service) -> TransportSecuritySettings:
    """The gate has judged host and key already."""
    from mcp.server.transport_security import TransportSecuritySettings

    return TransportSecuritySettings(enable_dns_rebinding_protection=False)


def configure_log(kind: str) -> None:
    """Structured lines on standard error."""
    renderer = structlog.processors.JSONRenderer() if kind == "json" else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
