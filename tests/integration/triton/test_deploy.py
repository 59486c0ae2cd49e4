"""Deploy and roll back a running server: proven first, complete or not at all, and no request lost."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpc
from PIL import Image
from triton_asking import Served, ask, picture, question

from sam3.errors import BadCheckpoint, BadInput, Unavailable
from sam3.triton.manifest import files_of, write_manifest
from sam3_agent.serving import deploy as deploying
from sam3_agent.serving.control import Control
from sam3_agent.serving.deploy import put_back, put_live
from sam3_agent.serving.gate import smoke_pictures
from sam3_agent.serving.live import Deployment
from sam3_agent.serving.package import write_package
from sam3_agent.serving.settings import ServingSettings

NOWHERE = Path("no-such-folder")  # smoke pictures: the drawn ones only


class Traffic:
    """Clients that never stop asking and never try twice."""

    def __init__(self, site: Served, clients: int = 3) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []
        self._site, self._stop = site, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(at,)) for at in range(clients)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        client = grpc.InferenceServerClient(self._site.server.addresses.grpc)
        wanted = [grpc.InferRequestedOutput("presence")]
        while not self._stop.is_set():
            seed += 1000
            inputs = []
            for name, value in {"image": picture(seed)[None], **question("hen")}.items():
                kind = {"image": "UINT8", "phrases": "BYTES", "threshold": "FP32"}[name]
                inputs.append(grpc.InferInput(name, list(value.shape), kind))
                inputs[-1].set_data_from_numpy(value)
            try:
                self.answers[client.infer("sam3", inputs, outputs=wanted).get_response().model_version] += 1
            except Exception as error:
                self.errors.append(str(error))


def serving(site: Served) -> str:
    client = grpc.InferenceServerClient(site.server.addresses.grpc)
    return str(client.get_model_metadata("sam3", as_json=True)["versions"])


def package(site: Served, number: int) -> Path:
    return site.packages / str(number)


@pytest.fixture
def third(site: Served, settings: ServingSettings) -> Iterator[Path]:
    """A fresh package to spoil."""
    made = write_package(site.graphs, site.packages, "python", settings, source="tiny")
    yield made
    shutil.rmtree(made)


def test_deploy_and_rollback_under_load_lose_no_request(site: Served, control: Control) -> None:
    with Traffic(site) as traffic:
        assert put_live(control, site.live, package(site, 2), NOWHERE) == Deployment(2, 1)
        assert serving(site) == "['2']"
        assert put_back(control, site.live) == Deployment(1)
        assert serving(site) == "['1']"
    assert traffic.errors == []
    assert min(traffic.answers["1"], traffic.answers["2"]) > 0
    assert sum(traffic.answers.values()) > 50
    assert {name for name, states in control.versions().items() if "READY" in states.values()} == {
        *(f"sam3_{part}" for part in ("image_encoder", "text_encoder", "decoder", "fine_levels", "mask_head", "video")),
        "sam3",
    }


def test_from_parts_of_its_own_to_parts_that_are_asked_and_back_no_request_is_lost(
    site: Served, control: Control, settings: ServingSettings
) -> None:
    asking = settings.model_copy(update={"own_parts_mb": 0})
    fresh = write_package(site.graphs, site.packages, "python", asking, source="tiny")
    before = site.live.deployment().current
    with Traffic(site, 2) as traffic:
        assert put_live(control, site.live, fresh, NOWHERE) == Deployment(int(fresh.name), before)
        assert serving(site) == f"['{fresh.name}']"
        assert put_back(control, site.live) == Deployment(before)
    assert traffic.errors == []
    assert traffic.answers[fresh.name] > 0
    site.live.remove(int(fresh.name))
    shutil.rmtree(fresh)


def spoil_code(package: Path, model: str, file: str, old: str, new: str) -> None:
    """Code of one model that answers nonsense, with checksums that are right."""
    code = next(package.glob(f"{model}/*/sam3/triton")) / file
    text = code.read_text()
    assert old in text
    code.write_text(text.replace(old, new))
    write_manifest(code.parent.parent.parent, version=int(package.name), model=model)
    write_manifest(package, version=int(package.name), backend="python")


@pytest.mark.parametrize(
    ("model", "file", "old", "new", "who"),
    [
        ("sam3_decoder", "graph_model.py", "values[k][start:end]", "values[k][start:end] * 0", "the parts"),
        ("sam3_video", "answer.py", "[item.presence for", "[0.5 * item.presence for", "sam3_video"),
    ],
)
def test_a_model_that_the_whole_one_does_not_ask_has_to_pass_the_gate_too(
    site: Served, control: Control, settings: ServingSettings, model: str, file: str, old: str, new: str, who: str
) -> None:
    fresh = write_package(site.graphs, site.packages, "python", settings, source="tiny")
    before = site.live.deployment().current
    spoil_code(fresh, model, file, old, new)
    with pytest.raises(BadCheckpoint, match=f"parity gate: {who} of version {fresh.name}"):
        put_live(control, site.live, fresh, NOWHERE)
    assert site.live.deployment().current == before
    shutil.rmtree(fresh)


def spoil_bytes(folder: Path) -> None:
    path = next(folder.glob("sam3_decoder/*/model.onnx"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def lose_file(folder: Path) -> None:
    next(folder.glob("sam3/*/tokenizer.json")).unlink()


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def add_file(folder: Path) -> None:
    (next(folder.glob("sam3/*/sam3")) / "surprise.py").write_text("print('hello')")


@pytest.mark.parametrize("spoil", [spoil_bytes, lose_file, lose_manifest, add_file])
def test_a_damaged_package_never_gets_near_the_server(
    site: Served, control: Control, third: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(third)
    before = files_of(site.live.folder)
    with pytest.raises(BadCheckpoint, match=r"[Pp]ackage"):
        put_live(control, site.live, third, NOWHERE)
    assert serving(site) == "['1']"
    assert files_of(site.live.folder) == before


def test_a_version_that_is_damaged_in_place_does_not_load(site: Served, control: Control) -> None:
    """Whoever asks for it: the server itself checks, and what serves goes on."""
    version = site.live.install(package(site, 2))
    path = site.live.folder / "sam3_decoder" / str(version) / "model.onnx"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])  # half copied
    site.live.point("sam3_decoder", version)
    with pytest.raises(BadCheckpoint, match="checksum"):
        control.load("sam3_decoder")
    site.live.point("sam3", version)
    with pytest.raises(BadCheckpoint, match="checksum"):
        control.load("sam3")
    assert control.serving("sam3") == [1]
    site.live.activate(1)
    site.live.remove(version)


def test_a_version_that_differs_from_its_graphs_does_not_pass_the_gate(
    site: Served, control: Control, third: Path
) -> None:
    code = next(third.glob("sam3/*/sam3/pixels.py"))
    code.write_text(code.read_text().replace("127.5 - 1.0", "127.5 - 0.8"))  # somebody's idea of normalisation
    for folder in (code.parent.parent, third):
        write_manifest(folder, version=int(third.name), backend="python")
    with pytest.raises(BadCheckpoint, match="parity gate"):
        put_live(control, site.live, third, NOWHERE)
    assert (serving(site), site.live.deployment().current) == ("['1']", 1)
    assert not list(site.live.folder.glob("*_candidate"))
    assert not [name for name in control.versions() if control.serving(name) and "candidate" in name]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "mercy"), [(3, True), (9, False), (11, True), (16, False)])
def test_a_deployment_that_ends_anywhere_is_put_right(
    site: Served, control: Control, monkeypatch: pytest.MonkeyPatch, call: int, mercy: bool
) -> None:
    """Interrupted (mercy) it puts itself right; killed, the next call finds what it left.

    Loads: 7 of the candidate, 2 that move the traffic, and then 7 that follow, through which it goes forward.
    """
    before = site.live.deployment().current
    assert before is not None
    other = 3 - before
    loads = 0
    really = Control.load

    def load(self: Control, model: str) -> None:
        nonlocal loads
        loads += 1
        if loads == call:
            raise KeyboardInterrupt
        really(self, model)

    with Traffic(site, 1) as traffic:
        with monkeypatch.context() as patch:
            patch.setattr(Control, "load", load)
            if not mercy:
                patch.setattr(deploying, "retreat", lambda *_: None)
            with pytest.raises(KeyboardInterrupt):
                put_live(control, site.live, package(site, other), NOWHERE)
        if mercy or call > 9:
            assert serving(site) == f"['{before if call <= 9 else other}']"
        assert put_live(control, site.live, package(site, other), NOWHERE).current == other
    assert traffic.errors == []
    assert serving(site) == f"['{other}']"


def test_only_one_deployment_at_a_time(site: Served, control: Control) -> None:
    with site.live.changing(), pytest.raises(Unavailable, match="under way"):
        put_live(control, site.live, package(site, 2), NOWHERE)


def test_without_a_version_before_there_is_no_rollback(site: Served, control: Control) -> None:
    site.live.record(Deployment(site.live.deployment().current))
    with pytest.raises(BadInput, match="no version before"):
        put_back(control, site.live)


def test_without_a_server_the_error_says_how_to_start_one(site: Served) -> None:
    with pytest.raises(Unavailable, match="sam3-agent triton up"):
        put_live(Control("127.0.0.1:9"), site.live, package(site, 2), NOWHERE)


def test_the_server_answers_throughout(site: Served) -> None:
    client = grpc.InferenceServerClient(site.server.addresses.grpc)
    out: dict[str, Any] = ask(grpc, client, "sam3", {"image": picture(1)[None], **question("hen")}, ["presence"])
    assert out["presence"].shape == (1, 1)


def test_large_smoke_pictures_are_scaled_down(tmp_path: Path) -> None:
    Image.fromarray(picture(1, 900, 1800)).save(tmp_path / "large.png")
    shapes = [image.shape for image in smoke_pictures(tmp_path)]
    assert shapes == [(320, 640, 3), (97, 131, 3), (64, 200, 3)]
