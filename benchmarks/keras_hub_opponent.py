"""keras-hub's SAM 3 on JAX behind the two calls of an engine: the opponent of our JAX engine.

    uv pip install --python .venv/bin/python --target outputs/keras-hub --no-deps \\
        -r benchmarks/keras_hub_requirements.txt
    PYTHONPATH=outputs/keras-hub python benchmarks/engines.py --model full --engines keras-hub,jax --device cuda

It lies beside the environment and not in it: its dependencies hold TensorFlow, which nothing here needs. It is used as it is
documented: one functional model from picture and phrase to masks, compiled by Keras; it has no call that keeps a picture's
features for a further phrase. The weights are ported by its own converter, so that its answers can be compared as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sam3.checkpoint import load_checkpoint
from sam3.engines.answer import Answer
from sam3.errors import BadInput, Unavailable
from sam3.pixels import to_model
from sam3.types import Detections, Prompt, UInt8Array

LENGTH = 32  # tokens, as its preprocessor pads


class Weights:
    """A checkpoint's tensors by the names of transformers, as keras-hub's converter asks for them."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = tensors

    def port_weight(self, variable: Any, name: str, hook_fn: Callable[[Any, Any], Any] | None = None) -> None:
        """Assign one tensor."""
        value = self.tensors[name].float().numpy()
        variable.assign(hook_fn(value, list(variable.shape)) if hook_fn else value)


class KerasHubEngine:
    """Every pair is a forward pass over picture and phrase; all pairs of a call go as one batch.

    Raises:
        BadInput: a checkpoint with another backbone than SAM 3's ViT. Unavailable: keras-hub is not on the path.
    """

    name = "keras-hub"

    def __init__(self, checkpoint: str, *, bf16: bool, threshold: float = 0.5) -> None:
        os.environ.setdefault("KERAS_BACKEND", "jax")
        try:
            from keras_hub.src.models.sam3.sam3_pc_backbone import SAM3PromptableConceptBackbone
            from keras_hub.src.utils.transformers import convert_sam3
        except ImportError as error:
            raise Unavailable(
                f"keras-hub with SAM 3 is not on the path ({error}). benchmarks/keras_hub_opponent.py says how."
            ) from error
        loaded = load_checkpoint(checkpoint)
        if loaded.model.config.vision_config.backbone_config.model_type != "sam3_vit_model":
            raise BadInput(f"{checkpoint}: keras-hub has SAM 3's own backbone only. Use --model full or small.")
        self.tokenizer, self.side, self.threshold = loaded.tokenizer, loaded.image_size, threshold
        about = {"detector_config": loaded.model.config.to_dict()}
        parts = convert_sam3.convert_backbone_config(
            about, SAM3PromptableConceptBackbone, dtype="bfloat16" if bf16 else "float32"
        )
        self.model = SAM3PromptableConceptBackbone(**parts)
        convert_sam3.convert_weights(self.model, Weights(loaded.model.state_dict()), about)

    def encode(self, images: Sequence[UInt8Array]) -> list[Any]:
        """Pixels as the model takes them: (S, S, 3) float32."""
        return [(to_model(image, self.side).transpose(1, 2, 0), image.shape[:2]) for image in images]

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        """Pairwise: embeddings[i] with prompts[i]."""
        return self.answer(embeddings, prompts).detections(self.threshold)

    def answer(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> Answer:
        """Every query of a batch of pairs."""
        tokens = self.tokenizer.encode([str(prompt.text) for prompt in prompts], length=LENGTH)
        found = self.model.predict_on_batch(
            {
                "pixel_values": np.stack([pixels for pixels, _ in embeddings]),
                "token_ids": tokens.ids.astype(np.int32),
                "padding_mask": tokens.mask.astype(np.int32),
                "boxes": np.zeros((len(prompts), 1, 5), np.float32),
                "box_labels": np.full((len(prompts), 1), -10, np.int32),  # its label of a padding box
            }
        )
        logits, boxes, presence, masks = (
            np.asarray(found[name], np.float32)
            for name in ("pred_logits", "pred_boxes", "presence_logits", "pred_masks")
        )

        def draw(pairs: Sequence[int], wanted: Sequence[np.ndarray]) -> list[Any]:
            return [masks[at].transpose(2, 0, 1)[queries] for at, queries in zip(pairs, wanted, strict=True)]

        count = len(prompts)
        sizes, said = [size for _, size in embeddings], [()] * count
        return Answer(logits.reshape(count, -1), boxes, presence.reshape(count), draw, sizes, said)
