"""Instance masks judged at points: memory and time of the mask loss no longer grow with the size of the map.

After PointRend (Kirillov et al. 2020) and Mask2Former (Cheng et al. 2022): three times the points are drawn, the
three quarters that are least certain are kept, the rest is uniform. Here the points are drawn per pair and shared by
its queries, so that the pixel map is read once a pair: at 1008 px a map is 288 x 288, and a full-size step has hundreds
of matched queries. The points are a function of the batch's number and the pair, not of who computes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from sam3.detector import Sam3Detector
from sam3.train.targets import PairBatch

if TYPE_CHECKING:
    from sam3.train.mask_losses import MatchedMasks

OVERSAMPLE, IMPORTANT = 3, 0.75


def at_points(
    model: Sam3Detector, batch: PairBatch, chosen: MatchedMasks, pairs: Tensor, pixels: Tensor, points: int
) -> tuple[Tensor, Tensor]:
    """Logits and truth of the chosen queries at points.

    Args:
        pairs: int64 (P',), the pairs of `pixels` (P', d, H, W).

    Returns:
        float32 (N, K) logits and (N, K) truth in [0, 1].
    """
    drawn = torch.stack([_drawn(batch, int(pair), points * OVERSAMPLE) for pair in pairs.tolist()]).to(pixels.device)
    with torch.no_grad():
        rough = model.mask_logits(sample(pixels, drawn)[:, :, None], chosen.rows, chosen.queries)[:, 0].float().abs()
        least = torch.full(drawn.shape[:2], torch.inf, device=rough.device)
        index = chosen.rows[:, None].expand_as(rough)
        least = least.scatter_reduce(0, index, rough, "amin")
        important = int(points * IMPORTANT)
        unsure = least.topk(important, largest=False, dim=1).indices
        rest = torch.arange(points - important, device=unsure.device).expand(len(unsure), -1)
        kept = torch.cat([unsure, rest], 1)
        places = drawn.gather(1, kept[..., None].expand(-1, -1, 2))
    logits = model.mask_logits(sample(pixels, places)[:, :, None], chosen.rows, chosen.queries)[:, 0].float()
    return logits, _truth(batch, pairs, places)[chosen.targets]


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (B, C, H, W) maps at (B, K, 2) points x, y in [0, 1] -> (B, C, K)."""
    return F.grid_sample(maps, (2 * points - 1)[:, None].to(maps.dtype), align_corners=False)[:, :, 0]


def _truth(batch: PairBatch, pairs: Tensor, places: Tensor) -> Tensor:
    """(T, K): every object of all pairs at its pair's points; 0 for objects of pairs that were not chosen."""
    row_of = {int(pair): row for row, pair in enumerate(pairs.tolist())}
    rows = []
    for pair, masks in enumerate(batch.masks):
        if pair in row_of and len(masks):
            rows.append(sample(masks[None].float(), places[row_of[pair]][None].float())[0])
        else:
            rows.append(masks.new_zeros((len(masks), places.shape[1]), dtype=torch.float32))
    return torch.cat(rows)


def _drawn(batch: PairBatch, pair: int, count: int) -> Tensor:
    number = batch.pair_ids[pair] if batch.pair_ids else pair
    generator = torch.Generator().manual_seed((batch.number * 1_000_003 + number) % 2**63)
    return torch.rand(count, 2, generator=generator)
