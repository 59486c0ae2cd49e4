"""Who is asking: API keys, compared as digests in constant time. Without any key everybody is "local"."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from sam3_agent.service.errors import Refused

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Keys:
    """The known keys: name -> SHA-256 of the secret."""

    digests: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Keys from "ann:secret1,bob:secret2"."""
        pairs = (pair.strip().partition(":") for pair in text.split(",") if pair.strip())
        return cls({name: hashlib.sha256(secret.encode()).digest() for name, _, secret in pairs})

    def owner(self, secret: str | None) -> str:
        """The name behind a secret.

        Raises:
            Refused: 401, none or an unknown one.
        """
        if not self.digests:
            return LOCAL
        given = hashlib.sha256((secret or "").encode("utf-8", "replace")).digest()
        found = None
        for name, digest in self.digests.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(digest, given):
                found = name
        if found is None:
            raise Refused(401, "invalid_api_key", "API key missing or unknown. Send it as Authorization: Bearer KEY.")
        return found


def secret_of(headers: Mapping[str, str]) -> str | None:
    """The secret in a request's headers (lower-case names): a bearer token, or X-API-Key."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key")
