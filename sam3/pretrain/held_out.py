"""How far pretraining has come, on scenes it never sees: logged every so many steps, beside the losses.

Scenes are composed from the held-out drawing style on held-out backgrounds. Few, so that it takes seconds; the
figures that count come from `benchmarks/starter_weights.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import lightning as L
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc
from torchvision.ops import box_iou

from sam3.detector import Grounding, Sam3Detector
from sam3.pretrain.stream import SceneMaker, SceneStream, StreamConfig, hold_back
from sam3.scenes.pack import Pack
from sam3.scenes.phrases import Vocabulary
from sam3.tokenizer import Tokenizer
from sam3.train.targets import PairBatch

UNSEEN_SEED = 1_000_003


def unseen_stream(pack: Pack, tokenizer: Tokenizer, config: StreamConfig) -> SceneStream:
    """Scenes of the held-out style, of concepts that pretraining knows in other styles."""
    known = {cutout.concept for cutout in pack.select(holdout=[""])}
    cutouts = [cutout for cutout in pack.select(holdout=["style"]) if cutout.concept in known]
    config = replace(config, seed=UNSEEN_SEED, exemplar_every=1_000_000)
    return SceneStream(SceneMaker(cutouts, hold_back(pack.backgrounds)[1], config), Vocabulary(cutouts), tokenizer)


@dataclass
class Held:
    """Sums over batches.

    Attributes:
        presence, truth: of every pair. reached: best IoU of any box with each object. chosen: IoU of the highest
        scored box of each positive pair with its nearest object. masked: mask IoU of the query with the best box.
    """

    presence: list[float] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    masked: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Means, and the area under the ROC curve of presence."""
        presence, truth = torch.tensor(self.presence), torch.tensor(self.truth)
        mean = lambda values: sum(values) / max(len(values), 1)  # noqa: E731
        return {
            "held/presence_auc": float(binary_auroc(presence, truth)),
            "held/presence_right": float(((presence > 0.5) == truth.bool()).float().mean()),
            "held/reached_iou": mean(self.reached),
            "held/chosen_iou": mean(self.chosen),
            "held/mask_iou": mean(self.masked),
        }


@torch.no_grad()
def look(model: Sam3Detector, batch: PairBatch, held: Held) -> None:
    """Add one batch to the sums."""
    vision = model.encode_images(batch.pixels).take(batch.image_of_pair)
    found = model.ground(vision, model.encode_text(batch.ids, batch.mask))
    held.presence += found.presence[-1].float().sigmoid().tolist()
    held.truth += batch.positive.int().tolist()
    for pair in batch.positive.nonzero().squeeze(1).tolist():
        overlap = box_iou(found.boxes[-1, pair].float(), batch.boxes[pair])
        best = overlap.max(0)
        held.reached += best.values.tolist()
        held.chosen.append(float(overlap[found.logits[-1, pair].argmax()].max()))
        held.masked += mask_overlap(model, found, pair, best.indices, batch.masks[pair]).tolist()


def mask_overlap(model: Sam3Detector, found: Grounding, pair: int, queries: Tensor, truth: Tensor) -> Tensor:
    """(n,) IoU of the masks of chosen queries of one pair with (n, H, W) truth."""
    pixels = model.pixel_embeddings(found, torch.tensor([pair]))
    rows = torch.zeros(len(queries), dtype=torch.int64)
    drawn = model.mask_logits(pixels, rows, found.queries[-1, pair, queries]) > 0
    real = truth > 0.5
    return (drawn & real).flatten(1).sum(1) / (drawn | real).flatten(1).sum(1).clamp(min=1)


class HeldOutFigures(L.Callback):
    """Logs `Held.figures` every `every` steps, as held/..."""

    def __init__(self, stream: SceneStream, every: int, batches: int = 3) -> None:
        self.batches, self.every = [stream.batch(number) for number in range(batches)], every

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: object) -> None:
        """After a step that counts."""
        if trainer.global_step % self.every or not trainer.global_step:
            return
        module.eval()
        held = Held()
        for batch in self.batches:
            look(module.model, batch.to(module.device), held)  # type: ignore[arg-type, union-attr]
        module.train()
        for logger in trainer.loggers:
            logger.log_metrics(held.figures(), trainer.global_step)
