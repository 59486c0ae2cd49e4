"""Attention of the published modules, through PyTorch's best kernel or written out.

Written out, the products and the softmax stay apart and the softmax is float32: builders that fuse half-precision
attention have left silently wrong features on several GPUs (cosine 0.06 to 0.09 against PyTorch), and this form,
which they do not fuse, is right.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, explicit: bool) -> Tensor:
    """softmax(q k' / sqrt(head) + mask) v.

    Args:
        q: (B, heads, N, head). k, v: (B, heads, M, head).
        mask: bool, False is not seen; or float, added. Broadcastable to (B, heads, N, M).
        explicit: write it out.
    """
    if not explicit:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).float()
    if mask is not None:
        # -1e4 and not -inf: it survives a cast to half precision, and exp(-1e4) is 0 all the same
        scores = scores + (torch.where(mask, 0.0, -1e4) if mask.dtype == torch.bool else mask.float())
    return torch.matmul(torch.softmax(scores, -1).to(v.dtype), v)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, explicit: bool = False
) -> Tensor:
    """`Sam3Attention` by its own projections: (B, N, d), (B, M, d), (B, M, d) -> (B, N, d).

    A batch of 1 on one side is broadcast to the other.
    """

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (module.num_attention_heads, module.head_dim)).transpose(1, 2)

    q, k, v = heads(module.q_proj(query)), heads(module.k_proj(key)), heads(module.v_proj(value))
    if not explicit and q.shape[0] != k.shape[0]:
        q = q.expand(k.shape[0], -1, -1, -1)
    out = scaled_dot_product(q, k, v, mask, explicit)
    return cast(Tensor, module.o_proj(out.transpose(1, 2).flatten(2)))
