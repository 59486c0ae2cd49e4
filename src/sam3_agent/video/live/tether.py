"""A camera on a leash: FFmpeg reaches this camera and nothing else.

An RTSP server may answer "302 Moved" with any address, and FFmpeg follows without asking whether that host is allowed. So it is
given a door on loopback instead of the camera's address; until the picture plays, only well-formed answers go through, and a camera
that sends its viewers elsewhere is refused. TLS, where the camera speaks it, ends here. Used by `cameras.py` for every RTSP connection.
"""

from __future__ import annotations

import re
import selectors
import socket
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

from sam3.errors import Unavailable
from sam3_agent.video.safety import RTSP_PORTS
from sam3_agent.video.sources import Source

OPEN_SECONDS = 10.0
STALLED = 30.0  # seconds that either end may take for a piece
PIECE = 1 << 16
LONGEST = 1 << 20  # bytes of an answer
_NAME = b"RTSP/1.0 "
_STATUS = re.compile(rb"RTSP/1\.0 ([1-5]\d\d)(?: [^\0]*)?")
_TOKEN = re.compile(rb"[A-Za-z0-9!#%&'*+.^_`|~-]+")  # no "$", which begins a picture


class Tether:
    """One connection to one camera. Use it as a context; gives the address that FFmpeg opens.

    Attributes:
        moved: whether the camera tried to send its viewer elsewhere.

    Raises:
        Unavailable: the camera cannot be reached.
    """

    def __init__(self, source: Source, seconds: float = OPEN_SECONDS) -> None:
        self.moved = False
        self._playing, self._over = False, threading.Event()
        parts = urlsplit(source.address)
        host, port = parts.hostname or "", parts.port or RTSP_PORTS[parts.scheme]
        try:
            self._camera: socket.socket = socket.create_connection((host, port), timeout=seconds)
            if parts.scheme == "rtsps":
                self._camera = _private(self._camera, host)
            self._camera.settimeout(STALLED)
            self._door = socket.create_server(("127.0.0.1", 0), backlog=1)
        except OSError as error:
            said = error.strerror or str(error)
            raise Unavailable(f"{source.name}: does not answer ({said}). Is the camera on?") from error
        self._door.settimeout(seconds)
        who, at, _ = parts.netloc.rpartition("@")
        here = f"{who}{at}127.0.0.1:{self._door.getsockname()[1]}"
        self.address = urlunsplit(("rtsp", here, parts.path, parts.query, ""))
        self._thread = threading.Thread(target=self._run, name=f"tether {source.name}", daemon=True)

    def __enter__(self) -> Tether:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(timeout=0.2)  # FFmpeg's farewell may be under way
        self._over.set()
        for end in (self._camera, self._door):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread, wherever it waits
        self._thread.join(timeout=5)
        for end in (self._camera, self._door):
            with suppress(OSError):
                end.close()

    # --- the thread -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(OSError, ValueError):
            viewer, _ = self._door.accept()
            self._door.close()  # the door is for one
            with viewer, selectors.DefaultSelector() as ready:
                viewer.settimeout(STALLED)
                viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(viewer, selectors.EVENT_READ)
                ready.register(self._camera, selectors.EVENT_READ)
                self._carry(viewer, ready)

    def _carry(self, viewer: socket.socket, ready: selectors.BaseSelector) -> None:
        held, room = b"", memoryview(bytearray(PIECE))  # one piece of memory, however long the stream
        while not self._over.is_set():
            waiting = isinstance(self._camera, ssl.SSLSocket) and self._camera.pending()
            ends = [self._camera] if waiting else [key.fileobj for key, _ in ready.select(1.0)]
            if viewer in ends:
                count = viewer.recv_into(room)
                if not count:
                    return
                self._playing = self._playing or bytes(room[:5]) == b"PLAY "
                self._camera.sendall(room[:count])
            if self._camera in ends:
                count = self._camera.recv_into(room)
                if not count:
                    return
                if self._playing and not held:
                    viewer.sendall(room[:count])
                    continue
                told, held = looked_at(held + bytes(room[:count]))
                if told is None:
                    self.moved = True
                    return
                viewer.sendall(told)


def looked_at(told: bytes) -> tuple[bytes | None, bytes]:
    """What a camera said before it plays -> (what may go on, what is too short to judge).

    Only whole, well-formed answers go on (RFC 2326, 7.1), written the plain way; None for the first of the two where a camera sends
    its viewer elsewhere, or says anything that FFmpeg, which reads far more than the standard allows, might take for that.
    """
    passed = b""
    while told:
        if not _may_begin(told) or len(told) > 2 * LONGEST:
            return None, b""
        lines, body = _head(told)
        if not lines:
            return passed, told
        status, length = _STATUS.fullmatch(lines[0]), _length(lines[1:])
        if status is None or status[1].startswith(b"3") or length is None or length > LONGEST:
            return None, b""
        if len(told) < body + length:
            return passed, told
        passed += b"\r\n".join([*lines, b"", told[body : body + length]])
        told = told[body + length :]
    return passed, b""


def _head(told: bytes) -> tuple[list[bytes], int]:
    """The lines before the first empty one, and where the body begins; no lines while there is no empty one.

    A carriage return counts nowhere, since FFmpeg passes over it.
    """
    lines, at = list[bytes](), 0
    while (end := told.find(b"\n", at)) >= 0:
        line, at = told[at:end].replace(b"\r", b""), end + 1
        if not line:
            return lines, at
        lines.append(line)
    return [], 0


def _may_begin(told: bytes) -> bool:
    """Whether an answer that is not whole yet begins as one does."""
    return told.startswith(_NAME) or _NAME.startswith(told)


def _length(lines: list[bytes]) -> int | None:
    """Bytes of the body that these headers announce; None for headers that are not to be trusted."""
    lengths = set()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or b"\0" in line:
            return None
        if name.lower() == b"content-length":
            lengths.add(value.strip())
    if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
        return None
    return int(lengths.pop()) if lengths else 0


def _private(camera: socket.socket, host: str) -> ssl.SSLSocket:
    """TLS as FFmpeg has it: cameras sign their own certificates, so nobody is asked who they are."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(camera, server_hostname=host)
