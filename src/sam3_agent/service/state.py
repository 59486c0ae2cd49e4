"""What the rooms of the service share: agent, conversations, workers, limits, numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from sam3_agent.cache.caches import CacheSettings
from sam3_agent.conversation import Agent
from sam3_agent.service.keys import Keys
from sam3_agent.service.limits import Limits
from sam3_agent.service.live import Conversations
from sam3_agent.service.metrics import Metrics
from sam3_agent.service.pictures import Pictures
from sam3_agent.service.settings import ServiceSettings
from sam3_agent.service.workers import Workers
from sam3_agent.sessions.store import SessionStore


@dataclass
class Service:
    """The parts of a running service. `problem` says why it is not ready; empty when it is."""

    settings: ServiceSettings
    agent: Agent
    store: SessionStore
    pictures: Pictures
    talks: Conversations
    workers: Workers
    clips: Workers
    keys: Keys
    limits: Limits
    metrics: Metrics
    started: float = field(default_factory=time.time)
    problem: str = "starting: the model is being loaded"

    @classmethod
    def of(cls, settings: ServiceSettings, agent: Agent) -> Service:
        """All parts, from their settings."""
        store = SessionStore(settings.sessions, ttl=settings.session_days * 86_400)
        pictures = Pictures(
            CacheSettings().media_bytes, limit=settings.max_body, max_pixels=settings.max_pixels,
            urls=settings.urls, roots=settings.folders, clips=settings.clip_limits,
        )  # fmt: skip
        talks = Conversations(agent, store, pictures, settings.live_bytes)
        limits = Limits(
            settings.per_minute, settings.burst, settings.at_once,
            sockets=settings.sockets, sockets_each=settings.sockets_each,
        )  # fmt: skip
        workers = Workers(settings.workers, settings.queue, settings.patience)
        clips = Workers(settings.clip_workers, settings.clip_queue, settings.patience)
        gauges: dict[str, Callable[[], float]] = {
            "answering": lambda: workers.busy, "waiting": lambda: workers.waiting,
            "clips_answering": lambda: clips.busy, "clips_waiting": lambda: clips.waiting,
            "sockets": lambda: limits.sockets,
            "conversations_live": lambda: len(talks.kept) + len(talks.carried),
        }  # fmt: skip
        metrics = Metrics(
            lambda: {
                **agent.caches.usage(), "media": pictures.kept.usage(), "kept": talks.kept.usage(),
                "carried": talks.carried.usage(),
            },
            gauges,
        )  # fmt: skip
        keys = Keys.parse(settings.keys.get_secret_value())
        return cls(settings, agent, store, pictures, talks, workers, clips, keys, limits, metrics)

    async def run(self, work: Callable[[], Any], *, clip: bool = False) -> Any:
        """`work` in a thread of the crew, or of the crew for clips."""
        return await (self.clips if clip else self.workers).run(work)


def service_of(request: Request) -> Service:
    """The service behind a request."""
    return request.app.state.service  # type: ignore[no-any-return]


def owner_of(request: Request) -> str:
    """Who is asking, as the gate found out."""
    return str(request.state.owner)


_bearer = HTTPBearer(auto_error=False, description="An API key; not needed where none are configured.")
TheService = Annotated[Service, Depends(service_of)]
Owner = Annotated[str, Depends(owner_of)]
Documented = Depends(_bearer)  # the gate checks; this tells readers of the OpenAPI document
