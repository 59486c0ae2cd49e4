"""A camera that sends its viewers to another host takes nobody there, in the open or over TLS."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import threading
from pathlib import Path

import pytest

from sam3.errors import Unavailable
from sam3_agent.video.live.cameras import connect
from sam3_agent.video.live.tether import looked_at
from sam3_agent.video.sources import source_of


class Inside:
    """A server that nobody may reach: it notes who came."""

    def __init__(self) -> None:
        self.listener, self.came = socket.create_server(("127.0.0.1", 0)), 0
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.listener.accept()[0].close()
            except OSError:
                return
            self.came += 1


class Moving:
    """A camera that answers the request `moves` (OPTIONS, DESCRIBE) with another address, in two pieces."""

    def __init__(self, moves: str, to: int, private: ssl.SSLContext | None = None) -> None:
        self.moves, self.to, self.private = moves, to, private
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        viewer, _ = self.listener.accept()
        if self.private is not None:
            viewer = self.private.wrap_socket(viewer, server_side=True)
        viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while asked := viewer.recv(4096).decode():
            number = re.search(r"CSeq: \d+", asked)
            assert number is not None
            if asked.startswith(self.moves):
                answer = f"RTSP/1.0 302 Moved\r\n{number[0]}\r\nLocation: rtsp://localhost:{self.to}/inside\r\n\r\n"
            else:
                answer = f"RTSP/1.0 200 OK\r\n{number[0]}\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n"
            viewer.sendall(answer[:6].encode())
            viewer.sendall(answer[6:].encode())


def own_certificate(folder: Path) -> ssl.SSLContext:
    """Signed by nobody else, as cameras have it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "camera.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(("moves", "scheme"), [("OPTIONS", "rtsp"), ("DESCRIBE", "rtsp"), ("DESCRIBE", "rtsps")])
def test_a_camera_that_sends_its_viewers_elsewhere_is_refused(moves: str, scheme: str, tmp_path: Path) -> None:
    inside = Inside()
    camera = Moving(moves, inside.port, own_certificate(tmp_path) if scheme == "rtsps" else None)
    source = source_of(f"{scheme}://user:secret@127.0.0.1:{camera.port}/barn", hosts={f"127.0.0.1:{camera.port}"})
    with pytest.raises(Unavailable, match="sends its viewers to another address") as refused:
        next(connect(source, lambda: None))
    assert inside.came == 0 and "secret" not in str(refused.value)
    inside.listener.close()


ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"
SDP = b"RTSP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nv=0\r\na=x:"
MOVED = b"RTSP/1.0 302 Moved\r\nLocation: rtsp://other/\r\n\r\n"


@pytest.mark.parametrize(("told", "goes", "held"), [
    (ANSWER, ANSWER, b""),
    (ANSWER + SDP, ANSWER + SDP, b""),
    (SDP[:-1], b"", SDP[:-1]),
    (b"RTSP/1.0 2", b"", b"RTSP/1.0 2"),
    (b"RT", b"", b"RT"),
    (ANSWER + b"RTSP/1.0 200", ANSWER, b"RTSP/1.0 200"),
    (b"RTSP/1.0 200 OK\nCSeq: 1\n\n", ANSWER, b""),
    (b"RTSP/1.0 401 No\r\nWWW-Authenticate: Basic realm=\"a:b\"\r\n\r\n", b"RTSP/1.0 401 No\r\nWWW-Authenticate: Basic realm=\"a:b\"\r\n\r\n", b""),
    (b"RTSP/1.0 200 OK\r\nA: tool:RTSP/1.0 302 is no status here\r\n\r\n", b"RTSP/1.0 200 OK\r\nA: tool:RTSP/1.0 302 is no status here\r\n\r\n", b""),
])  # fmt: skip
def test_well_formed_answers_go_on_when_they_are_whole(told: bytes, goes: bytes, held: bytes) -> None:
    assert looked_at(told) == (goes, held)


@pytest.mark.parametrize("told", [
    MOVED, SDP + MOVED, b" " + MOVED, b"\r" + MOVED, b"$\0\0\4abcd" + MOVED, MOVED.replace(b" 302", b" +302"), MOVED.replace(b" 302", b" 0302"),
    MOVED.replace(b"1.0 ", b"1.0\t"), MOVED.replace(b"1.0", b"2.0"), b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"HTTP/1.0 302 x\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 90\r\n\r\n", b"RTSP/1.0 200 OK\r\nContent-Length: +5\r\n\r\n",
    b"RTSP/1.0 200 OK\r\n Content-Length: 90\r\n\r\n", b"RTSP/1.0 200 OK\r\n$\0\0\2ab\r\n\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\0\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"RTSP/1.0 " + b"A" * (1 << 21), b"RTSP/1.0 200 OK\r\n\r\r\n" + MOVED,
])  # fmt: skip
def test_what_ffmpeg_might_take_for_a_move_goes_nowhere(told: bytes) -> None:
    assert looked_at(told)[0] is None
