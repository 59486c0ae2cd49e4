"""A picture's web address -> pixels, without letting a stranger reach into the network this runs in.

Only http and https to public addresses; the address is looked up once and that one is connected to; every
redirect is judged anew; size, time and type are limited. Proxies from the environment are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from sam3.decoding import MAX_BYTES, MAX_PIXELS, decode
from sam3.errors import BadInput, Unavailable
from sam3.types import UInt8Array
from sam3_agent.media.addresses import Resolver, pin, resolve

MAX_REDIRECTS = 3
TIMEOUT = 10.0  # seconds for the whole, redirects included
CHUNK = 1 << 16
MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a fetch may do. `allow`: addresses accepted although they are not public. `kind`: what the body must be."""

    max_bytes: int = MAX_BYTES
    timeout: float = TIMEOUT
    resolver: Resolver = resolve
    allow: Collection[str] = ()
    kind: str = "image"


def fetch_image(
    url: str,
    *,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
    resolver: Resolver = resolve,
    allow: Collection[str] = (),
) -> UInt8Array:
    """Fetch and decode a picture.

    Args:
        url: http or https, without user name and password.
        timeout: seconds for the whole.
        resolver: host, port -> addresses; tests put their own here.
        allow: addresses accepted although they are not public.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        BadInput: not permitted, not a picture, or too large; `field` is "url".
        Unavailable: does not answer, answers with an error, or takes too long.
    """
    data = fetch_bytes(url, Rules(max_bytes, timeout, resolver, allow))
    return decode(data, _short(url), max_pixels=max_pixels, max_bytes=max_bytes)


def fetch_bytes(url: str, rules: Rules) -> bytes:
    """The body behind an address, redirects followed and judged. Raises like `fetch_image`."""
    deadline = time.monotonic() + rules.timeout
    for _ in range(MAX_REDIRECTS + 1):
        parts = _permitted(url)
        try:
            body, moved = _get(parts, rules, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= deadline
            reason = f"took longer than {rules.timeout:g} s" if late else f"does not answer ({error})"
            raise Unavailable(f"{_short(url)}: {reason}. Try again, or send the picture itself.") from error
        if moved is None:
            return body
        url = urljoin(url, moved)
    raise BadInput(f"{_short(url)}: redirected more than {MAX_REDIRECTS} times. Give the last address.", field="url")


def _permitted(url: str) -> SplitResult:
    """The parts of an address that may be looked up at all."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound, parts = False, urlsplit("")
    if not sound or any(character.isspace() or not character.isprintable() for character in url):
        raise BadInput(f"{_short(url)}: expected an http or https address of a picture.", field="url")
    if parts.username is not None or parts.password is not None:
        raise BadInput("the address holds a user name or password; refused. Send the picture itself.", field="url")
    return parts


def _get(parts: SplitResult, rules: Rules, deadline: float) -> tuple[bytes, str | None]:
    """One request: (body, None), or (b"", where it has moved to)."""
    host = (parts.hostname or "").encode("idna").decode("ascii")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = pin(host, port, resolver=rules.resolver, allow=rules.allow)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = _connect(address, port, host if parts.scheme == "https" else None, deadline)
    # a server that sends one byte a second passes every socket timeout: cut the line when time is up
    cut = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [connection.sock])
    cut.daemon = True
    cut.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            "Host": parts.netloc,
            "Accept": f"{rules.kind}/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        if answer.status in MOVED and (moved := answer.getheader("Location")):
            return b"", moved
        body = _body(answer, host, rules)
        if time.monotonic() >= deadline:  # the line was cut, and an unfinished body looks like a finished one
            raise TimeoutError
        return body, None
    finally:
        cut.cancel()
        connection.close()


def _connect(address: str, port: int, tls_name: str | None, deadline: float) -> socket.socket:
    """A socket to exactly this address; the certificate is held against the host's name."""
    left = max(0.1, deadline - time.monotonic())
    plain = socket.create_connection((address, port), timeout=left)
    if tls_name is None:
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=tls_name)
    except BaseException:
        plain.close()
        raise


def _body(answer: http.client.HTTPResponse, host: str, rules: Rules) -> bytes:
    """The picture's or clip's bytes, refused as soon as something is wrong with type or size."""
    if answer.status != 200:
        raise Unavailable(f"{host}: answers {answer.status} {answer.reason}. Check the address.")
    kind = (answer.getheader("Content-Type") or "nothing").split(";")[0].strip().lower()
    what = "picture" if rules.kind == "image" else "clip"
    if not kind.startswith(f"{rules.kind}/"):
        raise BadInput(f"{host}: sends {kind[:40]} and not a {what}. Give the address of the {what}.", field="url")
    if (answer.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise BadInput(f"{host}: sends a compressed body; refused. Send the {what} itself.", field="url")
    smaller = "Scale it down." if rules.kind == "image" else "Cut it."
    too_large = BadInput(f"{host}: the {what} is over {rules.max_bytes / 1e6:g} MB. {smaller}", field="url")
    if (answer.length or 0) > rules.max_bytes:
        raise too_large
    body = bytearray()
    while chunk := answer.read(CHUNK):
        body += chunk
        if len(body) > rules.max_bytes:
            raise too_large
    return bytes(body)


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        line.shutdown(socket.SHUT_RDWR)


def _short(url: str) -> str:
    """An address for a message: without query, user name and password, and not too long."""
    return url.partition("?")[0].rpartition("@")[2][:100]
