"""Checkpoints: where they are, what is in them, loading and saving (safetensors only).

A checkpoint is a folder: `config.json`, `model.safetensors`, `tokenizer.json`, and what its maker adds
(`training.json`, a model card). Names: `sam3-lite` (in this package), `facebook/sam3` (published; a local
folder or the hub), or any path.

    loaded = load_checkpoint("sam3-lite")
    loaded.model, loaded.tokenizer, loaded.image_size, loaded.sha256
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.errors import BadCheckpoint
from sam3.folders import fresh_folder
from sam3.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import Sam3Config

    from sam3.detector import Sam3Detector

WEIGHTS = Path(__file__).parent / "weights"
STARTER = "sam3-lite"
PUBLISHED = "facebook/sam3"


@dataclass
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        name: what the user asked for, for reports. folder: where it was found.
        image_size: side of the square the model sees, pixels.
        sha256: of model.safetensors; identifies the weights in reports and cache keys.
    """

    name: str
    folder: Path
    model: Sam3Detector
    tokenizer: Tokenizer
    image_size: int
    sha256: str


def checkpoint_folder(name: str | Path) -> Path:
    """The folder behind a name or path.

    Raises:
        BadCheckpoint: nothing is there; the message says how to get it.
    """
    if str(name) == STARTER:
        return WEIGHTS / STARTER
    path = Path(name)
    if path.is_file() and path.name == "model.safetensors":
        return path.parent
    if path.is_file():
        raise BadCheckpoint(
            f"{path}: not a checkpoint folder. Convert it first: sam3-agent download {path} --to models/mine"
        )
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadCheckpoint(
                f"{path}: no config.json in it. A checkpoint folder holds config.json, model.safetensors, tokenizer.json."
            )
        return path
    local = Path("models") / path.name
    if str(name) == PUBLISHED and (local / "config.json").is_file():
        return local
    hint = f"sam3-agent download {name}" if str(name) == PUBLISHED else f"a folder, {STARTER} or {PUBLISHED}"
    raise BadCheckpoint(f"{name}: no such checkpoint. Expected {hint}.")


def load_checkpoint(name: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> Checkpoint:
    """Load a detector for inference (eval mode).

    Args:
        name: `sam3-lite`, `facebook/sam3` or a folder.
        dtype: of the weights in memory, float32 when None.

    Raises:
        BadCheckpoint: missing, damaged, or not the weights that config.json describes.
    """
    import torch
    from transformers.utils import logging as transformers_logging

    from sam3.backbone import register
    from sam3.detector import Sam3Detector

    folder = checkpoint_folder(name)
    register()
    bars = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        loaded: Any = Sam3Detector.from_pretrained(
            folder,
            dtype=dtype or torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        model, info = loaded
    except BadCheckpoint:
        raise
    except Exception as error:  # damaged files raise whatever their reader raises
        reason = str(error).splitlines()[0][:200]
        raise BadCheckpoint(f"{folder}: cannot be loaded ({reason}). Fetch or train it again.") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    missing = sorted(info["missing_keys"])
    if missing:
        raise BadCheckpoint(
            f"{folder}: {len(missing)} weights that config.json asks for are not in the file, e.g. {missing[0]}. "
            "Is it another model's checkpoint?"
        )
    model = model.eval().to(device)
    return Checkpoint(
        str(name), folder, model, Tokenizer.load(folder), int(model.config.image_size), weights_sha256(folder)
    )


def save_checkpoint(
    folder: str | Path,
    model: Sam3Detector,
    tokenizer_file: Path,
    *,
    dtype: torch.dtype | None = None,
    extra: dict[str, str] | None = None,
) -> Path:
    """Write a checkpoint folder; an existing one is replaced only once the new one is whole.

    Args:
        tokenizer_file: the `tokenizer.json` to carry along.
        dtype: to store floating-point weights in; as they are when None.
        extra: further text files, name -> content.

    Raises:
        BadInput: the folder cannot be written, or the disk is full; the old one is as it was.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    with fresh_folder(target) as fresh:
        state = {}
        for name, tensor in model.state_dict().items():
            plain = tensor.detach().cpu().contiguous()
            state[name] = plain.to(dtype) if dtype is not None and plain.is_floating_point() else plain
        save_file(state, fresh / "model.safetensors", metadata={"format": "pt"})
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(fresh)
        shutil.copyfile(tokenizer_file, fresh / "tokenizer.json")
        for name, text in (extra or {}).items():
            (fresh / name).write_text(text, encoding="utf-8")
        for path in fresh.iterdir():
            path.chmod(0o644)  # safetensors writes private files
    return target


def weights_sha256(folder: Path) -> str:
    """SHA-256 of the safetensors files in a checkpoint folder, in name order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def lite_config(**changes: Any) -> Sam3Config:
    """The shape of sam3-lite: about 12 M parameters, 256 px, 32 queries.

    Args:
        changes: top-level overrides, e.g. `vision_config={...}`.
    """
    width, heads = 128, 4
    layer = {"hidden_size": width, "num_attention_heads": heads, "dropout": 0.0}
    return sam3_config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_efficientnet_lite",
                "hidden_size": 320,
                "image_size": 256,
            },
            "fpn_hidden_size": width,
            "backbone_feature_sizes": [[64, 64], [32, 32], [16, 16]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": 128,
            "intermediate_size": 512,
            "projection_dim": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        geometry_encoder_config={**layer, "num_layers": 1, "intermediate_size": 512, "roi_size": 5},
        detr_encoder_config={**layer, "num_layers": 3, "intermediate_size": 512},
        detr_decoder_config={**layer, "num_layers": 3, "intermediate_size": 512, "num_queries": 32},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": heads},
        **changes,
    )


def tiny_config() -> Sam3Config:
    """The smallest model with SAM 3's own parts (windowed and global rotary ViT), for tests: random weights, 64 px."""
    layer = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "dropout": 0.0,
        "intermediate_size": 64,
        "num_layers": 2,
    }
    return sam3_config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 64,
                "patch_size": 8,
                "window_size": 4,
                "global_attn_indexes": [1],
                "pretrain_image_size": 32,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 49408,
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        geometry_encoder_config={**layer, "roi_size": 3},
        detr_encoder_config=layer,
        detr_decoder_config={**layer, "num_queries": 8},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )


def sam3_config(**parts: Any) -> Sam3Config:
    """A `Sam3Config` from its parts, with our backbone known to transformers."""
    from transformers import Sam3Config

    from sam3.backbone import register

    register()
    return Sam3Config(**parts)
