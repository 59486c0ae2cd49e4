"""The pictures and clips of a request: data URLs, base64, web addresses and (inside allowed folders) paths -> media.

What was decoded is kept within a budget of bytes by the hash of what was sent, so that a picture that comes again is
not decoded again. A clip has to say that it is one (by type, name or first bytes): work on clips has threads of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from sam3.errors import BadInput, Unavailable
from sam3_agent.cache.budget import Budget
from sam3_agent.execution.media import Medium, medium
from sam3_agent.media.images import contained, data_url_bytes, load_image
from sam3_agent.service.errors import Refused
from sam3_agent.video.clip import Check, clip_of
from sam3_agent.video.safety import SUFFIXES, UPLOADS, VideoLimits, is_container

BARE = re.compile(
    r"(?:iVBORw0K|/9j/|Qk[0-3]|UklGR|SUkq|TU0A)[A-Za-z0-9+/=\s]{32,}"
)  # base64 of a picture's first bytes
BARE_CLIP = re.compile(
    r"(?:AAAA[A-Za-z0-9+/][GWm2]Z0eX|GkXfo|UklGR[A-Za-z0-9+/]{6}BVkkg)[A-Za-z0-9+/=\s]{16,}"
)  # base64 of MP4, Matroska and AVI
VIDEO_URL = re.compile(r"data:video/[\w.+-]+(?:;[\w=.+-]+)*?;base64,", re.IGNORECASE)
CLIP_TIMEOUT = 60.0  # seconds for a clip from the web

Source = str | bytes


def is_clip(source: Source) -> bool:
    """Whether what was sent says that it is a clip."""
    if isinstance(source, bytes):
        return is_container(source[:16])
    head = source[:200].lstrip()
    if head[:11].lower() == "data:video/" or BARE_CLIP.match(head):
        return True
    if head[:5].lower() == "data:":
        return False
    name = source[-2000:].partition("?")[0].partition("#")[0]
    return len(source) <= 8000 and PurePosixPath(name).suffix.lower() in SUFFIXES


class Pictures:
    """The door for pictures and clips.

    Args:
        max_bytes: of decoded pictures kept. limit: of one sent picture.
        max_pixels: of one. urls: whether web addresses are fetched. roots: folders that paths must be in.
        clips: what a clip may be.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        limit: int,
        max_pixels: int,
        urls: bool = True,
        roots: Sequence[str] = (),
        clips: VideoLimits = UPLOADS,
    ) -> None:
        self.kept: Budget[bytes, Medium] = Budget(max_bytes)
        self.limit, self.max_pixels, self.urls, self.roots = limit, max_pixels, urls, list(roots)
        self.clips = clips

    def load(self, source: Source, check: Check | None = None) -> Medium:
        """One picture or clip.

        Args:
            check: called now and then while a clip is read; may raise.

        Raises:
            BadInput: neither, too large, or not permitted.
            Refused: 400, its address does not answer.
        """
        if is_clip(source):
            return self._kept(self._clip_bytes(source), check)
        if isinstance(source, bytes):
            return self._kept(source, None)
        data = self._bytes(source, source[:40].lower().lstrip())
        return self._elsewhere(source) if data is None else self._kept(data, None)

    def clip(self, source: Source, check: Check | None = None) -> bytes:
        """The bytes of a clip.

        Raises:
            BadInput: not a clip, too large, or not permitted.
        """
        if not is_clip(source):
            said = "expected a data URL or base64 of an mp4, mov, avi or mkv file, its web address, or a path that ends so."
            raise BadInput(f"video: {said}", field="video")
        return self._clip_bytes(source)

    def _kept(self, data: bytes, check: Check | None) -> Medium:
        name = hashlib.blake2b(data, digest_size=32).digest()
        known = self.kept.get(name)
        if known is None:
            if is_container(data[:16]):
                if check is None:
                    raise BadInput("a clip that says it is a picture. Send it as video/mp4.", field="image_url")
                known = clip_of(data, self.clips, check)
            else:
                known = medium(load_image(data, max_pixels=self.max_pixels, max_bytes=self.limit))
            self.kept.put(name, known, known.nbytes)
        return known

    def _bytes(self, source: str, head: str) -> bytes | None:
        if head.startswith("data:"):
            return data_url_bytes(source.strip(), self.limit)
        return unbased(source, "image") if BARE.match(source[:200]) else None

    def _clip_bytes(self, source: Source) -> bytes:
        if isinstance(source, bytes):
            data = source
        elif (head := VIDEO_URL.match(source[:200].lstrip())) is not None:
            data = unbased(source.lstrip()[head.end() :], "video")
        elif BARE_CLIP.match(source[:200].lstrip()):
            data = unbased(source, "video")
        elif re.match(r"https?://", source, re.IGNORECASE):
            data = self._fetched(source)
        elif source[:5].lower() == "data:":
            raise BadInput("video: not a data URL of a clip. Expected data:video/mp4;base64,...", field="video")
        else:
            data = self._read(source)
        if len(data) > self.clips.max_bytes:
            raise BadInput(f"the clip: over {self.clips.max_bytes / 1e6:.0f} MB. Cut it.", field="video")
        if not is_container(data[:16]):
            raise BadInput(
                "the clip: not an mp4, mov, avi or mkv file by its content. Convert it first.", field="video"
            )
        return data

    def _read(self, source: str) -> bytes:
        """A path in an allowed folder."""
        from sam3_agent.video.safety import check_container

        path = contained(source, self.roots)
        check_container(path, self.clips)
        return path.read_bytes()

    def _fetched(self, url: str) -> bytes:
        from sam3_agent.media.urls import Rules, fetch_bytes

        if not self.urls:
            raise BadInput("web addresses are not permitted here. Send the clip itself.", field="video")
        try:
            return fetch_bytes(url, Rules(self.clips.max_bytes, CLIP_TIMEOUT, kind="video"))
        except Unavailable as error:  # the fault of the address, not ours
            raise Refused(400, "unreachable_url", str(error), field="video") from error

    def _elsewhere(self, source: str) -> Medium:
        try:
            roots = self.roots
            pixels = load_image(source, roots=roots, urls=self.urls, max_pixels=self.max_pixels, max_bytes=self.limit)
        except Unavailable as error:  # the fault of the address, not ours
            raise Refused(400, "unreachable_url", str(error), field="image_url") from error
        return medium(pixels)


def unbased(text: str, field: str) -> bytes:
    """Bytes of base64, line breaks allowed.

    Raises:
        BadInput: it is not.
    """
    try:
        return base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{field}: not valid base64 ({error}). Encode it again.", field=field) from error
