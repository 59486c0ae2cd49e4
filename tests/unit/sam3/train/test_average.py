"""The running mean of the weights: what is validated is what is kept, and training does not notice."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from sam3.train.average import MeanWeights
from sam3.train.config import compose

DECAY, STEPS = 0.5, 6


class Walk(L.LightningModule):
    """One weight that goes down by 1 at each step; validation notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.frozen = torch.nn.Parameter(torch.linspace(0.1, 0.9, 1000), requires_grad=False)
        self.trained: list[float] = []
        self.validated: list[float] = []

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        self.trained.append(self.weight.item())
        return self.weight.sum()

    def validation_step(self, batch: Tensor, _: int) -> None:
        self.validated.append(self.weight.item())
        self.log("score", float(len(self.validated)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(place: Path, module: Walk, steps: int = STEPS, decay: float = DECAY) -> None:
    """Train on a batch at a time, validate at every second step; goes on from `last.ckpt`."""
    last = place / "last.ckpt"
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            MeanWeights(decay),
            ModelCheckpoint(place, filename="last", every_n_train_steps=1, enable_version_counter=False),
            ModelCheckpoint(place, filename="best-{step}", monitor="score", save_top_k=-1, save_weights_only=True),
        ],
    )
    data = DataLoader(torch.zeros(STEPS, 1))
    trainer.fit(module, data, data, ckpt_path=last if last.is_file() else None, weights_only=True)


def means(steps: int) -> list[float]:
    """theta after k steps is -k; the mean begins with the first one."""
    mean, all_of_them = -1.0, []
    for step in range(1, steps + 1):
        mean = mean if step == 1 else DECAY * mean - (1 - DECAY) * step
        all_of_them.append(mean)
    return all_of_them


def test_validation_sees_the_mean_and_training_the_weights(tmp_path: Path) -> None:
    module = Walk()
    fit(tmp_path, module)
    assert module.trained == [-float(step) for step in range(STEPS)]
    expected = means(STEPS)
    assert module.validated[::STEPS] == pytest.approx([expected[1], expected[3], expected[5]])
    assert module.weight.item() == pytest.approx(expected[-1])
    assert torch.equal(module.frozen, torch.linspace(0.1, 0.9, 1000)), "to the bit"


def test_the_kept_weights_are_those_that_were_measured(tmp_path: Path) -> None:
    module = Walk()
    fit(tmp_path, module)
    kept = {
        int(path.stem.partition("step=")[2]): float(torch.load(path, weights_only=True)["state_dict"]["weight"])
        for path in tmp_path.glob("best-*.ckpt")
    }
    expected = means(STEPS)
    assert kept == pytest.approx({2: expected[1], 4: expected[3], 6: expected[5]})


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_that_goes_on_ends_with_the_same_mean(tmp_path: Path, stop: int) -> None:
    fit(tmp_path, Walk(), steps=stop)
    module = Walk()
    fit(tmp_path, module)
    assert module.trained == [-float(step) for step in range(stop, STEPS)]
    assert module.weight.item() == pytest.approx(means(STEPS)[-1])


def test_large_weights_are_not_held_twice_unless_asked(repo_root: Path) -> None:
    config = repo_root / "configs/sam3_chicken_finetune.yaml"
    assert compose(config).trainer.mean_decay > 0
    assert compose(config, ["model=sam3"]).trainer.mean_decay == 0
    assert compose(config, ["model=sam3", "trainer.mean_decay=0.9"]).trainer.mean_decay == 0.9
