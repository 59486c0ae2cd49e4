"""The data order is a function of seed and batch number, whatever happened before."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
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
