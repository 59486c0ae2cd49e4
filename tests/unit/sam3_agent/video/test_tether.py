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


@pytest.mark.parametrize(("told", "goes", "held"), [
    (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", b""),
    (b"RTSP/1.0 302 Moved\r\n", None, b""),
    (b"v=0\r\n\r\nRTSP/2.0  301 x", None, b""),
    (b"RTSP/1.0 2", b"", b"RTSP/1.0 2"),
    (b"a=x\r\nRT", b"a=x\r\n", b"RT"),
    (b"a=control:streamid=0", b"a=control:streamid=0", b""),
    (b"a=tool:RTSP/1.0 302 is no status here\r\n", b"a=tool:RTSP/1.0 302 is no status here\r\n", b""),
])  # fmt: skip
def test_what_a_camera_says_before_it_plays_is_looked_at(told: bytes, goes: bytes | None, held: bytes) -> None:
    assert looked_at(told) == (goes, held)
