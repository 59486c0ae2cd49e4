"""Which version answers about a picture: the one that serves, or one that is tried with a share of the traffic.

A canary is the model `sam3_candidate`, loaded beside `sam3`, with its share in its own configuration; so all clients see
the same share, and when the candidate is unloaded all traffic is back. A picture always goes to the same side: its
content is hashed to a number in [0, 1), and those below the share go to the candidate. Pictures that are on the
candidate's side at 10 % are there at 50 %, too. Used by `sam3.engines.triton_engine`; set up by `sam3-agent deploy --canary`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from typing import Any

from sam3.triton.client import Connection

WHOLE, CANDIDATE = "sam3", "_candidate"
SHARE, WEIGHTS = "canary_share", "weights"  # parameters of the model's configuration
EVERY = 5.0  # seconds after which the server is asked again who serves


@dataclass(frozen=True)
class Side:
    """A served model: its number, the checksum of its weights ("" if the package is too old to say), its share."""

    model: str
    version: int
    weights: str
    share: float = 0.0

    @property
    def name(self) -> str:
        """What replies and caches call it."""
        return f"version {self.version}" + (f" ({self.weights[:12]})" if self.weights else "")


@dataclass(frozen=True)
class Sides:
    """Who serves now: `stable` is None before the server has said."""

    stable: Side | None = None
    canary: Side | None = None

    def of(self, unit: str | bytes) -> Side | None:
        """The side that a picture belongs to."""
        if self.canary is not None and fraction(unit, self.canary.version) < self.canary.share:
            return self.canary
        return self.stable

    @property
    def name(self) -> str:
        """Both, in words; empty when nobody knows."""
        if self.stable is None:
            return ""
        extra = f" + {self.canary.share:.3g} of {self.canary.name}" if self.canary else ""
        return self.stable.name + extra


def fraction(unit: str | bytes, version: int) -> float:
    """A number in [0, 1) that is the same for the same unit and version, everywhere and always; uniform over units."""
    data = unit.encode() if isinstance(unit, str) else unit
    digest = hashlib.blake2b(data, digest_size=8, key=str(version).encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def unit_of(pixels: Any) -> bytes:
    """What identifies a picture: its content. uint8 (H, W, 3)."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16, key=str(pixels.shape).encode()).digest()


class Routes:
    """Who serves at the far end of a connection, looked up at most every `EVERY` seconds."""

    def __init__(self, connection: Connection, every: float = EVERY) -> None:
        self.connection, self.every, self.sides = connection, every, Sides()
        self._looked = -float("inf")

    async def now(self) -> Sides:
        """The sides; on the connection's own loop."""
        if time.monotonic() - self._looked > self.every:
            self._looked = time.monotonic()  # before the question, so that callers meanwhile do not ask, too
            found = await asyncio.gather(self._side(WHOLE), self._side(WHOLE + CANDIDATE))
            stable = found[0] or self.sides.stable
            self.sides = Sides(stable, found[1] if found[1] and found[1].share > 0 else None)
        return self.sides

    def forget_canary(self) -> None:
        """The candidate did not answer: everything goes to `sam3` until the next look."""
        self.sides = Sides(self.sides.stable)

    async def _side(self, model: str) -> Side | None:
        from tritonclient.utils import InferenceServerException

        try:
            answer = await self.connection.client.get_model_config(model, as_json=True, client_timeout=5.0)
        except InferenceServerException:
            return None
        config = answer["config"]
        versions = config.get("version_policy", {}).get("specific", {}).get("versions", [0])
        said = {name: item.get("string_value", "") for name, item in config.get("parameters", {}).items()}
        return Side(model, int(versions[0]), said.get(WEIGHTS, ""), float(said.get(SHARE) or 0.0))
