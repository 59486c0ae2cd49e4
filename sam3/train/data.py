"""SA-Co label files -> batches of pairs, in an order that a seed fixes.

The order is a function of (seed, number of the batch), so a run that was killed goes on with exactly the pairs
it has not seen, augmented exactly as they would have been. Pictures are decoded by `workers` processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from sam3.errors import BadInput
from sam3.files import read_json
from sam3.images import read_image
from sam3.pixels import to_model
from sam3.tokenizer import Tokenizer
from sam3.train.augment import Augment, AugmentConfig
from sam3.train.targets import PairBatch


@dataclass(frozen=True)
class Pair:
    """One row of a SA-Co file with its annotations.

    Attributes:
        segmentations: polygons (lists of x, y, ...) or RLE, one an instance, in pixels of (height, width).
        outlined: per instance, whether its label was an outline; the etl stage marks boxes and circles.
    """

    id: int
    file: Path
    text: str
    height: int
    width: int
    segmentations: list[Any] = field(default_factory=list)
    outlined: list[bool] = field(default_factory=list)


def load_pairs(path: str | Path, images: str | Path) -> list[Pair]:
    """Read a SA-Co file.

    Raises:
        BadInput: the file has no pairs, a key is missing, or a picture does not exist; names the row.
    """
    content = read_json(path)
    root = Path(images)
    pairs: dict[int, Pair] = {}
    try:
        for row in content["images"]:
            file = root / row["file_name"]
            if not file.is_file():
                raise BadInput(f"{path}: image {row['id']}: {file} does not exist. Run the etl stage again.")
            pairs[row["id"]] = Pair(row["id"], file, row["text_input"], int(row["height"]), int(row["width"]))
        for row in content["annotations"]:
            if not row.get("iscrowd"):
                pair = pairs[row["image_id"]]
                pair.segmentations.append(row["segmentation"])
                pair.outlined.append(row.get("drawn_as", "polygon") == "polygon")
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path}: not a SA-Co file ({error} is missing). The etl stage writes one.") from error
    if not pairs:
        raise BadInput(f"{path}: no pairs in it. Check data.raw in params.yaml and reports/etl.json.")
    return list(pairs.values())


def decode_masks(pair: Pair) -> np.ndarray:
    """uint8 (n, H, W) masks of a pair's instances."""
    masks = []
    for segmentation in pair.segmentations:
        if isinstance(segmentation, dict):
            rle = (
                segmentation
                if isinstance(segmentation["counts"], (str, bytes))
                else coco_mask.frPyObjects(segmentation, pair.height, pair.width)
            )
        else:
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, pair.height, pair.width))
        masks.append(coco_mask.decode(rle))
    return np.stack(masks) if masks else np.zeros((0, pair.height, pair.width), np.uint8)


class PairSet(Dataset[dict[str, Any]]):
    """Pairs as tensors at the model's size; item (index, epoch) when augmented.

    Args:
        views: a picture is seen in so many ways, epoch after epoch the next one, alike for all phrases that are asked
            of it; 0: in a new way in every epoch, for every phrase.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        side: int,
        mask_side: int,
        augment: AugmentConfig | None,
        seed: int,
        views: int = 0,
    ) -> None:
        self.pairs, self.side, self.mask_side, self.seed = pairs, side, mask_side, seed
        self.augment, self.views = Augment(augment) if augment else None, views
        self._digests: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def item(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """Pixels (3, S, S), boxes (n, 4) xyxy in [0, 1], masks (n, h, h) in [0, 1], text and id."""
        pair = self.pairs[index]
        image, masks, outlined = read_image(pair.file), decode_masks(pair), np.array(pair.outlined, bool)
        if image.shape[:2] != (pair.height, pair.width):
            raise BadInput(
                f"{pair.file}: {image.shape[1]}x{image.shape[0]} pixels, but its row says {pair.width}x{pair.height}. Run etl again."
            )
        if self.augment:
            image, masks, kept = self.augment(image, masks, np.random.default_rng(self._draw(pair, epoch)))
            outlined = outlined[kept]
        small = [
            cv2.resize(mask.astype(np.float32), (self.mask_side,) * 2, interpolation=cv2.INTER_AREA) for mask in masks
        ]
        height, width = image.shape[:2]
        boxes = np.array([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        return {
            "pixels": torch.from_numpy(to_model(image, self.side)),
            "boxes": torch.from_numpy(boxes / np.array([width, height, width, height], np.float32)),
            "masks": torch.from_numpy(
                np.stack(small) if small else np.zeros((0, self.mask_side, self.mask_side), np.float32)
            ),
            "outlined": torch.from_numpy(outlined),
            "text": pair.text,
            "id": pair.id,
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.item(index)

    def batch(self, items: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> PairBatch:
        """Items -> one batch, one pair an image."""
        return collate(items, tokenizer)

    def _draw(self, pair: Pair, epoch: int) -> list[int]:
        if not self.views:
            return [self.seed, epoch, pair.id]
        return [self.seed, epoch % self.views, int(self.digest(pair.file)[:15], 16)]

    def digest(self, file: Path) -> str:
        """SHA-256 of a picture file, read once."""
        if file not in self._digests:
            try:
                self._digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as error:
                raise BadInput(f"{file}: cannot be read ({error.strerror}).") from error
        return self._digests[file]


def tight_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """xyxy of a mask's pixels, edges included; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def collate(items: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> PairBatch:
    """Items -> one batch, one pair an image."""
    tokens = tokenizer.encode([item["text"] for item in items])
    return PairBatch(
        torch.stack([item["pixels"] for item in items]),
        torch.arange(len(items)),
        torch.from_numpy(tokens.ids),
        torch.from_numpy(tokens.mask),
        [item["boxes"] for item in items],
        [item["masks"] for item in items],
        outlined=[item["outlined"] for item in items],
        pair_ids=[item["id"] for item in items],
    )


class Items(Protocol):
    """Pairs by index and epoch, and how they become a batch: decoded (`PairSet`) or from a cache."""

    def __len__(self) -> int: ...

    def item(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """One pair."""
        ...

    def batch(self, items: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> PairBatch:
        """Several pairs."""
        ...


class OrderedBatches(IterableDataset[PairBatch]):
    """Training batches from number `start` on, epoch after epoch, without end.

    Every epoch is one shuffle of the pairs; its last batch may be short. `batch_size` counts the pairs of all
    processes together: process `rank` of `world` takes every world-th of them, so a run goes on in the same order
    on more or fewer processes. Where a short batch leaves a process without any, it gets one that weighs nothing.
    """

    def __init__(
        self,
        pairs: Items,
        tokenizer: Tokenizer,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.pairs, self.tokenizer, self.batch_size, self.seed = pairs, tokenizer, batch_size, seed
        self.start, self.rank, self.world = start, rank, world

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch."""
        return -(-len(self.pairs) // self.batch_size)

    def indexes(self, number: int) -> tuple[int, np.ndarray]:
        """Epoch and pair indexes of batch `number`: the data order, and nothing else decides it."""
        epoch, at = divmod(number, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        return epoch, order[at * self.batch_size : (at + 1) * self.batch_size]

    def __iter__(self) -> Iterator[PairBatch]:
        cv2.setNumThreads(0)
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self.start + first
        while True:
            epoch, rows = self.indexes(number)
            mine = rows[self.rank :: self.world]
            items = [self.pairs.item(int(row), epoch) for row in (mine if len(mine) else rows[:1])]
            if not len(mine):
                items = [
                    {**item, **{name: item[name][:0] for name in ("boxes", "masks", "outlined")}} for item in items
                ]
            batch = self.pairs.batch(items, self.tokenizer)
            yield replace(batch, number=number, weight=float(len(mine) > 0))
            number += step


def data_sha256(*paths: str | Path) -> str:
    """Identity of label files: SHA-256 over their contents, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(json.dumps(read_json(path), sort_keys=True).encode())
    return digest.hexdigest()
