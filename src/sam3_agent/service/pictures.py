"""The pictures of a request: data URLs, base64, web addresses and (inside allowed folders) paths -> media.

What was decoded is kept within a budget of bytes by the hash of what was sent, so that a picture that comes again is
not decoded again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from sam3.errors import BadInput, Unavailable
from sam3_agent.cache.budget import Budget
from sam3_agent.execution.media import Medium, medium
from sam3_agent.media.images import data_url_bytes, load_image
from sam3_agent.service.errors import Refused

BARE = re.compile(
    r"(?:iVBORw0K|/9j/|Qk[0-3]|UklGR|SUkq|TU0A)[A-Za-z0-9+/=\s]{32,}"
)  # base64 of a picture's first bytes


class Pictures:
    """The door for pictures.

    Args:
        max_bytes: of decoded pictures kept. limit: of one sent picture.
        max_pixels: of one. urls: whether web addresses are fetched. roots: folders that paths must be in.
    """

    def __init__(
        self, max_bytes: int, *, limit: int, max_pixels: int, urls: bool = True, roots: Sequence[str] = ()
    ) -> None:
        self.kept: Budget[bytes, Medium] = Budget(max_bytes)
        self.limit, self.max_pixels, self.urls, self.roots = limit, max_pixels, urls, list(roots)

    def load(self, source: str) -> Medium:
        """One picture.

        Raises:
            BadInput: not a picture, too large, or not permitted.
            Refused: 400, its address does not answer.
        """
        head = source[:40].lower().lstrip()
        if head.startswith("data:video/"):
            raise BadInput("clips are not taken here yet; send single pictures.", field="image_url")
        data = self._bytes(source, head)
        if data is None:
            return self._elsewhere(source)
        name = hashlib.blake2b(data, digest_size=32).digest()
        known = self.kept.get(name)
        if known is None:
            known = medium(load_image(data, max_pixels=self.max_pixels, max_bytes=self.limit))
            self.kept.put(name, known, known.nbytes)
        return known

    def _bytes(self, source: str, head: str) -> bytes | None:
        if head.startswith("data:"):
            return data_url_bytes(source.strip(), self.limit)
        if BARE.match(source[:200]):
            try:
                return base64.b64decode(re.sub(r"\s", "", source), validate=True)
            except (binascii.Error, ValueError) as error:
                raise BadInput(f"image: not valid base64 ({error}). Encode it again.", field="image") from error
        return None

    def _elsewhere(self, source: str) -> Medium:
        try:
            roots = self.roots
            pixels = load_image(source, roots=roots, urls=self.urls, max_pixels=self.max_pixels, max_bytes=self.limit)
        except Unavailable as error:  # the fault of the address, not ours
            raise Refused(400, "unreachable_url", str(error), field="image_url") from error
        return medium(pixels)
