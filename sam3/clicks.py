"""A click or a box -> one mask, with SAM 3's tracker (transformers' `Sam3TrackerModel`), as in interactive segmentation.

    model = ClickModel.load("facebook/sam3")
    seen = model.look(image)                                       # once a picture
    mask, score = model.mask(seen, points=[(120, 80)], labels=[1])  # as often as somebody clicks

The published checkpoint holds the tracker beside the detector; sam3-lite does not. Of the three masks that the tracker
offers the one it rates best is taken (Kirillov et al. 2023, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam3.errors import BadCheckpoint, BadInput
from sam3.pixels import enlarge, to_model
from sam3.types import UInt8Array

if TYPE_CHECKING:
    from transformers import Sam3TrackerModel


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture that was encoded: its features, and its (H, W)."""

    features: list[Any]
    size: tuple[int, int]


class ClickModel:
    """Interactive segmentation of one thing at a time.

    Args:
        model: the tracker, loaded.
    """

    def __init__(self, model: Sam3TrackerModel) -> None:
        self.model = model.eval()
        self.side = int(model.config.prompt_encoder_config.image_size)  # type: ignore[union-attr]

    @classmethod
    def load(cls, checkpoint: str | Path, device: str | None = None) -> ClickModel:
        """From a checkpoint that holds a tracker.

        Raises:
            BadCheckpoint: it holds none, or not all of it.
        """
        import torch
        from transformers import Sam3TrackerModel

        from sam3.checkpoint import checkpoint_folder

        folder = Path(checkpoint_folder(checkpoint))
        if not holds_tracker(folder):
            raise BadCheckpoint(f"{checkpoint}: holds no tracker for clicks. Use a box, or download facebook/sam3.")
        loaded: Any = Sam3TrackerModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        model, info = loaded
        if info["missing_keys"]:
            first = sorted(info["missing_keys"])[0]
            raise BadCheckpoint(f"{checkpoint}: {len(info['missing_keys'])} weights are missing, the first is {first}.")
        return cls(model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")))

    def look(self, image: UInt8Array) -> Looked:
        """Encode uint8 RGB (H, W, 3)."""
        import torch

        pixels = torch.from_numpy(to_model(image, self.side))[None].to(self.model.device)
        return Looked(self.model.get_image_embeddings(pixels), (image.shape[0], image.shape[1]))

    def mask(
        self,
        seen: Looked,
        points: Sequence[tuple[float, float]] = (),
        labels: Sequence[int] = (),
        box: Sequence[float] | None = None,
    ) -> tuple[NDArray[np.bool_], float]:
        """The thing that is meant.

        Args:
            points: xy pixels of the picture; labels: 1 on the thing, 0 beside it. box: xyxy pixels, around it.

        Returns:
            bool (H, W), and how good the tracker thinks it is, 0..1.

        Raises:
            BadInput: neither points nor a box, or not as many labels as points.
        """
        import torch

        if (not points and box is None) or len(points) != len(labels):
            raise BadInput("a click needs points with as many labels, or a box.", field="points")
        height, width = seen.size
        scale, device = np.array([self.side / width, self.side / height]), self.model.device
        given: dict[str, Any] = {}
        if points:
            moved = (np.asarray(points, float) * scale).astype(np.float32)
            given["input_points"] = torch.from_numpy(moved)[None, None].to(device)
            given["input_labels"] = torch.tensor(list(labels), dtype=torch.int32)[None, None].to(device)
        if box is not None:
            moved = (np.asarray(box, float).reshape(2, 2) * scale).astype(np.float32).reshape(4)
            given["input_boxes"] = torch.from_numpy(moved)[None, None].to(device)
        with torch.inference_mode():
            # several masks help where a click is ambiguous; a box is not
            out = self.model(image_embeddings=seen.features, multimask_output=box is None, **given)
        scores = out.iou_scores[0, 0].float().cpu().numpy()
        best = int(scores.argmax())
        logits = out.pred_masks[0, 0, best].float().cpu().numpy()
        return enlarge(logits[None], seen.size)[0], float(np.clip(scores[best], 0, 1))


def holds_tracker(folder: Path) -> bool:
    """Whether a checkpoint folder is of a model with a tracker."""
    from sam3.files import read_json

    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") in ("sam3_video", "sam3_tracker")
