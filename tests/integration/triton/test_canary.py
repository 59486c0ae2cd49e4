"""A version tried on a real server with a share of the traffic: promoted, sent back, and no request lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from triton_asking import Served, picture

from sam3.engines.triton_engine import TritonEngine
from sam3.triton.canary import unit_of
from sam3.types import Prompt
from sam3_agent.execution.media import Picture
from sam3_agent.execution.seeing import version_for
from sam3_agent.loop_settings import CanaryLimits, load_loop
from sam3_agent.serving.canary import deploy_watched, end, start
from sam3_agent.serving.control import Control
from sam3_agent.serving.deploy import put_back
from sam3_agent.serving.live import Deployment
from sam3_agent.serving.package import write_package
from sam3_agent.serving.readings import Verdict, read_metrics
from sam3_agent.serving.settings import ServingSettings

NOWHERE = Path("no-such-folder")
HEN = Prompt("hen")
pytestmark = pytest.mark.slow


@pytest.fixture
def engine(site: Served) -> Iterator[TritonEngine]:
    made = TritonEngine(site.server.addresses.grpc, threshold=0.0)
    made.routes.every = 0.2
    yield made
    made.close()


@pytest.fixture
def limits(repo_root: Path) -> CanaryLimits:
    chosen = {"share": 0.5, "seconds": 20.0, "every": 0.3, "min_requests": 20, "max_latency_ratio": 50.0}
    return load_loop(repo_root / "configs/loop.yaml").canary.model_copy(update=chosen)


class Visitors:
    """Somebody who goes on asking through the engine, a new picture each time."""

    def __init__(self, engine: TritonEngine) -> None:
        self.versions: Counter[str] = Counter()
        self.errors: list[str] = []
        self._engine, self._stop = engine, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        seed = 50_000
        while not self._stop.is_set():
            seed += 1
            try:
                image = picture(seed)
                self.versions[self._engine.version_for(image)] += 1
                self._engine.ground(self._engine.encode([image]), [HEN])
            except Exception as error:
                self.errors.append(str(error))


def answered(site: Served, model: str, version: int) -> float:
    return read_metrics(site.server.addresses.metrics).of(model, version).pairs


def settled(site: Served, model: str, version: int) -> float:
    """What is counted once the server's counters, which come a moment late, have stopped moving."""
    last = -1.0
    while (now := answered(site, model, version)) != last:
        last = now
        time.sleep(1.0)
    return last


def soon(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it becomes true in a while; other work on the machine may make it late."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_pictures_have_sides_replies_say_which_and_the_trial_ends_either_way(
    site: Served, control: Control, engine: TritonEngine
) -> None:
    [one] = [f"version 1 ({engine.routes.sides.stable.weights[:12]})"] if engine.sha256 else [""]  # type: ignore[union-attr]
    assert engine.sha256 == one

    assert start(control, site.live, site.packages / "2", 0.5, NOWHERE) == Deployment(1, None, 2, 0.5)
    assert start(control, site.live, site.packages / "2", 0.5, NOWHERE).canary == 2  # again: nothing new is proven
    assert soon(lambda: " + 0.5 of version 2" in engine.sha256)
    images = [picture(seed) for seed in range(40)]
    sides = [engine.routes.sides.of(unit_of(image)) for image in images]
    before = settled(site, "sam3_candidate", 2)
    engine.ground(engine.encode(images), [HEN] * len(images))
    tried = sum(side is not None and side.version == 2 for side in sides)
    assert 5 < tried < 35
    assert soon(lambda: answered(site, "sam3_candidate", 2) - before == tried), "the server counts a moment later"
    said = version_for(engine, [Picture.of(images[0])])
    assert said.startswith("triton version 2" if sides[0] and sides[0].version == 2 else "triton version 1")

    held = engine.encode(images)  # some of them on a side that is about to go
    assert put_back(control, site.live) == Deployment(1, refused=2)  # a rollback of what is only tried
    assert len(engine.ground(held, [HEN] * len(held))) == len(images)
    assert soon(lambda: engine.sha256 == one)


def test_a_watched_version_that_is_no_worse_takes_everything(
    site: Served, control: Control, engine: TritonEngine, limits: CanaryLimits
) -> None:
    told: list[Verdict] = []
    brief = limits.model_copy(update={"seconds": 4.0})
    with Visitors(engine) as visitors:
        ended = deploy_watched(
            control, site.live, site.packages / "2", brief, site.server.addresses.metrics, NOWHERE, told.append
        )
    assert visitors.errors == []
    assert (ended.verdict.state, ended.deployment) == ("fine", Deployment(2, 1)), f"{ended} {visitors.versions} {told}"
    assert len(visitors.versions) == 2 and len(told) > 3
    threading.Event().wait(0.3)
    assert engine.sha256.startswith("version 2 (") and "+" not in engine.sha256  # the agent reports the new version


def test_a_version_that_sees_the_concept_elsewhere_goes_back_by_itself(
    site: Served, control: Control, engine: TritonEngine, limits: CanaryLimits, settings: ServingSettings, other: Path
) -> None:
    package = write_package(other, site.packages, "python", settings, source="other weights")
    before = site.live.deployment()
    with Visitors(engine) as visitors:
        ended = deploy_watched(control, site.live, package, limits, site.server.addresses.metrics, NOWHERE)
    assert visitors.errors == []
    assert ended.verdict.state == "back" and "it has drifted" in str(ended)
    assert (ended.deployment.current, ended.deployment.canary) == (before.current, None)
    assert not [name for name in control.versions() if control.serving(name) and "candidate" in name]
    assert not (site.live.folder / "sam3" / package.name).exists()
    assert end(control, site.live).canary is None  # nothing left to end


@pytest.fixture(scope="module")
def other(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graphs but for the presence, which is never below 0.98."""
    import json
    import shutil

    import onnx
    from onnx import helper

    place = tmp_path_factory.mktemp("other") / "graphs"
    shutil.copytree(graphs, place)
    model = onnx.load(str(place / "decoder.onnx"))
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["presence_before" if name == "presence" else name for name in node.output]
    for name, value in (("little", -0.02), ("one", 1.0)):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
    graph.node.append(helper.make_node("Mul", ["presence_before", "little"], ["presence_between"]))
    graph.node.append(helper.make_node("Add", ["presence_between", "one"], ["presence"]))
    onnx.save(model, str(place / "decoder.onnx"))
    record = json.loads((place / "export.json").read_text())
    (place / "export.json").write_text(json.dumps(record | {"sha256": "0" * 64}))
    return place
