"""Pooling is torchvision's; eight bits are near."""

from __future__ import annotations

import torch
import torchvision

from sam3.fast.fp8 import Fp8Linear
from sam3.fast.geometry import roi_align


def test_pooling_by_products_is_roi_align() -> None:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(2, 8, 16, 12, generator=generator)
    boxes = torch.rand(2, 5, 4, generator=generator) * 0.5 + 0.25
    boxes[0, 0] = torch.tensor([0.5, 0.5, 1.0, 1.0])  # all of it
    boxes[0, 1] = torch.tensor([0.02, 0.98, 0.01, 0.01])  # a speck in a corner
    scale = torch.tensor([12, 16, 12, 16])
    corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1) * scale
    expected = torch.stack([torchvision.ops.roi_align(level[at : at + 1], [corners[at]], 5) for at in range(2)])
    got = roi_align(level.permute(0, 2, 3, 1), boxes, 5).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_eight_bit_linear_is_near_and_not_the_same() -> None:
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 32), torch.randn(3, 7, 64)
    exact, coarse = linear(x), Fp8Linear(linear)(x)
    assert coarse.shape == exact.shape
    assert 1e-4 < (exact - coarse).abs().mean() / exact.abs().mean() < 0.05
