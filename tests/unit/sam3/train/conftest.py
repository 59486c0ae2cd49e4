"""A tiny detector and a batch of made-up pairs."""

from __future__ import annotations

import pytest
import torch

from sam3.checkpoint import tiny_config
from sam3.detector import Sam3Detector
from sam3.train.targets import PairBatch


@pytest.fixture
def model() -> Sam3Detector:
    torch.manual_seed(0)
    return Sam3Detector(tiny_config())


@pytest.fixture
def batch() -> PairBatch:
    """Three pairs of two images: two objects, none, one."""
    generator = torch.Generator().manual_seed(2)
    boxes = [
        torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 0.8]]),
        torch.zeros(0, 4),
        torch.tensor([[0.2, 0.3, 0.7, 0.9]]),
    ]
    return PairBatch(
        pixels=torch.randn(2, 3, 64, 64, generator=generator),
        image_of_pair=torch.tensor([0, 0, 1]),
        ids=torch.randint(0, 49000, (3, 5), generator=generator),
        mask=torch.ones(3, 5, dtype=torch.int64),
        boxes=boxes,
        masks=[box_masks(item) for item in boxes],
        pair_ids=[1, 2, 3],
    )


def box_masks(boxes: torch.Tensor, side: int = 32) -> torch.Tensor:
    """Filled boxes, (n, side, side)."""
    grid = (torch.arange(side) + 0.5) / side
    inside_x = (grid[None] >= boxes[:, :1]) & (grid[None] <= boxes[:, 2:3])
    inside_y = (grid[None] >= boxes[:, 1:2]) & (grid[None] <= boxes[:, 3:])
    return (inside_y[:, :, None] & inside_x[:, None]).float()
