"""Keys that cannot collide: every part is written with its name, type and length before it is hashed.

So ("ab", "c") is not ("a", "bc"), 1 is not "1" or True, and a picture of 2 x 6 pixels is not one of 3 x 4.
"""

from __future__ import annotations

import hashlib

Part = str | bytes | int | float | bool | None | tuple["Part", ...]
LAYOUT = 1  # of the values; a change of their form makes old entries unreachable


def fingerprint(kind: str, /, **parts: Part) -> str:
    """The key of one value.

    Args:
        kind: what sort of value ("result", "embedding").
        parts: everything that the value depends on.

    Returns:
        `kind` and 64 hex digits.
    """
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(parts):
        for piece in (_written(name), _written(parts[name])):
            digest.update(piece)
    return f"{kind}:{LAYOUT}:{digest.hexdigest()}"


def _written(part: Part) -> bytes:
    """Type, length, content."""
    if isinstance(part, tuple):
        body = b"".join(_written(one) for one in part)
    elif isinstance(part, bytes):
        body = part
    elif part is None or isinstance(part, bool | int | float):
        body = repr(part).encode()
    else:
        body = part.encode("utf-8", "surrogatepass")
    return f"{type(part).__name__}:{len(body)}:".encode() + body
