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
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from triton_asking import Served, picture, question

from sam3.engines.triton_engine import TritonEngine
from sam3.errors import BadConfig, Unavailable
from sam3.triton.client import Connection, DeadlineMissed, ServerAway
from sam3.types import Prompt
from sam3_agent.serving.control import Control
from sam3_agent.serving.server import Addresses, TritonServer, server_flags


@pytest.fixture(scope="module")
def fragile(serve: Callable[..., Served]) -> Served:
    """A server of its own with a short queue, to be ill-treated."""
    return serve(limit=8, timeout_ms=1500)


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
    assert set(refused) == {"StatusCode.UNAVAILABLE"}
    assert len(accepted) >= 8
    assert np.percentile(accepted, 95) < 2.5, "the queue is short, so nobody accepted waits for long"
    engine = TritonEngine(fragile.server.addresses.grpc)  # tries again, so it gets through all the same
    found = engine.ground(engine.encode([image[0] for image in images[:60]]), [Prompt("hen")] * 60)
    assert len(found) == 60
    engine.close()


def test_http_says_503_when_the_queue_is_full(fragile: Served) -> None:
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

    stopped = model_process(fragile, "sam3_decoder")
    stopped.suspend()  # so that the queue fills for certain
    threads = [threading.Thread(target=post, args=(at,)) for at in range(60)]
    for thread in threads:
        thread.start()
    time.sleep(0.6)  # after a second the server would take the process for dead, and start another
    stopped.resume()
    for thread in threads:
        thread.join()
    assert set(codes) == {200, 503}


def test_a_hung_model_meets_the_deadline_and_is_forgiven(fragile: Served) -> None:
    engine = TritonEngine(fragile.server.addresses.grpc, deadline=1.0)
    hung = model_process(fragile, "sam3_image_encoder")
    hung.suspend()
    start = time.monotonic()
    try:
        with pytest.raises((DeadlineMissed, ServerAway), match="Try again"):
            engine.encode([picture(2000)])
        assert time.monotonic() - start < 1.6
    finally:
        with suppress(psutil.NoSuchProcess):  # the server may have taken it for dead, and started another
            hung.resume()
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
    process.kill()
    process.wait()
    psutil.wait_procs(stubs, timeout=10)
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
    root = psutil.Process(served.server.process.pid)

    def resident() -> int:
        return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)])

    engine = TritonEngine(served.server.addresses.grpc, at_once=48)
    held: list[int] = []
    for block in range(10):
        images = [picture(10_000 + 500 * block + at, 32, 32 + at % 7) for at in range(250)]
        engine.ground(engine.encode(images), [Prompt(f"thing {at % 50}") for at in range(250)])  # 500 requests
        held.append(resident())
    engine.close()
    served.server.stop()
    assert held[-1] < 1.05 * held[3], f"nothing grows once caches are full: {[size >> 20 for size in held]} MiB"


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
