"""The `triton` engine keeps the contract of every engine, and what a client over a network must do besides."""

from __future__ import annotations

import asyncio
import sys
import time

import numpy as np
import pytest
from triton_asking import BOX, Served, assert_same, picture

from sam3.engines import load_engine
from sam3.engines.onnx_engine import OnnxEngine
from sam3.engines.triton_engine import TritonEngine
from sam3.errors import BadInput, Unavailable
from sam3.triton.client import Connection, DeadlineMissed, ServerAway
from sam3.triton.regions import CudaRegions
from sam3.triton.shared_pictures import SharedPictures
from sam3.types import Prompt

PROMPTS = [
    Prompt("red car"),
    Prompt("a hen by the fence", BOX),
    Prompt(None, np.vstack([BOX, BOX + 9]), np.array([1, 0])),
]


@pytest.mark.parametrize("share", [True, False], ids=["shared memory", "on the wire"])
def test_answers_as_the_in_process_engine(served: Served, reference: OnnxEngine, share: bool) -> None:
    engine = TritonEngine(served.server.addresses.grpc, threshold=0.0, share_memory=share)
    images = [picture(20 + share, 160, 240), picture(30 + share, 240, 160), picture(40 + share, 200, 200)]
    got = engine.ground(engine.encode(images), PROMPTS)
    for one, other in zip(got, reference.ground(reference.encode(images), PROMPTS), strict=True):
        assert_same(one, other)
    engine.close()


def test_shared_memory_is_registered_and_given_back(served: Served) -> None:
    import tritonclient.grpc as grpc

    client = grpc.InferenceServerClient(served.server.addresses.grpc)
    engine = TritonEngine(served.server.addresses.grpc)
    engine.encode([picture(50, 400, 600)])
    assert len(client.get_system_shared_memory_status(as_json=True)["regions"]) == 1
    engine.encode([picture(51, 900, 1200)])  # larger: the region grows
    assert [int(r["byte_size"]) for r in client.get_system_shared_memory_status(as_json=True)["regions"].values()]
    engine.close()
    assert client.get_system_shared_memory_status(as_json=True).get("regions", {}) == {}


class Gpu:
    """A stand-in for `tritonclient.utils.cuda_shared_memory`: what is asked of it, and in which order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def create_shared_memory_region(self, name: str, size: int, device: int) -> dict[str, object]:
        self.calls.append("create")
        assert device == 0
        return {"name": name, "held": np.zeros(size, np.uint8)}

    def get_raw_handle(self, handle: dict[str, object]) -> bytes:
        self.calls.append("handle")
        return b"b3BhcXVl"  # base64, as NVIDIA's library gives it

    def set_shared_memory_region(self, handle: dict[str, object], values: list[np.ndarray]) -> None:
        self.calls.append("write")

    def destroy_shared_memory_region(self, handle: dict[str, object]) -> None:
        self.calls.append("destroy")


def test_memory_of_a_gpu_is_offered_and_where_the_server_cannot_open_it_pictures_go_on_the_wire(
    served: Served, reference: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as a machine without a GPU can show it."""
    gpu = Gpu()
    monkeypatch.setitem(sys.modules, "tritonclient.utils.cuda_shared_memory", gpu)
    engine = TritonEngine(served.server.addresses.grpc, threshold=0.0, share_memory="cuda")
    image = picture(90, 300, 400)
    [found] = engine.ground(engine.encode([image]), [Prompt("hen")])
    assert_same(found, reference.ground(reference.encode([image]), [Prompt("hen")])[0])
    assert gpu.calls == ["create", "handle", "destroy"], "registered, refused by the server, given back"
    engine.close()


def test_a_server_that_knows_cuda_reads_from_its_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, told = Gpu(), []

    class Server:
        async def register_cuda_shared_memory(
            self, name: str, raw: bytes, device: int, size: int, headers: None
        ) -> None:
            told.append((raw, device, size))

        async def unregister_cuda_shared_memory(self, name: str, headers: None) -> None:
            told.append("unregistered")

    monkeypatch.setitem(sys.modules, "tritonclient.utils.cuda_shared_memory", gpu)

    async def twice() -> None:
        shared = SharedPictures(Server(), regions=CudaRegions())
        shared.slots = asyncio.Queue()
        shared.slots.put_nowait(shared.all[0])
        for _ in range(2):
            async with shared.hold(picture(91, 300, 400)) as tensor:
                parameters = tensor._get_tensor().parameters
                assert parameters["shared_memory_region"].string_param == shared.all[0].name
                assert parameters["shared_memory_byte_size"].int64_param == 300 * 400 * 3
        await shared.forget()

    asyncio.run(twice())
    assert gpu.calls == ["create", "handle", "write", "write", "destroy"]
    assert told == [(b"b3BhcXVl", 0, 1 << 20), "unregistered"]


def test_without_cuda_the_error_says_what_to_install() -> None:
    try:
        import tritonclient.utils.cuda_shared_memory  # noqa: F401
    except (ImportError, OSError):
        with pytest.raises(Unavailable, match=r"tritonclient\[cuda\]"):
            CudaRegions()


def test_load_engine_takes_an_address_or_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    address = served.server.addresses.grpc
    for engine in (load_engine("triton", checkpoint=address), load_engine("triton", checkpoint=f"grpc://{address}")):
        assert isinstance(engine, TritonEngine)
        engine.close()
    monkeypatch.setenv("SAM3_TRITON_URL", address)
    by_environment = load_engine("triton", threshold=0.25)
    assert isinstance(by_environment, TritonEngine)
    assert (by_environment.address, by_environment.threshold) == (address, 0.25)
    by_environment.close()


def test_where_no_server_is_the_error_says_how_to_start_one() -> None:
    with pytest.raises(Unavailable, match="sam3-agent triton up"):
        load_engine("triton", checkpoint="127.0.0.1:9")


def test_bad_prompts_and_pictures_are_refused(engine: TritonEngine) -> None:
    [embedding] = engine.encode([picture(60)])
    for prompt, says in [
        (Prompt(" "), "phrase or at least one box"),
        (Prompt("hen", BOX + 500), "outside"),
        (Prompt("hen", BOX, np.array([1, 0])), "2 box labels for 1 boxes"),
    ]:
        with pytest.raises(BadInput, match=says):
            engine.ground([embedding], [prompt])
    with pytest.raises(BadInput, match="in pairs"):
        engine.ground([embedding], PROMPTS)
    for bad, says in [
        (np.zeros((8, 8, 3), np.float32), "expected uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
    ]:
        with pytest.raises(BadInput, match=says):
            engine.encode([bad])


def test_long_phrases_clipped_boxes_and_full_slots_are_said(served: Served) -> None:
    engine = TritonEngine(served.server.addresses.grpc, threshold=0.0)
    [embedding] = engine.encode([picture(62)])
    long, clipped = engine.ground([embedding] * 2, [Prompt("hen " * 40), Prompt("hen", BOX - [[200, 0, 0, 0]])])
    assert any("cut to 30" in line for line in long.warnings)
    assert any("clipped" in line for line in clipped.warnings)
    assert any("object slots are used" in line for line in clipped.warnings)
    engine.close()


def test_a_picture_that_the_server_has_forgotten_is_sent_again(engine: TritonEngine, reference: OnnxEngine) -> None:
    image = picture(61)
    [embedding] = engine.encode([image])
    embedding.key = "0" * 32  # as if it had made room for others
    [found] = engine.ground([embedding], [Prompt("hen")])
    assert_same(found, reference.ground(reference.encode([image]), [Prompt("hen")])[0])


def test_only_unavailable_is_tried_again(served: Served) -> None:
    connection = Connection(served.server.addresses.grpc)
    with pytest.raises(BadInput):
        connection.run(connection.infer("sam3", {"image": np.zeros((1, 4, 4), np.uint8)}, ["boxes"], deadline=5))
    assert connection.retries == 0
    connection.close()

    away = Connection("127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ServerAway, match="Try again later"):
        away.run(away.infer("sam3", {"image": picture(1)[None]}, ["boxes"], deadline=1.0))
    assert 3 <= away.retries <= 12, "a few, ever farther apart"
    assert time.monotonic() - start < 1.5
    away.close()


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("never", ServerAway),  # the pause before it outlasts the deadline, as on a busy machine
        ("DEADLINE_EXCEEDED", DeadlineMissed),  # the server was there again, and too slow
        ("CANCELLED", DeadlineMissed),
    ],
)
def test_what_was_amiss_when_the_deadline_came_is_told(second: str, told: type[Unavailable]) -> None:
    from tritonclient.utils import InferenceServerException

    asked: list[float] = []

    class Scripted:
        async def infer(self, *_: object, client_timeout: float, **__: object) -> None:
            asked.append(client_timeout)
            if len(asked) == 1:
                if second == "never":
                    asyncio.get_running_loop().call_later(0.01, time.sleep, 2.0)
                raise InferenceServerException("Connection refused", "StatusCode.UNAVAILABLE")
            raise InferenceServerException(second, f"StatusCode.{second}")

        async def close(self) -> None:
            pass

    connection = Connection("127.0.0.1:9")
    connection.run(connection.client.close())
    connection.client = Scripted()
    with pytest.raises(Unavailable) as caught:
        connection.run(connection.infer("sam3", {"image": picture(1)[None]}, ["boxes"], deadline=1.5))
    connection.close()
    assert type(caught.value) is told and len(asked) == (1 if second == "never" else 2)


def test_a_deadline_is_kept_while_the_server_is_busy(served: Served) -> None:
    engine = TritonEngine(served.server.addresses.grpc, deadline=0.002)
    start = time.monotonic()
    with pytest.raises(DeadlineMissed, match=r"within 0\.002 s"):
        engine.encode([picture(62, 1000, 1000)])
    assert time.monotonic() - start < 2
    engine.close()


def test_async_callers_share_the_connection(engine: TritonEngine, reference: OnnxEngine) -> None:
    images = [picture(70 + at) for at in range(6)]

    async def one(at: int) -> None:
        held = await engine.aencode([images[at]])
        [found] = await engine.aground(held, [Prompt("hen")])
        assert_same(found, reference.ground(reference.encode([images[at]]), [Prompt("hen")])[0])

    async def everybody() -> None:
        await asyncio.gather(*(one(at) for at in range(6)))

    asyncio.run(everybody())


def test_a_hundred_phrases_on_one_picture(engine: TritonEngine, reference: OnnxEngine) -> None:
    image = picture(80)
    prompts = [Prompt(f"thing {at}") for at in range(100)]  # more than one request holds
    found = engine.ground(engine.encode([image]) * 100, prompts)
    assert len(found) == 100
    assert_same(found[99], reference.ground(reference.encode([image]), [prompts[99]])[0])


def test_close_twice(served: Served) -> None:
    engine = TritonEngine(served.server.addresses.grpc)
    engine.close()
    engine.close()
