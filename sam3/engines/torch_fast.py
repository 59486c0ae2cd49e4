"""The torch engine's fast path: `sam3.fast` behind the two calls, every optimisation a switch.

    load_engine("torch", checkpoint="facebook/sam3", fast="best")
    python benchmarks/torch_switches.py                            # what each switch gains and costs

With `compile` shapes are static: batches are filled up to powers of two, phrases to the text encoder's length, boxes
to powers of four, so that few programs (and CUDA graphs) exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sam3.checkpoint import Checkpoint
from sam3.engines.answer import Answer, distinct
from sam3.engines.prompts import PADDING, pad_boxes, phrase_of
from sam3.engines.torch_engine import TorchEngine
from sam3.fast.detector import FastDetector, Found
from sam3.fast.precision import cast
from sam3.fast.switches import Switches
from sam3.pixels import check_image, to_model
from sam3.types import FloatArray, Prompt, UInt8Array


@dataclass
class Embedding:
    """An encoded image; opaque to callers. See `FastDetector` for the parts."""

    trunk: Tensor
    level: Tensor
    started: Tensor
    size: tuple[int, int]
    fine: tuple[Tensor, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Memory it holds, for caches that count."""
        return sum(x.element_size() * x.nelement() for x in (self.trunk, self.level, self.started, *(self.fine or ())))


class FastTorchEngine(TorchEngine):
    """`encode` and `ground` on the fast detector.

    Args:
        checkpoint: a loaded checkpoint; its model is taken over and changed.
        switches: which optimisations to use.
    """

    name = "torch-fast"  # its embeddings are not the reference's

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        switches: Switches,
        device: str = "cpu",
        threshold: float = 0.5,
        batch: int = 16,
    ) -> None:
        super().__init__(checkpoint, device=device, threshold=threshold, batch=batch)
        self.switches, self.dtype = switches, "bfloat16" if switches.bf16 else "float32"
        self.kind = torch.bfloat16 if switches.bf16 else torch.float32
        self.layout = torch.channels_last if switches.channels_last else torch.contiguous_format
        self.fast = cast(FastDetector(self.model, switches).to(device).eval(), self.kind)
        self.exact_trunk = bool(getattr(self.fast.backbone, "exact", False))
        if switches.channels_last:
            for part in (self.fast.layers, self.fast.pixels):
                part.to(memory_format=torch.channels_last)
        words: Any = checkpoint.model.config.text_config
        self.length = words.max_position_embeddings
        fast = self.fast
        self.steps = {name: self._step(getattr(fast, name)) for name in ("trunk", "coarse", "fine", "ground", "masks")}

    def encode(self, images: Sequence[UInt8Array]) -> list[Embedding]:  # type: ignore[override]
        """uint8 RGB (H, W, 3) -> one embedding each."""
        arrays = [check_image(image) for image in images]
        out: list[Embedding] = []
        for start in range(0, len(arrays), self.batch):
            group = arrays[start : start + self.batch]
            pixels = np.stack([to_model(image, self.checkpoint.image_size) for image in group])
            with torch.inference_mode():
                x = _fill(torch.from_numpy(pixels), self._room(len(group)))
                kind = torch.float32 if self.exact_trunk else self.kind
                trunk = self._run("trunk", x.to(self.device, kind, memory_format=self.layout))
                level, started = self._run("coarse", trunk)
                fine = None if self.switches.used_levels else self._run("fine", trunk)
            for at, image in enumerate(group):
                one = slice(at, at + 1)
                held = None if fine is None else tuple(x[one] for x in fine)
                out.append(Embedding(trunk[one], level[one], started[one], image.shape[:2], held))
        return out

    def answer(self, embeddings: Sequence[Embedding], prompts: Sequence[Prompt]) -> Answer:  # type: ignore[override]
        """Every query of one batch of pairs."""
        held = [self._encode_phrase(phrase_of(prompt)) for prompt in prompts]
        sizes = [item.size for item in embeddings]
        boxes, labels, warnings = pad_boxes(sizes, prompts)
        images, rows = distinct(embeddings)
        count, room = len(prompts), self._room(len(prompts))
        with torch.inference_mode():
            at = _fill(torch.from_numpy(rows).long(), room).to(self.device)
            level = torch.cat([item.level for item in images])[at]
            started = torch.cat([item.started for item in images])[at]
            words = self._pad([words for words, _ in held])
            if self.switches.compile:
                more = self.length - words.mask.shape[1]
                words.features, words.mask = F.pad(words.features, (0, 0, 0, more)), F.pad(words.mask, (0, more))
            given = self._given(boxes, labels, room)
            found = Found(
                *self._run("ground", level, started, _fill(words.features, room), _fill(words.mask, room), *given)
            )
            answer = [x[:count].float().cpu().numpy() for x in (found.logits, found.boxes, found.presence)]

        def draw(pairs: Sequence[int], wanted: Sequence[np.ndarray]) -> list[FloatArray]:
            return self._paint(embeddings, found, pairs, wanted)

        said = [(*words[1], *more) for words, more in zip(held, warnings, strict=True)]
        return Answer(answer[0], answer[1], answer[2], draw, sizes, said)

    def features(self, embedding: Embedding) -> FloatArray:  # type: ignore[override]
        """float32 (d, H, W): the level that the DETR sees."""
        return embedding.level[0].float().cpu().numpy()

    def _paint(
        self, embeddings: Sequence[Embedding], found: Found, pairs: Sequence[int], wanted: Sequence[np.ndarray]
    ) -> list[FloatArray]:
        """Masks of chosen queries of chosen pairs; without `kept_masks` of all queries of these pairs, then chosen."""
        most = found.queries.shape[1]
        width = min(self._room(max(len(w) for w in wanted)), most) if self.switches.kept_masks else most
        room = self._room(len(pairs))
        with torch.inference_mode():
            chosen = _fill(torch.tensor(list(pairs)), room).to(self.device)
            index = (
                torch.arange(width).repeat(room, 1) if width == most else torch.zeros(room, width, dtype=torch.int64)
            )
            if width < most:
                for at, some in enumerate(wanted):
                    index[at, : len(some)] = torch.from_numpy(some)
            queries = found.queries[chosen].gather(
                1, index.to(self.device)[..., None].expand(-1, -1, found.queries.shape[2])
            )
            levels = [self._fine(embeddings[at]) for at in pairs]
            fine = tuple(_fill(torch.cat(level), room) for level in zip(*levels, strict=True))
            rows = self._run("masks", queries, found.encoded[chosen], fine)
            masks = rows.unflatten(-1, fine[0].shape[-2:]).float().cpu().numpy()
        if width == most:
            return [masks[at][some] for at, some in enumerate(wanted)]
        return [masks[at, : len(some)] for at, some in enumerate(wanted)]

    def _fine(self, embedding: Embedding) -> tuple[Tensor, ...]:
        """An image's fine levels, made when somebody first needs them."""
        if embedding.fine is None:
            embedding.fine = tuple(self._run("fine", embedding.trunk))
        return embedding.fine

    def _given(self, boxes: np.ndarray, labels: np.ndarray, room: int) -> tuple[Tensor, ...]:
        if not boxes.shape[1]:
            return ()
        if self.switches.compile:
            most = 4
            while most < boxes.shape[1]:
                most *= 4
            boxes = np.pad(boxes, ((0, 0), (0, most - boxes.shape[1]), (0, 0)), constant_values=0.5)
            labels = np.pad(labels, ((0, 0), (0, most - labels.shape[1])), constant_values=PADDING)
        return tuple(_fill(torch.from_numpy(x), room).to(self.device) for x in (boxes, labels))

    def _room(self, count: int) -> int:
        """A static batch size that holds `count`."""
        return 1 << (count - 1).bit_length() if self.switches.compile else count

    def _step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if not self.switches.compile:
            return step
        return torch.compile(step, dynamic=False, mode="reduce-overhead" if self.switches.cuda_graphs else None)

    def _run(self, name: str, *args: Any) -> Any:
        with tensor_cores(self.switches.bf16):
            return self._replay(name, *args)

    def _replay(self, name: str, *args: Any) -> Any:
        if not self.switches.cuda_graphs:
            return self.steps[name](*args)
        torch.compiler.cudagraph_mark_step_begin()
        out = self.steps[name](*args)
        # the next replay writes over a graph's outputs
        return out.clone() if isinstance(out, Tensor) else tuple(x.clone() for x in out)


@contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """What stays float32 (`sam3.fast.precision`) may round to TF32's 10 bits on a GPU meanwhile."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _fill(x: Tensor, room: int) -> Tensor:
    """Repeat the first row until there are `room` rows."""
    return x if len(x) == room else torch.cat([x, x[:1].expand(room - len(x), *x.shape[1:])])
