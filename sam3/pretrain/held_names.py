"""How well places name what they show, in scenes alignment never sees: logged at every save, to align.csv.

The held-out drawing style on held-out backgrounds, against all names that style has. A few scenes, so that it takes
seconds.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torchmetrics.functional.classification import binary_auroc

from sam3.detector import Sam3Detector
from sam3.pretrain.align import (
    CellBatch,
    CellStream,
    NameStates,
    cell_logits,
    coarse_vision,
    name_states,
    place_queries,
)
from sam3.pretrain.stream import SceneStream

COLUMNS = ("step", "names", "auc", "top1")


@dataclass
class HeldNames:
    """Logs `step, names, auc, top1` to a CSV file.

    `auc`: area under the ROC curve of "the scene shows this name", told by its best place. `top1`: share of objects
    whose places agree, on average, on a true name before all `names` others.

    Attributes:
        stream: of unseen scenes (`sam3.pretrain.held_out.unseen_stream`). path: the CSV file. batches: of 16 scenes.
    """

    stream: SceneStream
    path: Path
    batches: int = 4
    held: list[CellBatch] = field(init=False)

    def __post_init__(self) -> None:
        cells = CellStream(self.stream.maker, self.stream.vocabulary, scenes=16)
        self.held = [cells.batch(number) for number in range(self.batches)]

    def __call__(self, model: Sam3Detector, step: int) -> None:
        """Measure, and add a row."""
        names = name_states(model, self.stream.vocabulary, self.stream.tokenizer)
        learning = model.training
        model.eval()
        figures = naming_figures(model, self.held, names)
        model.train(learning)
        new = not self.path.is_file()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({"step": step, "names": len(names.end), **figures})


@torch.no_grad()
def naming_figures(model: Sam3Detector, batches: list[CellBatch], names: NameStates) -> dict[str, float]:
    """`auc` and `top1` over some batches."""
    scores, truths, right = [], [], []
    for batch in batches:
        queries = place_queries(model, coarse_vision(model, batch.pixels))
        scores.append(cell_logits(model, queries, *names).amax(1))
        truths.append(torch.zeros_like(scores[-1]).index_add(0, batch.scene, batch.names).clamp(max=1))
        share = batch.cover.flatten(1)
        seen = share.sum(1) > 0
        pooled = torch.einsum("on,ond->od", share[seen], queries[batch.scene[seen]]) / share[seen].sum(1, keepdim=True)
        best = cell_logits(model, pooled, *names).argmax(1, keepdim=True)
        right.append(batch.names[seen].gather(1, best)[:, 0])
    auc = binary_auroc(torch.cat(scores).flatten(), torch.cat(truths).flatten().int())
    return {"auc": round(float(auc), 4), "top1": round(float(torch.cat(right).mean()), 4)}
