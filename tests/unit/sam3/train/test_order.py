"""The data order is a function of seed and batch number, whatever happened before."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam3.errors import BadInput
from sam3.files import write_json
from sam3.tokenizer import Tokenizer, build_tokenizer_file
from sam3.train.augment import AugmentConfig
from sam3.train.data import OrderedBatches, PairSet, load_pairs


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> OrderedBatches:
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for at in range(7):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(folder / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "text_input": "hen", "height": 40, "width": 60})
        if at % 2:
            polygon = [10, 10, 30, 10, 30, 30, 10, 30]
            annotations.append({"id": at, "image_id": at, "iscrowd": 0, "segmentation": [polygon]})
    write_json(folder / "pairs.json", {"images": images, "annotations": annotations})
    build_tokenizer_file(folder / "tokenizer.json")
    pairs = PairSet(load_pairs(folder / "pairs.json", folder), 32, 16, AugmentConfig(), seed=3)
    return OrderedBatches(pairs, Tokenizer.load(folder), batch_size=3, seed=3)


def test_an_epoch_sees_every_pair_once(batches: OrderedBatches) -> None:
    first = [batches.indexes(number) for number in range(batches.per_epoch)]
    assert sorted(int(at) for _, rows in first for at in rows) == list(range(7))
    assert {epoch for epoch, _ in first} == {0} and batches.indexes(batches.per_epoch)[0] == 1


def test_a_resumed_run_sees_the_same_pixels(batches: OrderedBatches) -> None:
    whole = list(islice(iter(batches), 6))
    resumed = OrderedBatches(batches.pairs, batches.tokenizer, 3, 3, start=4)
    for expected, got in zip(whole[4:], islice(iter(resumed), 2), strict=True):
        assert expected.pair_ids == got.pair_ids
        np.testing.assert_array_equal(expected.pixels.numpy(), got.pixels.numpy())


@pytest.mark.parametrize("world", [2, 3, 4])
def test_on_any_number_of_processes_the_batches_are_the_same_pairs_and_pixels(
    batches: OrderedBatches, world: int
) -> None:
    """The last batch of an epoch is short: a process may get none of it, and then one that weighs nothing."""
    alone = list(islice(iter(batches), 7))
    shared = [
        OrderedBatches(batches.pairs, batches.tokenizer, 3, 3, start=2, rank=rank, world=world) for rank in range(world)
    ]
    for whole, parts in zip(alone[2:], zip(*(islice(iter(one), 5) for one in shared), strict=True), strict=True):
        counted = [part for part in parts if part.weight]
        rows = {part.pair_ids[at]: part.pixels[at] for part in counted for at in range(len(part.pair_ids))}
        assert sorted(rows) == sorted(whole.pair_ids) and sum(len(part.pair_ids) for part in counted) == len(rows)
        assert {part.number for part in parts} == {whole.number}
        for at, number in enumerate(whole.pair_ids):
            np.testing.assert_array_equal(rows[number].numpy(), whole.pixels[at].numpy())
        assert all(not len(boxes) for part in parts if not part.weight for boxes in part.boxes)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_of_a_loader_stay_and_keep_the_order(batches: OrderedBatches, workers: int) -> None:
    from sam3.train.loaders import training_loader

    loader = training_loader(batches, workers, gpu=False)
    assert loader.persistent_workers and loader.num_workers == workers
    expected = [batch.pair_ids for batch in islice(iter(batches), 6)]
    assert [batch.pair_ids for batch in islice(iter(loader), 6)] == expected


def test_where_a_gpu_waits_batches_are_page_locked_and_copied_without_waiting(
    batches: OrderedBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam3.train.loaders import training_loader
    from sam3.train.module import DetectorModule
    from sam3.train.targets import PairBatch

    assert training_loader(batches, 0, gpu=True).pin_memory and not training_loader(batches, 0, gpu=False).pin_memory
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        PairBatch, "to", lambda self, device, non_blocking=False: asked.append((device.type, non_blocking))
    )
    batch = next(iter(batches))
    for kind in ("cuda", "cpu"):
        DetectorModule.transfer_batch_to_device(None, batch, torch.device(kind), 0)  # type: ignore[arg-type]
    assert asked == [("cuda", True), ("cpu", False)]


def test_another_seed_is_another_order(batches: OrderedBatches) -> None:
    other = OrderedBatches(batches.pairs, batches.tokenizer, 3, seed=4)
    assert [batches.indexes(n)[1].tolist() for n in range(3)] != [other.indexes(n)[1].tolist() for n in range(3)]


def test_polygons_become_masks_and_tight_boxes(batches: OrderedBatches) -> None:
    plain = PairSet(batches.pairs.pairs, 32, 16, None, seed=0)
    item = plain.item(1)
    np.testing.assert_allclose(item["boxes"].numpy(), [[10 / 60, 0.25, 0.5, 0.75]], atol=0.02)
    assert item["masks"].shape == (1, 16, 16) and plain.item(0)["masks"].shape == (0, 16, 16)


def test_a_missing_picture_and_a_wrong_file_are_named(tmp_path: Path) -> None:
    row = {"id": 5, "file_name": "gone.png", "text_input": "hen", "height": 4, "width": 4}
    write_json(tmp_path / "a.json", {"images": [row], "annotations": []})
    with pytest.raises(BadInput, match=r"image 5: .*gone.png does not exist"):
        load_pairs(tmp_path / "a.json", tmp_path)
    write_json(tmp_path / "b.json", {"pictures": []})
    with pytest.raises(BadInput, match="not a SA-Co file"):
        load_pairs(tmp_path / "b.json", tmp_path)
