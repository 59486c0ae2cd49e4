"""The Lightning module: one step of SAM 3 training, for fine-tuning and pretraining alike.

Takes `PairBatch`es, logs every loss term, positives and negatives apart, the gradient norm and the learning
rate at every step. What is frozen stays in eval mode and gets no gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from sam3.detector import Grounding, Sam3Detector, Words
from sam3.errors import BadConfig, Unavailable
from sam3.train.frozen import encode
from sam3.train.loss_config import LossConfig
from sam3.train.losses import detection_loss, mean_terms
from sam3.train.schedule import share_of_rate
from sam3.train.targets import PairBatch
from sam3.train.world import size, sum_over_all


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay.

    Attributes:
        learning_rate: of the detector's heads. text_scale, backbone_scale: factors for the text encoder and for the
            image backbone, where they learn at all.
        warmup: share of all steps. floor: last learning rate, as a share of the first.
        clip: largest gradient norm.
        state_bits: 32, or 8: AdamW's two moments in a byte each (bitsandbytes; Dettmers et al. 2022, "8-bit Optimizers
            via Block-wise Quantization"), where a parameter has 4096 numbers or more.
    """

    learning_rate: float = 1e-5
    text_scale: float = 0.1
    backbone_scale: float = 0.1
    weight_decay: float = 0.01
    warmup: float = 0.05
    floor: float = 0.02
    clip: float = 0.1
    state_bits: int = 32


class DetectorModule(L.LightningModule):
    """Trains a `Sam3Detector` on pairs.

    Args:
        model: the detector; changed in place.
        total_steps: optimiser steps of the whole run, for the schedule.
        frozen: names of submodules that do not learn, e.g. "vision_encoder.backbone".
        monitor: also log the terms as `val/...` in validation.

    Raises:
        BadConfig: a part that is to be frozen does not exist.
    """

    def __init__(
        self,
        model: Sam3Detector,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        total_steps: int,
        frozen: tuple[str, ...] = ("vision_encoder.backbone",),
    ) -> None:
        super().__init__()
        self.model, self.loss_config, self.optimizer_config = model, loss, optimizer
        self.total_steps, self.frozen = total_steps, frozen
        self._logged: set[str] = set()  # terms that some step had
        known = dict(model.named_modules())
        for name in frozen:
            if name not in known:
                parts = ", ".join(part for part, _ in model.named_children())
                raise BadConfig(f"model.frozen: the model has no part {name!r}. Parts: {parts}.", field="model.frozen")
            known[name].requires_grad_(False)
        # the coarsest level of the neck is made but never used (as in transformers): no gradient can reach it
        self.unused = tuple(
            name for name, _ in model.named_parameters() if name.startswith("vision_encoder.neck.fpn_layers.3")
        )

    def train(self, mode: bool = True) -> DetectorModule:
        """Frozen parts stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.model.get_submodule(name).eval()
        return self

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Copy from page-locked memory while the GPU computes; Lightning asks only bare tensors to."""
        if isinstance(batch, PairBatch):
            return batch.to(device, non_blocking=device.type == "cuda")
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def forward(self, batch: PairBatch) -> Grounding:
        """Ground every pair of the batch; an image is encoded once however many phrases are asked of it."""
        vision = encode(self.model, batch).take(batch.image_of_pair)
        return self.model.ground(vision, self.words(batch), batch.exemplars)

    def words(self, batch: PairBatch) -> Words:
        """The phrases of the batch after the text encoder."""
        return self.model.encode_text(batch.ids, batch.mask)

    def training_step(self, batch: PairBatch, _: int) -> Tensor:
        """Loss of one batch; Lightning steps the optimiser."""
        loss, terms = detection_loss(self.model, self(batch), batch, self.loss_config)
        loss = loss * batch.weight
        self._log("train", sum_over_all(loss.detach()) / size(), mean_terms(terms, batch), len(batch))
        return loss

    def validation_step(self, batch: PairBatch, _: int) -> None:
        """The same terms on held-out pairs."""
        loss, terms = detection_loss(self.model, self(batch), batch, self.loss_config)
        self._log("val", loss, terms, len(batch))

    def _log(self, stage: str, loss: Tensor, terms: dict[str, Tensor], count: int) -> None:
        train = stage == "train"
        values = torch.stack([value.float() for value in terms.values()]).tolist()  # one wait for the GPU, not many
        said = {f"{stage}/{name}": value for name, value in zip(terms, values, strict=True) if isfinite(value)}
        if train:  # a term that this batch lacks is logged as lacking: Lightning would repeat that of an earlier step
            said = {**dict.fromkeys(self._logged, nan), **said}
            self._logged.update(said)
        self.log(f"{stage}/loss", loss.detach(), prog_bar=True, on_step=train, on_epoch=not train, batch_size=count)
        self.log_dict(said, on_step=train, on_epoch=not train, batch_size=count)

    def on_before_optimizer_step(self, _: torch.optim.Optimizer) -> None:
        """Log the gradient norm before it is clipped."""
        grads = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([grad.detach().float().norm() for grad in grads]))
        self.log("train/grad_norm", norm)
        if self.device.type == "cuda":
            self.log("train/vram_gib", torch.cuda.max_memory_allocated(self.device) / 2**30)

    def configure_optimizers(self) -> Any:
        """AdamW over what learns; decay on matrices only."""
        config = self.optimizer_config
        optimizer = adamw(config.state_bits)(list(self._groups()), lr=config.learning_rate, betas=(0.9, 0.98))
        rate = partial(share_of_rate, total=self.total_steps, warmup=config.warmup, floor=config.floor)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _groups(self) -> Iterator[dict[str, Any]]:
        config = self.optimizer_config
        learning = [
            (name, parameter)
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and name not in self.unused
        ]
        scales = {"text_encoder": config.text_scale, "vision_encoder.backbone": config.backbone_scale}
        part_of = lambda name: next((part for part in scales if name.startswith(part)), "")  # noqa: E731
        decays = lambda name, parameter: parameter.ndim > 1 and "embed" not in name  # noqa: E731
        for part in ("", *scales):
            for decay in (False, True):
                chosen = [p for name, p in learning if part_of(name) == part and decays(name, p) == decay]
                if chosen:
                    yield {
                        "params": chosen,
                        "lr": config.learning_rate * scales.get(part, 1.0),
                        "weight_decay": config.weight_decay if decay else 0.0,
                    }


def adamw(state_bits: int) -> Any:
    """The optimiser's class.

    Raises:
        BadConfig: another number of bits. Unavailable: bitsandbytes is not installed.
    """
    if state_bits == 32:
        return torch.optim.AdamW
    if state_bits != 8:
        raise BadConfig(f"optimizer.state_bits={state_bits}: expected 32 or 8.", field="optimizer.state_bits")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise Unavailable(
            "optimizer.state_bits=8 needs bitsandbytes: install the extra `scale`, or set 32.",
            field="optimizer.state_bits",
        ) from error
    return AdamW8bit


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
