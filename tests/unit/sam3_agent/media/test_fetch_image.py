"""Web addresses: pictures from the public internet, and nothing from the network this runs in."""

from __future__ import annotations

import http.server
import io
import threading
import time
from collections.abc import Iterator

import pytest
from PIL import Image

from sam3.errors import BadInput, Unavailable
from sam3_agent.media.addresses import is_public, pin, resolve
from sam3_agent.media.urls import fetch_image

LOOPBACK = "127.0.0.1"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 10), (1, 2, 3)).save(stream, "PNG")
    return stream.getvalue()


class Web(http.server.BaseHTTPRequestHandler):
    hosts: list[str] = []  # noqa: RUF012
    slow_ended: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        Web.hosts.append(self.headers["Host"])
        name, _, value = self.path.lstrip("/").partition("?")
        if name.startswith("redirect"):
            self.send_response(302)
            self.send_header("Location", value)
            self.end_headers()
            return
        self.send_response(404 if name == "missing" else 200)
        self.send_header("Content-Type", "text/html" if name == "page" else "image/png")
        if name == "promise":
            self.send_header("Content-Length", "100000000")
        if name == "zipped":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        try:
            if name == "endless":
                while True:
                    self.wfile.write(b"x" * 65536)
            if name == "slow":
                for byte in picture():
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.1)
                self.slow_ended.append(name)
            self.wfile.write(picture())
        except OSError:
            pass

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def to_server(host: str, port: int) -> list[str]:
    """Every name is the test server, except one that is inside somebody's network."""
    return ["10.0.0.7"] if host.startswith("intranet") else [LOOPBACK]


def fetch(port: int, path: str, **options):
    options = {"resolver": to_server, "allow": [LOOPBACK], **options}
    return fetch_image(f"http://pictures.example:{port}/{path}", **options)


def test_a_picture_is_fetched_with_the_name_as_host(port: int) -> None:
    assert fetch(port, "a.png?size=1").shape == (10, 20, 3)
    assert Web.hosts[-1] == f"pictures.example:{port}"


def test_the_test_server_itself_is_refused_without_leave(port: int) -> None:
    with pytest.raises(BadInput, match="not on the public internet"):
        fetch(port, "a.png", allow=[])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0", "localhost",
     "localhost.", "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
     "[2002:7f00:1::]", "169.254.169.254", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "[fe80::1]", "[fc00::1]",
     "224.0.0.1", "[ff02::1]", "255.255.255.255", "198.18.0.1", "%31%32%37.0.0.1", "①②⑦.0.0.1"],
)  # fmt: skip
def test_no_spelling_of_a_private_address_gets_through(host: str, port: int) -> None:
    before = len(Web.hosts)
    with pytest.raises((BadInput, Unavailable), match=r"not on the public internet|unknown host"):
        fetch_image(f"http://{host}:{port}/a.png")
    assert len(Web.hosts) == before, "not even a connection"


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
def test_spellings_that_the_system_understands_are_refused_and_not_just_unknown(host: str) -> None:
    with pytest.raises(BadInput, match="not on the public internet"):
        pin(host, 80, resolver=resolve)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::ffff:93.184.216.34", True),
        ("2002:5db8:d822::1", True),
        ("::ffff:10.0.0.1", False),
        ("::7f00:1", False),
        ("64:ff9b::5db8:d822", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("100.127.255.255", False),
        ("192.0.2.1", False),
        ("240.0.0.1", False),
        ("fe80::1%eth0", False),
        ("not an address", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(BadInput):
        pin("mixed.example", 80, resolver=lambda host, port: ["93.184.216.34", "10.0.0.1"])


def test_a_name_is_looked_up_once_and_that_address_is_used(port: int) -> None:
    asked: list[str] = []

    def changing(host: str, _: int) -> list[str]:
        asked.append(host)
        return [LOOPBACK] if len(asked) == 1 else ["10.0.0.1"]

    assert fetch(port, "a.png", resolver=changing).shape == (10, 20, 3)
    assert asked == ["pictures.example"]


def test_redirects_are_followed_and_each_is_judged(port: int) -> None:
    assert fetch(port, "redirect?/a.png").shape == (10, 20, 3)
    assert fetch(port, f"redirect?http://other.example:{port}/redirect?/a.png").shape == (10, 20, 3)
    with pytest.raises(BadInput, match="intranet: not on the public internet"):
        fetch(port, "redirect?http://intranet/a.png")
    with pytest.raises(BadInput, match="expected an http or https address"):
        fetch(port, "redirect?file:///etc/passwd")
    with pytest.raises(BadInput, match="redirected more than 3 times"):
        fetch(port, "redirect?/redirect?/redirect?/redirect?/a.png")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/a.png", "expected an http or https address"),
        ("file:///etc/passwd", "expected an http or https address"),
        ("gopher://127.0.0.1:6379/_x", "expected an http or https address"),
        ("http://", "expected an http or https address"),
        ("http://host:99999/a.png", "expected an http or https address"),
        ("http://[::1/a.png", "expected an http or https address"),
        ("http://host/a b\r\nX: y", "expected an http or https address"),
        ("http://me:secret@host/a.png", "user name or password"),
        ("http://93.184.216.34@127.0.0.1/", "user name or password"),
    ],
)
def test_addresses_that_are_never_looked_up(url: str, words: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError("looked up")

    with pytest.raises(BadInput, match=words) as error:
        fetch_image(url, resolver=never)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("page", BadInput, "sends text/html and not a picture"),
        ("missing", Unavailable, "answers 404"),
        ("promise", BadInput, "over 0.1 MB"),
        ("endless", BadInput, "over 0.1 MB"),
        ("zipped", BadInput, "compressed body"),
    ],
)
def test_answers_that_are_no_picture(port: int, path: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        fetch(port, path, max_bytes=100_000)


def test_a_slow_server_is_given_up_in_time(port: int) -> None:
    with pytest.raises(Unavailable, match=r"took longer than 0\.5 s"):
        fetch(port, "slow", timeout=0.5)
    assert not Web.slow_ended, "waited for all of it"


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        fetch_image("http://pictures.example:9/a.png", resolver=to_server, allow=[LOOPBACK])
