"""What is done on the small map is what it replaces, at the border, too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers.models.sam3.modeling_sam3 import Sam3FPNLayer

from sam3.fast.doubling import MergedLevel, double_and_convolve, doubles, merged_kernel

SIZES = [(1, 1), (2, 5), (8, 8)]


@pytest.mark.parametrize("size", SIZES)
def test_phases_are_the_convolution_of_the_doubled_map(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, *size, generator=generator)
    kernel = torch.randn(4, 6, 3, 3, generator=generator)
    expected = F.conv2d(F.interpolate(x, scale_factor=2), kernel, padding=1)
    torch.testing.assert_close(double_and_convolve(x, merged_kernel(kernel)), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [2.0, 4.0])
def test_a_merged_level_is_the_published_one(scale: float, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    level = Sam3FPNLayer(in_channels=16, fpn_dim=8, scale_factor=scale).eval()
    for name, bias in level.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(bias)  # a bias is what the border must not see
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        torch.testing.assert_close(MergedLevel(level)(x), level(x), atol=1e-5, rtol=1e-5)


def test_levels_that_double_nothing_stay_as_they_are() -> None:
    made = [doubles(Sam3FPNLayer(in_channels=16, fpn_dim=8, scale_factor=scale)) for scale in (4.0, 2.0, 1.0, 0.5)]
    assert made == [True, True, False, False]
