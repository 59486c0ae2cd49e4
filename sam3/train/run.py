"""One training run: what it is made of, how it goes on after a kill, and what it leaves behind.

Lightning drives; this wires model, data, loggers and checkpoints together. The state of a run lives in its
`work` folder: `identity.json` (config, data, weights), `last.ckpt`, the best checkpoints and the log.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy

from sam3.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sam3.errors import BadCheckpoint, BadConfig, BadInput
from sam3.files import read_json, write_json
from sam3.train.average import MeanWeights
from sam3.train.config import TrainConfig, plain
from sam3.train.data import OrderedBatches, PairSet, data_sha256, load_pairs
from sam3.train.feature_cache import FeatureCache
from sam3.train.fine_tuning import FineTuning
from sam3.train.frozen import frozen_part
from sam3.train.heartbeat import PROGRESS, Heartbeat
from sam3.train.last import LastCheckpoint
from sam3.train.loaders import training_loader, validation_loader
from sam3.train.log import ROW, LastRow, RunLog, set_aside, whole_log
from sam3.train.lora import Adapters, adapt
from sam3.train.memory import checkpoint_activations, largest_batch
from sam3.train.saving import WholeCheckpoints, clear_leftovers, read_state
from sam3.train.stop import StopInTime, environments
from sam3.train.watch import Watch
from sam3.train.world import World, barrier, gather_rows

# the score is in the name: weights alone are stored, and a killed run finds its best again
KEPT = re.compile(r"(?P<kind>cgf1|loss)-(?P<step>\d+)-(?P<score>-?[\d.]+)\.ckpt")


class Run:
    """A fine-tuning run in a work folder."""

    def __init__(self, config: TrainConfig, work: Path, gpus: int, world: World | None = None) -> None:
        self.config, self.work, self.gpus, self.world = config, work, gpus, world or World()
        self.last = work / "last.ckpt"
        self.watch = Watch(say=lambda message: print(message, flush=True) if self.world.first else None)
        self.stop = StopInTime()

    @cached_property
    def base(self) -> Checkpoint:
        """The checkpoint that is fine-tuned."""
        base = load_checkpoint(self.config.model.checkpoint)
        # on a CPU the flash kernel's backward pass costs more than writing the attention out
        base.model.set_attn_implementation("sdpa" if self.gpus else "eager")
        if self.config.model.gradient_checkpointing:
            checkpoint_activations(base.model)
        return base

    @cached_property
    def train_pairs(self) -> PairSet:
        """Augmented training pairs."""
        data = self.config.data
        pairs = load_pairs(data.train, data.images)
        return PairSet(pairs, *self._sides, data.augment, self.config.train.seed, data.views)

    @cached_property
    def val_pairs(self) -> PairSet:
        """Validation pairs, as they are."""
        pairs = load_pairs(self.config.data.val, self.config.data.images)
        return PairSet(pairs, *self._sides, None, self.config.train.seed)

    @property
    def _sides(self) -> tuple[int, int]:
        vision: Any = self.base.model.config.vision_config
        patch = vision.backbone_config.patch_size
        return self.base.image_size, int(self.base.image_size / patch * max(vision.scale_factors))

    @cached_property
    def batch_size(self) -> int:
        """Pairs of all processes together: as configured, or searched on the GPU."""
        asked = self.config.train.batch_size
        if asked != "auto":
            return int(asked)
        each = largest_batch(self.base, self.config.loss, self.train_pairs, self.gpus)
        return self.world.size * min(gather_rows([each], f"cuda:{self.world.local}" if self.gpus else "cpu"))

    @property
    def batches_per_epoch(self) -> int:
        """Batches that cover the training pairs once."""
        return -(-len(self.train_pairs) // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        batches = self.batches_per_epoch * self.config.train.max_epochs
        return max(-(-batches // self.config.train.accumulate), 1)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two runs the same: weights, data and config."""
        return {
            "config": plain(self.config),
            "base_sha256": self.base.sha256,
            "data_sha256": data_sha256(self.config.data.train, self.config.data.val),
        }

    def check_same_run(self) -> None:
        """An unfinished run is only continued with the same config, data and weights; another one starts over.

        Raises:
            BadInput: the work folder cannot be written.
        """
        if not self.world.first:
            return
        clear_leftovers(self.work)
        held = self.work / "identity.json"
        if held.is_file() and read_json(held) != json.loads(json.dumps(self.identity)):
            print(f"{self.work} holds another run (config, data or weights differ): starting over", flush=True)
            for path in [*self.work.glob("*.ckpt"), *self.work.glob("log/*")]:
                path.unlink()
        write_json(held, self.identity)

    @cached_property
    def adapters(self) -> Adapters | None:
        """Low-rank adapters on the base model, if the config has any."""
        lora = self.config.model.lora
        return adapt(self.base.model, lora) if lora.rank else None

    @cached_property
    def cache(self) -> FeatureCache | None:
        """Features of the frozen image encoder for every view, if the config asks for them.

        Raises:
            BadConfig: views are new in every epoch, or the image encoder learns.
        """
        config, data = self.config, self.config.data
        if not config.cache.enabled:
            return None
        if data.views < 1:
            raise BadConfig("cache.enabled=true needs data.views of 1 or more: what is stored must come up again.")
        part = frozen_part(config.model.frozen, config.cache.cut)
        if config.model.lora.rank and any(name.startswith("vision_encoder") for name in config.model.lora.parts):
            raise BadConfig("cache.enabled=true with adapters on the image encoder: take it out of model.lora.parts.")
        if self.gpus:
            self.base.model.to(f"cuda:{self.world.local}")  # type: ignore[arg-type]
        kind = precision(config.trainer.precision, self.gpus)
        for turn in (True, False):  # the first process verifies what is there before the others read it
            if self.world.first == turn:
                cache = FeatureCache(
                    config.cache,
                    self.base.model,
                    part,
                    kind,
                    self.base.image_size,
                    rank=self.world.rank,
                    world=self.world.size,
                )
            barrier()
        rows = cache.fill(self.train_pairs, self.val_pairs, show=self.world.first)
        barrier()
        cache.store.refresh()
        if self.world.first:
            print(
                f"features: {rows['views']} views, {rows['encoded']} encoded in {rows['seconds']:.0f} s, "
                f"{cache.store.nbytes / 1e6:.0f} MB in {cache.folder}",
                flush=True,
            )
        return cache

    def fit(self) -> None:
        """Train, or go on training."""
        L.seed_everything(self.config.train.seed, verbose=False)
        train, held_out = self.train_pairs, self.val_pairs
        if self.cache is not None:
            train, held_out = self.cache.items(train), self.cache.items(held_out)  # type: ignore[assignment]
        frozen = () if self.adapters else tuple(self.config.model.frozen)
        module = FineTuning(self.base.model, self.config.loss, self.config.optimizer, self.total_steps, frozen)
        module.keep_words = self.cache is not None and self.config.cache.words
        done, row = self._reached()
        start = done * self.config.train.accumulate
        tokenizer, gpu = self.base.tokenizer, self.gpus > 0
        batches = OrderedBatches(
            train, tokenizer, self.batch_size, self.config.train.seed, start, self.world.rank, self.world.size
        )
        if self.world.first:
            set_aside(self.work / "log", row)
        trainer = self._trainer()
        try:
            trainer.fit(
                module,
                training_loader(batches, self.config.data.workers, gpu=gpu),
                validation_loader(held_out, tokenizer, self.batch_size, self.world, gpu=gpu),
                ckpt_path=self.last if self.last.is_file() else None,
                weights_only=True,
            )
        except SystemExit as ended:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt if trainer.interrupted else ended from None
        self.stop.leave()

    def _reached(self) -> tuple[int, dict[str, float] | None]:
        """Steps done when the run was last saved, and the figures of the last of them."""
        if not self.last.is_file():
            return 0, None
        state = read_state(self.last)
        if "global_step" not in state:
            raise BadCheckpoint(f"{self.last}: not the state of a run. Remove it, or start over with --fresh.")
        return int(state["global_step"]), state.get(ROW)

    def _trainer(self) -> L.Trainer:
        settings = self.config.trainer
        every = self.batches_per_epoch * max(min(settings.validate_every, self.config.train.max_epochs), 1)
        return L.Trainer(
            accelerator="gpu" if self.gpus else "cpu",
            strategy=self._strategy(),
            devices=self.world.per_node,
            num_nodes=self.world.nodes,
            plugins=[*environments(), WholeCheckpoints()],
            use_distributed_sampler=False,
            precision=precision(settings.precision, self.gpus),  # type: ignore[arg-type]
            max_steps=self.total_steps,
            accumulate_grad_batches=self.config.train.accumulate,
            gradient_clip_val=self.config.optimizer.clip,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=RunLog(self.work, name="log", version="", flush_logs_every_n_steps=20),
            callbacks=self._callbacks(),
            enable_model_summary=False,
        )

    def _strategy(self) -> Any:
        if self.world.size == 1:
            return "auto"
        # a process whose pairs are all negative uses no mask head; buffers are frozen statistics, alike everywhere
        return DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)

    def _callbacks(self) -> list[L.Callback]:
        # without the version counter a resumed run overwrites its own file instead of making last-v1.ckpt
        def keeper(name: str, **how: Any) -> ModelCheckpoint:
            return ModelCheckpoint(
                self.work, filename=name, enable_version_counter=False, auto_insert_metric_name=False, **how
            )

        best = {"save_top_k": self.config.trainer.keep, "save_weights_only": True}
        mean = [MeanWeights(self.config.trainer.mean_decay)] if self.config.trainer.mean_decay else []
        return [
            *mean,
            LastRow(),
            keeper("loss-{step}-{val/loss:.5f}", monitor="val/loss", **best),
            keeper("cgf1-{step}-{val/cgf1:.5f}", monitor="val/cgf1", mode="max", **best),
            LearningRateMonitor("step"),
            TQDMProgressBar(refresh_rate=5),
            self.watch,
            Heartbeat(self.work / PROGRESS, self.total_steps, self.batch_size),
            self.stop,
            LastCheckpoint(self.last, self.config.trainer.save_every, self.stop),
        ]

    def finish(self) -> Path:
        """Write the best checkpoint by cgF1 (by loss when all are 0) and what it was made of."""
        chosen, score = best_checkpoint(self.work)
        if not self.world.first:
            return Path(self.config.train.out)
        state = read_state(chosen)["state_dict"]
        self.base.model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
        if self.adapters:
            self.adapters.merge()
        record = {
            **self.identity,
            "base": self.base.name,
            "concept": self.config.concept,
            "steps": self.total_steps,
            "batch_size": self.batch_size,
            "processes": self.world.size,
            "chosen": chosen.name,
            "validation": score,
            "warnings": self.watch.said,
            "git_commit": git_commit(),
            "versions": versions(),
        }
        out = save_checkpoint(
            self.config.train.out,
            self.base.model,
            self.base.folder / "tokenizer.json",
            extra={
                "training.json": json.dumps(record, indent=2, ensure_ascii=False) + "\n",
                "metrics.csv": whole_log(self.work / "log"),
            },
        )
        return out


def best_checkpoint(work: Path) -> tuple[Path, dict[str, float]]:
    """The kept checkpoint with the highest validation cgF1; the lowest loss decides where cgF1 is 0 throughout.

    Raises:
        BadInput: no checkpoint was kept.
    """
    rows: dict[int, dict[str, float]] = {}
    files: dict[int, Path] = {}
    for path in sorted(work.glob("*.ckpt")):
        named = KEPT.fullmatch(path.name)
        if named:
            step = int(named["step"])
            rows.setdefault(step, {})[named["kind"]] = float(named["score"])
            files[step] = path
    if not rows:
        raise BadInput(f"{work}: no checkpoint was kept. Run the training again with --fresh.")
    step = max(rows, key=lambda at: (rows[at].get("cgf1", 0.0), -rows[at].get("loss", float("inf"))))
    return files[step], {"step": step, **rows[step]}


def precision(asked: str, gpus: int) -> str:
    """Lightning's name for a precision; `auto` is bf16 where GPU or processor compute with it.

    Raises:
        BadConfig: not one of the known names.
    """
    known = ("auto", "32-true", "16-mixed", "bf16-mixed")
    if asked not in known:
        raise BadConfig(f"trainer.precision={asked}: expected one of {', '.join(known)}.", field="trainer.precision")
    if asked == "16-mixed" and not gpus:
        raise BadConfig("trainer.precision=16-mixed needs a GPU: use bf16-mixed or 32-true.", field="trainer.precision")
    if asked != "auto":
        return asked
    fast = torch.cuda.is_bf16_supported() if gpus else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if fast else "32-true"


def git_commit() -> str | None:
    """The commit of the working copy, with "+changes" when it differs; None outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if dirty.strip() else "")


def versions() -> dict[str, str]:
    """The libraries that decide what the weights become."""
    import platform

    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lightning": L.__version__,
        "cpus": str(os.cpu_count()),
    }
