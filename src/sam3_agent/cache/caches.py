"""The caches of an agent, from their settings.

SAM3_CACHE_URL=redis://127.0.0.1:6379/0 SAM3_CACHE_TTL=3600 sam3-agent serve
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sam3.errors import BadConfig
from sam3_agent.cache.budget import Usage
from sam3_agent.cache.embeddings import EmbeddingCache
from sam3_agent.cache.redis_store import RedisStore
from sam3_agent.cache.results import ResultCache
from sam3_agent.cache.text import TextCache, lend


class CacheSettings(BaseSettings):
    """Read from the environment: SAM3_CACHE_URL and so on.

    Attributes:
        url: of Redis; empty for none. ttl: seconds that values are believed.
        result_bytes, embedding_bytes, media_bytes, text_bytes: held in this process.
    """

    model_config = SettingsConfigDict(env_prefix="SAM3_CACHE_", extra="ignore")

    url: str = ""
    ttl: int = Field(default=86_400, ge=1)
    result_bytes: int = Field(default=64_000_000, ge=0)
    embedding_bytes: int = Field(default=512_000_000, ge=0)
    media_bytes: int = Field(default=128_000_000, ge=0)
    text_bytes: int = Field(default=32_000_000, ge=100_000)


@dataclass
class Caches:
    """What an agent's conversations share."""

    results: ResultCache
    embeddings: EmbeddingCache
    redis: RedisStore | None = None
    text_bytes: int = 32_000_000
    text: TextCache | None = None

    @classmethod
    def of(cls, settings: CacheSettings | None = None) -> Caches:
        """The caches that settings (or the environment) ask for.

        Raises:
            BadConfig: a setting makes no sense, or the address of Redis is none.
        """
        try:
            chosen = settings or CacheSettings()
        except ValidationError as error:
            first = error.errors()[0]
            name = f"SAM3_CACHE_{'_'.join(map(str, first['loc'])).upper()}"
            raise BadConfig(f"{name}={first['input']!r}: {first['msg']}.", field=name) from error
        redis = None
        if chosen.url:
            try:
                redis = RedisStore(chosen.url, ttl=chosen.ttl)
            except ValueError as error:
                raise BadConfig(f"SAM3_CACHE_URL: {error}. Expected redis://host:port/0.", field="url") from error
        return cls(
            ResultCache(chosen.result_bytes, ttl=chosen.ttl, redis=redis),
            EmbeddingCache(chosen.embedding_bytes, redis=redis),
            redis,
            chosen.text_bytes,
        )

    def lend_text(self, engine: object, version: str) -> None:
        """Let an engine keep its words within a budget."""
        self.text = lend(engine, self.text_bytes, version, self.redis)

    def usage(self) -> dict[str, Usage]:
        """Numbers for metrics, by cache."""
        held = {"result": self.results.held, "embedding": self.embeddings.held}
        usage = {name: one.usage() for name, one in held.items()}
        return usage if self.text is None else {**usage, "text": self.text.held.usage()}
