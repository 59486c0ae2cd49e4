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
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from sam3.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sam3.detector import Grounding
from sam3.errors import BadConfig, BadInput
from sam3.eval.matching import PairScore
from sam3.files import read_json, write_json
from sam3.train.config import TrainConfig, plain
from sam3.train.data import OrderedBatches, PairSet, collate, data_sha256, load_pairs
from sam3.train.log import set_aside, whole_log
from sam3.train.losses import detection_loss
from sam3.train.memory import checkpoint_activations, largest_batch
from sam3.train.module import DetectorModule
from sam3.train.quality import pair_scores, summarise
from sam3.train.targets import PairBatch
from sam3.train.watch import Watch

# the score is in the name: weights alone are stored, and a killed run finds its best again
KEPT = re.compile(r"(?P<kind>cgf1|loss)-(?P<step>\d+)-(?P<score>-?[\d.]+)\.ckpt")


class FineTuning(DetectorModule):
    """Training steps of `DetectorModule`, and cgF1 over the validation pairs."""

    def on_validation_epoch_start(self) -> None:
        """Forget the pairs of the last validation."""
        self._scores: list[PairScore] = []

    def validation_step(self, batch: PairBatch, _: int) -> None:
        """Loss terms and pair scores of held-out pairs."""
        found: Grounding = self(batch)
        loss, terms = detection_loss(self.model, found, batch, self.loss_config)
        self._log("val", loss, terms, len(batch))
        self._scores += pair_scores(self.model, found, batch)

    def on_validation_epoch_end(self) -> None:
        """Log cgF1, pmF1 and IL_MCC."""
        for name, value in summarise(self._scores).items():
            self.log(f"val/{name}", value, prog_bar=name == "cgf1")


class Run:
    """A fine-tuning run in a work folder."""

    def __init__(self, config: TrainConfig, work: Path, gpus: int) -> None:
        self.config, self.work, self.gpus = config, work, gpus
        self.last = work / "last.ckpt"
        self.watch = Watch(say=lambda message: print(message, flush=True))

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
        pairs = load_pairs(self.config.data.train, self.config.data.images)
        return PairSet(pairs, *self._sides, self.config.data.augment, self.config.train.seed)

    @cached_property
    def val_pairs(self) -> PairSet:
        """Validation pairs, as they are."""
        pairs = load_pairs(self.config.data.val, self.config.data.images)
        return PairSet(pairs, *self._sides, None, self.config.train.seed)

    @property
    def _sides(self) -> tuple[int, int]:
        vision = self.base.model.config.vision_config
        patch = vision.backbone_config.patch_size
        return self.base.image_size, int(self.base.image_size / patch * max(vision.scale_factors))

    @cached_property
    def batch_size(self) -> int:
        """As configured, or searched on the GPU."""
        asked = self.config.train.batch_size
        if asked != "auto":
            return int(asked)
        return largest_batch(self.base, self.config.loss, self.train_pairs, self.gpus)

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
        held = self.work / "identity.json"
        if held.is_file() and read_json(held) != json.loads(json.dumps(self.identity)):
            print(f"{self.work} holds another run (config, data or weights differ): starting over", flush=True)
            for path in [*self.work.glob("*.ckpt"), *self.work.glob("log/*")]:
                path.unlink()
        write_json(held, self.identity)

    def fit(self) -> None:
        """Train, or go on training."""
        L.seed_everything(self.config.train.seed, verbose=False)
        module = FineTuning(
            self.base.model,
            self.config.loss,
            self.config.optimizer,
            self.total_steps,
            tuple(self.config.model.frozen),
        )
        start = self._steps_done() * self.config.train.accumulate
        batches = OrderedBatches(self.train_pairs, self.base.tokenizer, self.batch_size, self.config.train.seed, start)
        workers = self.config.data.workers
        set_aside(self.work / "log")
        trainer = self._trainer()
        trainer.fit(
            module,
            DataLoader(batches, batch_size=None, num_workers=workers, prefetch_factor=2 if workers else None),
            DataLoader(
                self.val_pairs,
                batch_size=self.batch_size,
                collate_fn=lambda items: collate(items, self.base.tokenizer),
            ),
            ckpt_path=self.last if self.last.is_file() else None,
            weights_only=True,
        )
        if trainer.interrupted:
            raise KeyboardInterrupt

    def _steps_done(self) -> int:
        if not self.last.is_file():
            return 0
        return int(torch.load(self.last, weights_only=True, map_location="cpu")["global_step"])

    def _trainer(self) -> L.Trainer:
        settings = self.config.trainer
        every = self.batches_per_epoch * max(min(settings.validate_every, self.config.train.max_epochs), 1)
        return L.Trainer(
            accelerator="gpu" if self.gpus else "cpu",
            devices=self.gpus or 1,
            precision=precision(settings.precision, self.gpus),  # type: ignore[arg-type]
            max_steps=self.total_steps,
            accumulate_grad_batches=self.config.train.accumulate,
            gradient_clip_val=self.config.optimizer.clip,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            logger=CSVLogger(self.work, name="log", version="", flush_logs_every_n_steps=20),
            callbacks=self._callbacks(),
            enable_model_summary=False,
        )

    def _callbacks(self) -> list[L.Callback]:
        # without the version counter a resumed run overwrites its own file instead of making last-v1.ckpt
        def keeper(name: str, **how: Any) -> ModelCheckpoint:
            return ModelCheckpoint(
                self.work, filename=name, enable_version_counter=False, auto_insert_metric_name=False, **how
            )

        best = {"save_top_k": self.config.trainer.keep, "save_weights_only": True}
        return [
            keeper("last", every_n_train_steps=self.config.trainer.save_every),
            keeper("loss-{step}-{val/loss:.5f}", monitor="val/loss", **best),
            keeper("cgf1-{step}-{val/cgf1:.5f}", monitor="val/cgf1", mode="max", **best),
            LearningRateMonitor("step"),
            TQDMProgressBar(refresh_rate=5),
            self.watch,
        ]

    def finish(self) -> Path:
        """Write the best checkpoint by cgF1 (by loss when all are 0) and what it was made of."""
        chosen, score = best_checkpoint(self.work)
        state = torch.load(chosen, weights_only=True, map_location="cpu")["state_dict"]
        self.base.model.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
        record = {
            **self.identity,
            "base": self.base.name,
            "concept": self.config.concept,
            "steps": self.total_steps,
            "batch_size": self.batch_size,
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
