"""Every malformed request gets an error that a program can act on, and leaves the server as it was."""

from __future__ import annotations

import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from triton_asking import Served, picture, question
from tritonclient.utils import InferenceServerException

from sam3.triton.client import texts

Infer = Callable[..., dict[str, Any]]
IMAGE = picture(1)[None]


def huge_png() -> bytes:
    """A well-formed PNG header of 50,000 x 50,000 pixels, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


MALFORMED: dict[str, tuple[dict[str, np.ndarray[Any, Any]], str]] = {
    "shape": ({"image": np.zeros((1, 8, 8, 1), np.uint8), **question("hen")}, "shape"),
    "rank": ({"image": np.zeros((1, 8, 8), np.uint8), **question("hen")}, "shape"),
    "dtype": ({"image": IMAGE.astype(np.float32), **question("hen")}, "UINT8"),
    "name": ({"picture": IMAGE, **question("hen")}, "picture"),
    "no picture": (question("hen"), "exactly one of image, image_bytes, image_key"),
    "two pictures": ({"image": IMAGE, "image_key": texts(["a"]), **question("hen")}, "got image and image_key"),
    "no pixels": ({"image": np.zeros((1, 0, 5, 3), np.uint8), **question("hen")}, "no pixels"),
    "0 phrases": ({"image": IMAGE, "phrases": np.zeros((1, 0), object)}, "0 of them"),
    "phrases left out": ({"image": IMAGE}, "0 of them"),
    "10,000 phrases": ({"image": IMAGE, **question(*["hen"] * 10_000)}, "10000 of them; expected at most 64"),
    "empty phrase": ({"image": IMAGE, **question("hen", " ")}, "is empty"),
    "phrase without end": ({"image": IMAGE, **question("hen " * 300_000)}, "over 400 characters"),
    "not UTF-8": ({"image": IMAGE, "phrases": texts([b"\xff\xfe"])}, "not UTF-8"),
    "broken JPEG": ({"image_bytes": texts([b"\xff\xd8\xff\xe0" + bytes(300)]), **question("hen")}, "damaged"),
    "no bytes": ({"image_bytes": texts([b""]), **question("hen")}, "empty"),
    "50,000 x 50,000 PNG": ({"image_bytes": texts([huge_png()]), **question("hen")}, "megapixels"),
    "unknown key": ({"image_key": texts(["beef"]), **question("hen")}, "Send the picture"),
    "threshold": ({"image": IMAGE, **question("hen", threshold=7.0)}, "from 0 to 1"),
    "threshold nan": ({"image": IMAGE, **question("hen", threshold=np.nan)}, "from 0 to 1"),
    "batch": ({"image": np.repeat(IMAGE, 99, 0), "phrases": np.repeat(texts(["hen"]), 99, 0)}, "batch"),
    "box outside": ({"image": IMAGE, **question("hen", exemplar_boxes=np.full((1, 1, 4), 900, np.float32))}, "outside"),
    "box nan": ({"image": IMAGE, **question("hen", exemplar_boxes=np.full((1, 1, 4), np.nan, np.float32))}, "finite"),
    "box of nobody": (
        {
            "image": IMAGE,
            **question(
                "hen",
                exemplar_boxes=np.array([[[1, 1, 9, 9]]], np.float32),
                exemplar_phrases=np.array([[4]], np.int32),
            ),
        },
        "exemplar_phrases",
    ),
    "odd label": (
        {
            "image": IMAGE,
            **question(
                "hen", exemplar_boxes=np.array([[[1, 1, 9, 9]]], np.float32), exemplar_labels=np.array([[7]], np.int32)
            ),
        },
        "exemplar_labels",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_whole_model_refuses(infer: Infer, case: str) -> None:
    inputs, says = MALFORMED[case]
    with pytest.raises(InferenceServerException, match=says) as caught:
        infer("sam3", inputs, ["boxes"])
    assert str(caught.value.status()) in ("400", "404", "StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")
    assert infer("sam3", {"image": IMAGE, **question("hen")}, ["presence"])["presence"].shape == (1, 1), "healthy"


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("sam3_image_encoder", {"pixels": np.zeros((1, 3, 7, 7), np.float32)}),
        ("sam3_image_encoder", {"pixels": np.zeros((99, 3, 64, 64), np.float32)}),
        ("sam3_text_encoder", {"ids": np.full((1, 4), 10**9), "mask": np.ones((1, 4), np.int64)}),
        ("sam3_text_encoder", {"ids": np.ones((1, 4), np.int64), "mask": np.ones((1, 9), np.int64)}),
        ("sam3_text_encoder", {"ids": np.ones((1, 9000), np.int64), "mask": np.ones((1, 9000), np.int64)}),
        ("sam3_decoder", {"text": np.zeros((1, 4, 8), np.float32)}),
        ("no_such_model", {"image": IMAGE}),
    ],
)
def test_parts_refuse(infer: Infer, model: str, inputs: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException):
        infer(model, inputs, [{"sam3_text_encoder": "text", "sam3_decoder": "logits"}.get(model, "trunk")])
    assert infer("sam3", {"image": IMAGE, **question("hen")}, ["presence"])["presence"].shape == (1, 1), "healthy"


@pytest.mark.parametrize("body", [b"", b"{", b'{"inputs": 3}', b"\x00" * 100_000, b"[" * 100_000])
def test_bodies_that_are_no_request(served: Served, body: bytes) -> None:
    request = urllib.request.Request(f"http://{served.server.addresses.http}/v2/models/sam3/infer", data=body)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    assert caught.value.code in (400, 500), "Triton's own parser answers"
    assert served.server.process is not None
    assert served.server.process.poll() is None


def test_a_bad_request_does_not_spoil_its_neighbours(served: Served) -> None:
    """They come together, so that they share a batch."""
    import asyncio

    from sam3.triton.client import Connection, Refused

    connection = Connection(served.server.addresses.grpc)

    async def together() -> list[Any]:
        asks = []
        for at in range(8):
            good = {"image": picture(900 + at)[None], **question("hen")}
            bad = {"image_bytes": texts([b"no picture"]), **question("hen")}
            asks += [connection.infer("sam3", item, ["presence"], deadline=30) for item in (good, bad)]
        return await asyncio.gather(*asks, return_exceptions=True)

    answers = connection.run(together())
    assert all(item["presence"].shape == (1, 1) for item in answers[::2])
    assert all(isinstance(item, Refused) for item in answers[1::2])
    connection.close()
