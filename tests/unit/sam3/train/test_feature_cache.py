"""A view is encoded once; what is stored trains as the picture itself would."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_pairs import make_pairs
from safetensors import SafetensorError

from sam3.detector import Sam3Detector
from sam3.errors import BadConfig, BadInput
from sam3.tokenizer import Tokenizer, build_tokenizer_file
from sam3.train.augment import AugmentConfig
from sam3.train.cache_config import CacheConfig
from sam3.train.data import OrderedBatches, PairSet, load_pairs
from sam3.train.feature_cache import FeatureCache
from sam3.train.feature_shards import FeatureStore, pack
from sam3.train.frozen import BACKBONE, ENCODER, frozen_part, weights_sha256
from sam3.train.loss_config import LossConfig
from sam3.train.losses import detection_loss
from sam3.train.module import DetectorModule, OptimizerConfig

COUNT = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    make_pairs(folder, COUNT)
    build_tokenizer_file(folder / "tokenizer.json")
    return folder


def pair_set(place: Path, views: int = 2, augment: AugmentConfig | None = None) -> PairSet:
    pairs = load_pairs(place / "pairs.json", place)
    return PairSet(pairs, 64, 32, augment or AugmentConfig(), seed=3, views=views)


def filled(place: Path, root: Path, model: Sam3Detector, part: str = BACKBONE, **settings: object) -> FeatureCache:
    config = CacheConfig(enabled=True, root=str(root), batch=4, **settings)  # type: ignore[arg-type]
    cache = FeatureCache(config, model, part, "32-true", 64)
    cache.fill(pair_set(place), show=False)
    return cache


def losses(model: Sam3Detector, batches: OrderedBatches, count: int = 4) -> list[float]:
    module = DetectorModule(model, LossConfig(), OptimizerConfig(), 1, (ENCODER,)).train()
    out = []
    for _, batch in zip(range(count), batches, strict=False):
        out.append(float(detection_loss(model, module(batch), batch, LossConfig())[0]))
    return out


def both(place: Path, model: Sam3Detector, cache: FeatureCache) -> tuple[list[float], list[float]]:
    """Losses of four batches from pixels and from the cache."""
    pairs, tokenizer = pair_set(place), Tokenizer.load(place)
    return (
        losses(model, OrderedBatches(pairs, tokenizer, 4, 3)),
        losses(model, OrderedBatches(cache.items(pairs), tokenizer, 4, 3)),
    )


@pytest.mark.parametrize("part", [BACKBONE, ENCODER])
@pytest.mark.parametrize(("store", "within"), [("fp32", 1e-4), ("bf16", 0.02), ("fp8", 0.05)])
def test_losses_from_the_cache_are_those_from_pixels(
    place: Path, tmp_path: Path, model: Sam3Detector, part: str, store: str, within: float
) -> None:
    pixels, stored = both(place, model, filled(place, tmp_path, model, part, store=store))
    np.testing.assert_allclose(stored, pixels, rtol=within)


def test_a_view_is_encoded_once(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    config, pairs = CacheConfig(enabled=True, root=str(tmp_path)), pair_set(place)
    first = FeatureCache(config, model, BACKBONE, "32-true", 64).fill(pairs, show=False)
    again = FeatureCache(config, model, BACKBONE, "32-true", 64).fill(pairs, show=False)
    assert (first["encoded"], again["encoded"]) == (2 * COUNT, 0) and again["held"] == first["views"] == 2 * COUNT


def test_views_repeat_and_differ(place: Path) -> None:
    pairs = pair_set(place)
    first, second, third = (pairs.item(1, epoch)["pixels"] for epoch in range(3))
    assert torch.equal(first, third) and not torch.equal(first, second)


def test_other_weights_pictures_or_outlines_are_not_found(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    cache = filled(place, tmp_path, model)
    pairs = pair_set(place)
    seen, drawn = cache.items(pairs).keys(pairs, 1, 0)
    assert seen in cache.store and drawn in cache.store
    pairs.pairs[1] = replace(pairs.pairs[1], segmentations=[[[1, 1, 20, 1, 20, 20]]])
    assert cache.items(pairs).keys(pairs, 1, 0)[0] == seen and cache.items(pairs).keys(pairs, 1, 0)[1] != drawn
    stronger = pair_set(place, augment=AugmentConfig(hue=20.0))
    assert cache.items(stronger).keys(stronger, 1, 0)[0] != seen
    before = weights_sha256(model, BACKBONE)
    with torch.no_grad():
        next(model.vision_encoder.backbone.parameters()).add_(1e-3)
    assert weights_sha256(model, BACKBONE) != before


def test_a_damaged_shard_is_made_again(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    cache = filled(place, tmp_path, model, shard_mb=0.02)
    shard = sorted(cache.folder.glob("shard-*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-7] ^= 1  # one bit of a feature, which a length would not show
    shard.write_bytes(content)
    (cache.folder / "shard-r0-99999.json").write_text('{"keys": {"a": 1}, "by')  # killed while writing
    again = FeatureCache(cache.config, model, BACKBONE, "32-true", 64)
    assert set(again.store.dropped) == {shard.name, "shard-r0-99999.safetensors"}
    assert 0 < again.fill(pair_set(place), show=False)["encoded"] < 2 * COUNT
    pixels, stored = both(place, model, again)
    np.testing.assert_allclose(stored, pixels, rtol=1e-4)


def test_what_the_budget_has_no_room_for_is_encoded_in_the_step(
    place: Path, tmp_path: Path, model: Sam3Detector
) -> None:
    whole = filled(place, tmp_path / "all", model).store.nbytes
    cache = filled(place, tmp_path / "half", model, budget_gb=whole / 2 / 1e9)
    assert 0 < cache.store.nbytes <= whole / 2
    pixels, stored = both(place, model, cache)
    np.testing.assert_allclose(stored, pixels, rtol=1e-4)


def test_caches_of_other_weights_make_way_unless_they_are_in_use(
    place: Path, tmp_path: Path, model: Sam3Detector
) -> None:
    old = filled(place, tmp_path, model)
    with torch.no_grad():
        next(model.vision_encoder.backbone.parameters()).add_(1e-3)
    budget = 1.2 * old.store.nbytes / 1e9
    assert filled(place, tmp_path, model, budget_gb=budget).folder != old.folder and old.folder.exists()
    with torch.no_grad():
        next(model.vision_encoder.backbone.parameters()).add_(1e-3)
    os.utime(old.folder, (time.time() - 7200,) * 2)
    filled(place, tmp_path, model, budget_gb=budget)
    assert not old.folder.exists()


def test_fp8_keeps_small_channels(tmp_path: Path) -> None:
    values = torch.randn(50, 3) * torch.tensor([1e-3, 1.0, 300.0])
    store = FeatureStore(tmp_path)
    store.write("a", {"k": [pack(values, "fp8", channel=1)]})
    [back] = store.read("k")
    error = (back.float() - values).abs().amax(0) / values.abs().amax(0)
    assert float(error.max()) < 0.05


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(flat: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    store = FeatureStore(tmp_path)
    with pytest.raises(BadInput, match=r"cannot be written .*No space left .*cache\.budget_gb"):
        store.write("a", {"k": [pack(torch.ones(2, 3), "fp32")]})
    assert "k" not in store and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "says"), [({"store": "int4"}, "cache.store=int4"), ({"budget_gb": 0.0}, "cache.budget_gb=0")]
)
def test_values_that_cannot_be_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        CacheConfig(**settings).check()  # type: ignore[arg-type]


def test_an_image_encoder_that_learns_cannot_be_stored() -> None:
    assert frozen_part(("vision_encoder", "vision_encoder.backbone")) == ENCODER
    with pytest.raises(BadConfig, match=r"add vision_encoder or vision_encoder.backbone"):
        frozen_part(("text_encoder",))


def test_a_run_that_shares_the_cache_waits_and_encodes_nothing_twice(
    place: Path, tmp_path: Path, model: Sam3Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elements of a sweep begin at once: another process is filling the cache when this one comes."""
    done = filled(place, tmp_path / "other", model).folder
    cache = FeatureCache(CacheConfig(root=str(tmp_path / "shared")), model, BACKBONE, "32-true", 64)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(cache.folder / ".fill-0")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        rows: list[dict[str, object]] = []
        filling = threading.Thread(target=lambda: rows.append(cache.fill(pair_set(place), show=False)))
        filling.start()
        said, deadline = "", time.monotonic() + 20
        while time.monotonic() < deadline and "another run is filling it" not in said:
            said += capsys.readouterr().out
            time.sleep(0.02)
        assert filling.is_alive() and not list(cache.folder.glob("shard-*"))
        for file in sorted(done.glob("shard-*"), reverse=True):  # the index last
            (cache.folder / file.name).write_bytes(file.read_bytes())
        other.communicate(b"\n")
    filling.join(20)
    assert rows[0]["encoded"] == 0 and rows[0]["held"] == 2 * COUNT


def test_what_a_killed_process_had_begun_is_removed(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    cache = filled(place, tmp_path, model)
    held = set(cache.folder.iterdir())
    left = ["shard-r0-ab.safetensors", ".shard-r0-cd.safetensors.77", ".shard-r0-ef.json.x1", "shard-r5-ab.safetensors"]
    for name in left:
        (cache.folder / name).write_bytes(b"half")
    again = FeatureCache(cache.config, model, BACKBONE, "32-true", 64)
    assert again.fill(pair_set(place), show=False)["encoded"] == 0
    assert not [name for name in left if (cache.folder / name).exists()] and held <= set(cache.folder.iterdir())


def test_processes_share_the_views_whatever_the_others_have_written(
    place: Path, tmp_path: Path, model: Sam3Detector
) -> None:
    config, pairs = CacheConfig(root=str(tmp_path), batch=1, shard_mb=0.01), pair_set(place)
    both = [FeatureCache(config, model, BACKBONE, "32-true", 64, rank=rank, world=2) for rank in range(2)]
    encoded = [cache.fill(pairs, show=False)["encoded"] for cache in both]  # the second begins after the first
    assert sum(encoded) == 2 * COUNT and min(encoded) > 0
    assert FeatureCache(config, model, BACKBONE, "32-true", 64).fill(pairs, show=False)["held"] == 2 * COUNT


def test_two_caches_together_stay_within_the_budget(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    """The other one grows while this one is filled."""
    whole = sum(file.stat().st_size for file in filled(place, tmp_path / "all", model, shard_mb=0.02).folder.iterdir())
    budget = 1.5 * whole
    config = CacheConfig(root=str(tmp_path / "two"), budget_gb=budget / 1e9, shard_mb=0.02, batch=1)
    cache = FeatureCache(config, model, BACKBONE, "32-true", 64)
    flush = cache._flush

    def flush_and_grow(content: object) -> None:
        flush(content)  # type: ignore[arg-type]
        other = tmp_path / "two/other"
        other.mkdir(exist_ok=True)
        (other / "cache.json").write_text("{}")
        (other / "shard-r0-aa.json").write_bytes(b"x" * whole)

    cache._flush = flush_and_grow  # type: ignore[method-assign]
    cache.fill(pair_set(place), show=False)
    taken = sum(file.stat().st_size for file in (tmp_path / "two").rglob("*") if file.is_file())
    assert whole < taken <= budget + 0.1 * whole


def test_a_shard_cut_short_while_it_is_used_is_one_line(place: Path, tmp_path: Path, model: Sam3Detector) -> None:
    cache = filled(place, tmp_path, model)
    for shard in cache.folder.glob("shard-*.safetensors"):
        shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(BadInput, match=r"gone or damaged while it was in use .* made anew"):
        cache.items(pair_set(place)).item(0)


def test_a_frozen_encoder_may_be_cut_behind_its_backbone() -> None:
    assert frozen_part((ENCODER,), "backbone") == BACKBONE and frozen_part((ENCODER,), "encoder") == ENCODER
    with pytest.raises(BadConfig, match=r"cache\.cut=encoder needs vision_encoder in model\.frozen"):
        frozen_part((BACKBONE,), "encoder")
    with pytest.raises(BadConfig, match=r"cache\.cut=neck"):
        CacheConfig(cut="neck").check()
