"""What clients see when the server dies, hangs, drowns or works for long; and who may control it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from triton_asking import Served, picture, question

from sam3.engines.triton_engine import TritonEngine
from sam3.errors import BadConfig, Unavailable
from sam3.triton.client import Connection, DeadlineMissed, ServerAway, ServerFull
from sam3.triton.manifest import write_manifest
from sam3.types import Prompt
from sam3_agent.service.errors import response_of, status_of
from sam3_agent.serving.control import Control
from sam3_agent.serving.server import Addresses, TritonServer, server_flags

HANGS = """
Sane = TritonPythonModel


class TritonPythonModel(Sane):
    def execute(self, requests):
        import os, time
        while os.path.exists({flag!r}):
            time.sleep(0.02)
        return super().execute(requests)
"""


@dataclass
class Hang:
    """Models that hang in the middle of their work while a file is there.

    To stop their processes would do the same, but for once in a while, when one is stopped with a lock of Triton's in
    its hands: the whole server ends then (Triton 2.51).
    """

    folder: Path

    def prepare(self, package: Path) -> None:
        for model in ("sam3_image_encoder", "sam3_decoder"):
            place = package / model / package.name
            with (place / "model.py").open("a") as code:
                code.write(HANGS.format(flag=str(self.folder / model)))
            write_manifest(place, version=int(package.name), model=model)
        write_manifest(package, version=int(package.name), backend="python")

    @contextmanager
    def __call__(self, model: str) -> Iterator[None]:
        (self.folder / model).touch()
        try:
            yield
        finally:
            (self.folder / model).unlink()


@pytest.fixture(scope="module")
def hang(tmp_path_factory: pytest.TempPathFactory) -> Hang:
    return Hang(tmp_path_factory.mktemp("hang"))


@pytest.fixture(scope="module")
def fragile(serve: Callable[..., Served], hang: Hang) -> Served:
    """A server of its own with a short queue, to be ill-treated."""
    return serve(change=hang.prepare, limit=8, timeout_ms=1500)


@pytest.fixture(scope="module")
def slow_parts(serve: Callable[..., Served], hang: Hang) -> Served:
    """The same, but its whole models ask the parts, which can be made to hang, and half a queue fits into a batch."""
    return serve({"own_parts_mb": 0, "batch": 4}, change=hang.prepare, limit=8, timeout_ms=1500, preferred=[4])


@pytest.fixture
def connection(fragile: Served) -> Iterator[Connection]:
    made = Connection(fragile.server.addresses.grpc, at_once=1000)
    yield made
    made.close()


def model_process(served: Served, model: str) -> psutil.Process:
    """The process in which the Python backend runs a model."""
    assert served.server.process is not None
    children = psutil.Process(served.server.process.pid).children(recursive=True)
    return next(child for child in children if any(f"/{model}/" in part for part in child.cmdline()))


def test_a_flood_is_refused_at_once_while_what_is_accepted_is_quick(fragile: Served, connection: Connection) -> None:
    images = [picture(1000 + at)[None] for at in range(300)]

    async def one(image: Any) -> tuple[str, float]:
        start = time.monotonic()
        sent = connection.client
        try:
            import tritonclient.grpc.aio as grpc

            inputs = []
            for name, value in {"image": image, **question("hen")}.items():
                kind = {"image": "UINT8", "phrases": "BYTES", "threshold": "FP32"}[name]
                inputs.append(grpc.InferInput(name, list(value.shape), kind))
                inputs[-1].set_data_from_numpy(value)
            await sent.infer("sam3", inputs, outputs=[grpc.InferRequestedOutput("presence")])
            return "ok", time.monotonic() - start
        except Exception as error:
            return str(error.status()), time.monotonic() - start  # type: ignore[attr-defined]

    async def flood() -> list[tuple[str, float]]:
        return await asyncio.gather(*(one(image) for image in images))

    answers = connection.run(flood())
    accepted = [seconds for status, seconds in answers if status == "ok"]
    refused = [status for status, _ in answers if status != "ok"]
    assert set(refused) == {"StatusCode.UNAVAILABLE"}, "Triton has no 429 of its own"
    assert len(accepted) >= 8
    assert np.percentile(accepted, 95) < 2.5, "the queue is short, so nobody accepted waits for long"
    engine = TritonEngine(fragile.server.addresses.grpc)  # tries again, so it gets through all the same
    found = engine.ground(engine.encode([image[0] for image in images[:60]]), [Prompt("hen")] * 60)
    assert len(found) == 60
    engine.close()


def test_our_client_says_429_of_a_full_queue_and_503_of_a_server_that_is_away(
    connection: Connection, hang: Hang
) -> None:
    async def flood() -> list[Any]:
        images = [picture(5000 + at)[None] for at in range(200)]
        asked = ({"image": image, **question("hen")} for image in images)
        # too little time to try again: what the server says first is what counts
        return await asyncio.gather(
            *(connection.infer("sam3", item, ["presence"], deadline=0.4) for item in asked), return_exceptions=True
        )

    with hang("sam3_decoder"):
        full = [answer for answer in connection.run(flood()) if isinstance(answer, ServerFull)]
    assert full
    assert (status_of(full[0]), full[0].code) == (429, "too_many_requests")
    assert int(response_of(full[0]).headers["retry-after"]) >= 1
    away = Connection("127.0.0.1:9")
    with pytest.raises(ServerAway) as caught:
        away.run(away.infer("sam3", {"image": picture(1)[None]}, ["boxes"], deadline=0.3))
    away.close()
    assert (type(caught.value), status_of(caught.value)) == (ServerAway, 503)


def test_who_comes_first_is_served_first_and_who_waits_too_long_is_refused(slow_parts: Served, hang: Hang) -> None:
    """Priority 1 passes the full queue of priority 2; a place in a queue is held for 1.5 s and no longer."""
    connection = Connection(slow_parts.server.addresses.grpc, at_once=1000)
    urgent = Connection(slow_parts.server.addresses.grpc, priority=1)
    done: list[str] = []
    refused: list[str] = []

    async def one(by: Connection, at: int, name: str) -> None:
        asked = {"image": picture(7000 + at)[None], **question("hen")}
        try:
            await by.infer("sam3", asked, ["presence"], deadline=20, patient=False)
            done.append(name)
        except ServerFull as error:
            refused.append(str(error))

    async def crowd(seed: int) -> None:
        await asyncio.gather(*(one(connection, seed + at, "later") for at in range(60)))

    def start(work: Any, by: Connection) -> Any:
        return asyncio.run_coroutine_threadsafe(work, by._loop)

    connection.run(one(connection, 98, "first"))
    done.clear()
    with hang("sam3_decoder"):
        waiting, end = start(crowd(100), connection), time.monotonic() + 20
        while not any("maximum queue size" in text for text in refused):
            assert time.monotonic() < end
            time.sleep(0.01)
        first = start(one(urgent, 97, "urgent"), urgent)
        time.sleep(0.2)
        assert not first.done(), "accepted, where the others are refused"
    first.result(30)
    waiting.result(30)
    assert done.index("urgent") < len(done) - 1, "came last, was not served last"
    refused.clear()
    with hang("sam3_decoder"):
        late = start(crowd(200), connection)
        time.sleep(2.5)
    late.result(30)
    assert any("timeout expired" in text for text in refused)
    urgent.close()
    connection.close()


def test_http_says_503_when_the_queue_is_full(fragile: Served, hang: Hang) -> None:
    codes: list[int] = []
    body = (
        b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,64,64,3],"data":['
        + b",".join(b"%d" % (at % 251) for at in range(64 * 64 * 3))
        + b']},{"name":"phrases","datatype":"BYTES","shape":[1,1],"data":["%d"]}]}'
    )

    def post(at: int) -> None:
        url = f"http://{fragile.server.addresses.http}/v2/models/sam3/infer"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=body % at), timeout=30) as reply:
                codes.append(reply.status)
        except urllib.error.HTTPError as error:
            codes.append(error.code)

    end = time.monotonic() + 20
    while 200 not in codes:  # what earlier tests left in the queue is done when this is answered
        assert time.monotonic() < end
        post(999)
    codes[:] = [200]
    threads = [threading.Thread(target=post, args=(at,)) for at in range(60)]
    end = time.monotonic() + 20
    with hang("sam3_decoder"):  # so that the queue fills for certain
        for thread in threads:
            thread.start()
        while 503 not in codes and time.monotonic() < end:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert set(codes) == {200, 503}


def test_a_hung_model_meets_the_deadline_and_is_forgiven(slow_parts: Served, hang: Hang) -> None:
    engine = TritonEngine(slow_parts.server.addresses.grpc, deadline=1.0)
    with hang("sam3_image_encoder"):
        start = time.monotonic()
        with pytest.raises((DeadlineMissed, ServerAway), match="Try again"):
            engine.encode([picture(2000)])
        assert time.monotonic() - start < 1.6
    engine.deadline = 20.0
    assert len(engine.encode([picture(2001)])) == 1
    engine.close()


def test_a_model_process_that_dies_comes_back(fragile: Served) -> None:
    engine = TritonEngine(fragile.server.addresses.grpc, deadline=10.0)
    model_process(fragile, "sam3_image_encoder").kill()
    end = time.monotonic() + 20
    while True:
        fragile.server.heal()  # as `triton up` does every other second
        try:
            engine.encode([picture(3000 + int(time.monotonic()))])
            break
        except Unavailable:
            assert time.monotonic() < end, "it did not come back"
            time.sleep(0.2)
    engine.close()


def test_the_server_is_killed_under_load_and_clients_recover(fragile: Served) -> None:
    engine = TritonEngine(fragile.server.addresses.grpc, deadline=3.0)
    told: list[BaseException] = []
    answered, stop = [0], threading.Event()

    def client(seed: int) -> None:
        while not stop.is_set():
            seed += 100
            try:
                engine.ground(engine.encode([picture(seed, 200, 300)]), [Prompt("hen")])
                answered[0] += 1
            except Exception as error:
                told.append(error)

    threads = [threading.Thread(target=client, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    process = fragile.server.process
    assert process is not None
    stubs = psutil.Process(process.pid).children(recursive=True)
    stubs[0].suspend()  # it will not notice
    process.kill()
    process.wait()
    fragile.server.stop()
    assert not psutil.wait_procs(stubs, timeout=10)[1], "a model's process outlives its server"
    time.sleep(4)
    before = answered[0]
    fragile.server.start(60)
    time.sleep(4)
    stop.set()
    for thread in threads:
        thread.join()
    assert told, "three seconds of trying are not enough without a server"
    assert {type(error) for error in told} <= {ServerAway, DeadlineMissed}
    assert all(error.retryable for error in told)  # type: ignore[attr-defined]
    assert answered[0] > before, "the same engine, connection and shared memory go on"
    engine.close()


@pytest.mark.slow
def test_five_thousand_requests_leave_memory_flat(serve: Callable[..., Served]) -> None:
    served = serve({"image_cache_mb": 4, "response_cache_mb": 1, "text_cache_mb": 1})  # full within the first block
    assert served.server.process is not None
    root, client = psutil.Process(served.server.process.pid), psutil.Process()

    def resident() -> tuple[int, int]:
        everybody = [root, *root.children(recursive=True)]
        return sum(process.memory_info().rss for process in everybody), client.memory_info().rss

    engine = TritonEngine(served.server.addresses.grpc, at_once=48)
    held: list[tuple[int, int]] = []
    for block in range(10):
        images = [picture(10_000 + 500 * block + at, 32, 32 + at % 7) for at in range(250)]
        engine.ground(engine.encode(images), [Prompt(f"thing {at % 50}") for at in range(250)])  # 500 requests
        held.append(resident())
    engine.close()
    served.server.stop()
    for who, sizes in zip(("server", "client"), zip(*held, strict=True), strict=True):
        assert sizes[-1] < 1.05 * sizes[3], f"{who} grows when caches are full: {[size >> 20 for size in sizes]} MiB"


# -- who may control it


def test_everything_listens_on_loopback_only(served: Served) -> None:
    assert served.server.process is not None
    listening = [c.laddr for c in psutil.Process(served.server.process.pid).net_connections() if c.status == "LISTEN"]
    assert len(listening) >= 3
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_other_addresses_need_a_control_key() -> None:
    with pytest.raises(BadConfig, match="SAM3_TRITON_CONTROL_KEY"):
        server_flags("/models", Addresses(host="0.0.0.0"))
    flags = " ".join(server_flags("/models", Addresses(host="0.0.0.0"), control_key="secret"))
    assert "--http-restricted-api=model-repository,shared-memory" in flags
    assert "--grpc-restricted-protocol=model-repository,shared-memory" in flags


def test_with_a_key_only_its_holder_loads_models_and_everybody_asks(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAM3_TRITON_CONTROL_KEY", raising=False)
    guarded = TritonServer(served.live.folder, Addresses.free(), control_key="a long secret", log=tmp_path / "log")
    guarded.start(60)
    try:
        with pytest.raises(Unavailable, match="SAM3_TRITON_CONTROL_KEY"):
            Control(guarded.addresses.grpc).unload("sam3")
        url = f"http://{guarded.addresses.http}/v2/repository/models/sam3/unload"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=10)
        assert caught.value.code == 403
        engine = TritonEngine(guarded.addresses.grpc)
        assert len(engine.encode([picture(1, 300, 300)])) == 1  # its shared memory is refused: it uses the wire
        engine.close()
        assert Control(guarded.addresses.grpc, "a long secret").serving("sam3") == [1]
    finally:
        guarded.stop()


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        free = Addresses.free()
        with pytest.raises(Unavailable, match=f"port {port} is in use"):
            TritonServer(served.live.folder, Addresses("127.0.0.1", free.http_port, port, free.metrics_port)).start()


def test_a_server_whose_parent_dies_ends(served: Served, tmp_path: Path) -> None:
    """`triton up` killed without mercy leaves nothing behind."""
    import subprocess
    import sys

    ports = Addresses.free()
    code = (
        "import sys, time; from pathlib import Path; from sam3_agent.serving.server import *; "
        f"s = TritonServer(Path({str(served.live.folder)!r}), Addresses('127.0.0.1', {ports.http_port}, {ports.grpc_port}, "
        f"{ports.metrics_port}), log=Path({str(tmp_path / 'log')!r})); s.start(); print(s.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 20
    while psutil.pid_exists(server) and psutil.Process(server).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)
