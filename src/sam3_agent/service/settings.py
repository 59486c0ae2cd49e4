"""Every knob of the service, read from the environment: SAM3_SERVICE_KEYS and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sam3.errors import BadConfig
from sam3_agent.sessions.store import DEFAULT_URL
from sam3_agent.video.safety import VideoLimits


class ServiceSettings(BaseSettings):
    """What the service may do, and for whom.

    Attributes:
        checkpoint, engine, threshold: as everywhere; `floor` is the score below which the engine says nothing, so that
            the page's slider has something to show.
        keys: "name:secret" pairs with commas between them; without any, only this machine is answered.
        hosts: names under which the service answers while it has no keys (a page elsewhere must not talk to it).
        per_minute, burst: requests of one key. at_once: its requests at the same time.
        workers, queue, patience: threads that answer, requests that may wait for one, and seconds that they wait.
        clip_workers, clip_queue: the same for questions about clips, which take long and have a crew of their own.
        clip_seconds: that work on one clip may take. max_clip: bytes of one (as a file upload; in JSON it counts as
            part of the request). max_clip_seconds, max_clip_frames: its length. clip_tracker: "triton" has the clips of
            `things` followed by the model `sam3_video` of the server that the engine is on.
        sockets, sockets_each, socket_idle: WebSockets at the same time in all, of one key, and seconds without a
            question after which one is closed.
        max_body: bytes of a request. max_pictures: in one request. max_pixels: of one picture.
        urls: whether web addresses of pictures are fetched. roots: folders whose pictures may be named by path.
        sessions: database of the conversations. session_days: after which an unused one is forgotten.
        live_bytes: of conversations held in memory.
        mirror: which doubtful things are looked at twice. price_per_gpu_hour: for the cost of an answer.
        examples: folder with pictures and questions.yaml for the page.
    """

    model_config = SettingsConfigDict(env_prefix="SAM3_SERVICE_", extra="ignore")

    checkpoint: str = "sam3-lite"
    engine: str = "auto"
    threshold: float = Field(default=0.5, ge=0, le=1)
    floor: float = Field(default=0.2, ge=0, le=1)
    keys: SecretStr = SecretStr("")
    hosts: str = "localhost,127.0.0.1,[::1]"
    per_minute: float = Field(default=600, gt=0)
    burst: int = Field(default=60, ge=1)
    at_once: int = Field(default=32, ge=1)
    workers: int = Field(default=4, ge=1)
    queue: int = Field(default=64, ge=0)
    patience: float = Field(default=20.0, gt=0)
    clip_workers: int = Field(default=2, ge=1)
    clip_queue: int = Field(default=4, ge=0)
    clip_seconds: float = Field(default=300.0, gt=0)
    max_clip: int = Field(default=100_000_000, ge=1000)
    max_clip_seconds: float = Field(default=600.0, gt=0)
    max_clip_frames: int = Field(default=20_000, ge=1)
    clip_tracker: Literal["carry", "triton"] = "carry"
    sockets: int = Field(default=512, ge=1)
    sockets_each: int = Field(default=32, ge=1)
    socket_idle: float = Field(default=300.0, gt=0)
    max_body: int = Field(default=32_000_000, ge=1000)
    max_pictures: int = Field(default=16, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=64)
    urls: bool = True
    roots: str = ""
    sessions: str = DEFAULT_URL
    session_days: float = Field(default=7, gt=0)
    live_bytes: int = Field(default=512_000_000, ge=0)
    mirror: Literal["never", "weak", "always"] = "weak"
    price_per_gpu_hour: float | None = Field(default=None, ge=0)
    examples: Path = Path("data/demo")
    log: Literal["json", "console"] = "json"

    @field_validator("keys")
    @classmethod
    def _sound(cls, keys: SecretStr) -> SecretStr:
        for pair in filter(None, keys.get_secret_value().split(",")):
            name, _, secret = pair.strip().partition(":")
            if not name or len(secret) < 8:
                raise ValueError("expected name:secret with a secret of at least 8 characters")
        return keys

    @property
    def clip_limits(self) -> VideoLimits:
        """What a clip may be."""
        return VideoLimits(self.max_clip, self.max_clip_seconds, self.max_clip_frames)

    @property
    def folders(self) -> list[str]:
        """The allowed roots."""
        return [root for root in self.roots.split(":") if root]


def from_environment() -> ServiceSettings:
    """The settings.

    Raises:
        BadConfig: a value makes no sense; secrets are not repeated.
    """
    try:
        return ServiceSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"SAM3_SERVICE_{'_'.join(map(str, first['loc'])).upper()}"
        raise BadConfig(f"{name}: {first['msg']}.", field=name) from error
