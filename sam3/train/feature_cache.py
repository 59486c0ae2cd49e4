"""Each view of a picture goes through the frozen image encoder once; heads then train from what it left.

A view is (picture, number): `data.views` fixes how many ways a picture is augmented. Stored with the features are
the boxes and masks of every pair in that view, so that training neither decodes nor augments.

    cache = FeatureCache(config, model, part, pairs, precision)
    cache.fill()                       # what is missing; can be killed and goes on
    cached = cache.items(pairs)        # in the place of the `PairSet`

The key of features: weights of the frozen part, side of the input, arithmetic, SHA-256 of the file, augmentation
and number of the view. The key of targets: the same picture and view, the pair's outlines and the mask side. What
has changed is therefore never found, and nothing has to be invalidated.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from sam3.detector import Sam3Detector
from sam3.files import write_json
from sam3.tokenizer import Tokenizer
from sam3.train.cache_config import CacheConfig
from sam3.train.cache_turn import turn
from sam3.train.data import PairSet, collate
from sam3.train.feature_shards import FeatureStore, Packed, pack
from sam3.train.frozen import CHANNEL, features, weights_sha256
from sam3.train.targets import PairBatch

SPARE = 0.05  # of the disk is left alone


class FeatureCache:
    """The features of one frozen part, under a root that caches of other weights share.

    Args:
        precision: Lightning's name; views are encoded in the arithmetic the run trains in.
        rank, world: of this process; each fills its share.
    """

    def __init__(
        self,
        config: CacheConfig,
        model: Sam3Detector,
        part: str,
        precision: str,
        side: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        config.check()
        self.config, self.model, self.part, self.precision = config, model, part, precision
        self.rank, self.world = rank, world
        self.kind = ("fp32" if precision == "32-true" else "bf16") if config.store == "auto" else config.store
        self.identity = {
            "weights_sha256": weights_sha256(model, part),
            "part": part,
            "side": side,
            "precision": precision,
            "store": self.kind,
        }
        self.folder = Path(config.root) / _digest(self.identity)[:16]
        self.store = FeatureStore(self.folder, verify=rank == 0)
        if rank == 0:
            write_json(self.folder / "cache.json", self.identity)
        os.utime(self.folder)  # when it was used last
        for name in self.store.dropped:
            print(f"{self.folder / name}: damaged or cut short; its views are encoded again", flush=True)

    def items(self, pairs: PairSet) -> CachedPairs:
        """The pairs, with features and targets from the store."""
        return CachedPairs(pairs, self.store, self.part)

    def fill(self, *sets: PairSet, show: bool = True) -> dict[str, Any]:
        """Encode the views that are missing, as far as the budget goes; waits for another run that is at it.

        Returns:
            views: wanted; held: in the store now; encoded: in this call; bytes: of the store; seconds.
        """
        started, encoded = time.monotonic(), 0
        wanted = [
            (pairs, index, view) for pairs in sets for view in range(views_of(pairs)) for index in range(len(pairs))
        ]
        keys = {(id(pairs), index, view): CachedPairs.keys(pairs, index, view) for pairs, index, view in wanted}
        of = lambda row: keys[(id(row[0]), row[1], row[2])]  # noqa: E731
        held = lambda row: all(key in self.store for key in of(row))  # noqa: E731
        # a view belongs to a process whatever the others have written meanwhile, and all its phrases to the same one
        mine = [row for row in wanted if int(of(row)[0][1:16], 16) % self.world == self.rank]
        with turn(self.folder, self.rank):
            self.store.refresh()  # what a run before us has written since we looked
            missing = [row for row in mine if not held(row)]
            if missing:
                encoded = self._encode(missing, keys, show)
        rows = {"views": len(wanted), "held": sum(map(held, wanted)), "encoded": encoded, "bytes": self.store.nbytes}
        return {**rows, "seconds": time.monotonic() - started}

    def _encode(self, missing: list[Any], keys: dict[Any, tuple[str, str]], show: bool) -> int:
        device = next(self.model.parameters()).device
        training, done, pending, room = self.model.training, 0, 0, -1.0
        content: dict[str, list[Packed]] = {}
        self.model.eval()
        try:
            steps = range(0, len(missing), self.config.batch)
            for start in tqdm(steps, desc="features", unit="batch", disable=not show):
                rows = missing[start : start + self.config.batch]
                packed = self._packed(rows, keys, device)
                size = sum(tensor.values.nbytes for row in packed.values() for tensor in row)
                if room < 0:
                    room = self._make_room(size / len(rows) * len(missing) * self.world) / self.world
                if pending + size > room:
                    break
                content |= packed
                pending, done = pending + size, done + len(rows)
                if pending >= self.config.shard_mb * 1e6:
                    self._flush(content)
                    room, content, pending = min(room - pending, self._room()), {}, 0
            if content:
                self._flush(content)
        finally:
            self.model.train(training)
        return done

    def _packed(
        self, rows: list[Any], keys: dict[Any, tuple[str, str]], device: torch.device
    ) -> dict[str, list[Packed]]:
        items = [pairs.item(index, view) for pairs, index, view in rows]
        names = [keys[(id(pairs), index, view)] for pairs, index, view in rows]
        fresh = {key: at for at, (key, _) in enumerate(names) if key not in self.store}  # phrases share pictures
        out: dict[str, list[Packed]] = {}
        if fresh:
            pixels = torch.stack([items[at]["pixels"] for at in fresh.values()]).to(device)
            mixed = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)
            with torch.autocast(device.type, mixed or torch.bfloat16, enabled=mixed is not None):
                left = features(self.model, self.part, pixels)
            for row, key in enumerate(fresh):
                out[key] = [pack(level[row], self.kind, CHANNEL[self.part]) for level in left]
        for item, (_, key) in zip(items, names, strict=True):
            out[key] = [Packed(item["boxes"]), Packed(item["masks"].half()), Packed(item["outlined"])]
        return out

    def _flush(self, content: dict[str, list[Packed]]) -> None:
        # two runs that cannot lock the folder never write the same file
        self.store.write(f"r{self.rank}-{secrets.token_hex(6)}", content)

    def _make_room(self, needed: float) -> float:
        """Bytes that may still be written; caches of other weights make way for what is needed, the oldest first."""
        others = [path for path in _caches(self.folder.parent) if path != self.folder]
        for path in sorted(others, key=lambda path: path.stat().st_mtime):
            if self._room() >= needed:
                break
            if self.rank == 0 and not _in_use(path):
                shutil.rmtree(path, ignore_errors=True)
        return self._room()

    def _room(self) -> float:
        """Bytes that budget and disk leave now, whoever has taken the others."""
        root = self.folder.parent
        taken = sum(_size(file) for path in _caches(root) for file in path.iterdir())
        return max(min(self.config.budget_gb * 1e9 - taken, _free(root)), 0.0)


class CachedPairs(Dataset[dict[str, Any]]):
    """A `PairSet` whose items come from a store where it has them."""

    def __init__(self, pairs: PairSet, store: FeatureStore, part: str) -> None:
        self.pairs, self.store, self.part = pairs, store, part

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.item(index)

    def item(self, index: int, epoch: int = 0) -> dict[str, Any]:
        """As of the `PairSet`, with `features` in the place of `pixels` where they are stored."""
        seen, drawn = self.keys(self.pairs, index, epoch % views_of(self.pairs))
        if seen not in self.store or drawn not in self.store:
            return self.pairs.item(index, epoch)
        boxes, masks, outlined = self.store.read(drawn)
        pair = self.pairs.pairs[index]
        return {
            "features": self.store.read(seen),
            "boxes": boxes,
            "masks": masks.float(),
            "outlined": outlined,
            "text": pair.text,
            "id": pair.id,
        }

    def batch(self, items: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> PairBatch:
        """Items -> one batch; stored features and pixels apart."""
        held = torch.tensor(["features" in item for item in items])
        if not bool(held.any()):
            return collate(items, tokenizer)
        stored = [item["features"] for item in items if "features" in item]
        side = self.pairs.side
        empty = torch.zeros(0, 3, side, side)
        pixels = [item["pixels"] for item in items if "pixels" in item]
        batch = collate([{**item, "pixels": empty} for item in items], tokenizer)
        batch.pixels = torch.stack(pixels) if pixels else empty
        batch.part, batch.held = self.part, held
        batch.features = [torch.stack(level) for level in zip(*stored, strict=True)]
        return batch

    @staticmethod
    def keys(pairs: PairSet, index: int, view: int) -> tuple[str, str]:
        """Keys of the features and of the targets of a pair in a view."""
        pair = pairs.pairs[index]
        how = asdict(pairs.augment.config) if pairs.augment else None
        seen = _digest([pairs.digest(pair.file), how, pairs.seed if how else None, view])
        drawn = _digest([seen, pairs.mask_side, pair.height, pair.width, pair.segmentations, pair.outlined])
        return f"v{seen[:32]}", f"t{drawn[:32]}"


def views_of(pairs: PairSet) -> int:
    """How many ways a picture of the set is seen."""
    return max(pairs.views, 1) if pairs.augment else 1


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda raw: raw.decode() if isinstance(raw, bytes) else str(raw))
    return hashlib.sha256(text.encode()).hexdigest()


def _caches(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if (path / "cache.json").is_file()]


def _size(file: Path) -> int:
    """Bytes of a file; none of one that another run has moved or removed."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _free(folder: Path) -> float:
    usage = shutil.disk_usage(folder)
    return max(usage.free - SPARE * usage.total, 0)


def _in_use(folder: Path) -> bool:
    """Whether a run of the last hour has opened it."""
    return time.time() - folder.stat().st_mtime < 3600
