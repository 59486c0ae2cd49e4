"""config.json of a checkpoint -> the shapes of the Flax detector, without transformers.

Whatever a file leaves out has the value of the published model. A configuration of the published video model is
read for its detector.

    read_config(Path("sam3/weights/sam3-lite"))
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam3.errors import BadCheckpoint
from sam3.files import read_json


@dataclass(frozen=True)
class Transformer:
    """A stack of attention layers."""

    hidden_size: int = 256
    num_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "relu"
    num_queries: int = 200  # decoder only
    roi_size: int = 7  # geometry encoder only


@dataclass(frozen=True)
class Trunk:
    """The image backbone: SAM 3's ViT, or sam3-lite's EfficientNet-Lite0."""

    model_type: str = "sam3_vit_model"
    hidden_size: int = 1024
    intermediate_size: int = 4736
    num_hidden_layers: int = 32
    num_attention_heads: int = 16
    image_size: int = 1008
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    window_size: int = 24
    global_attn_indexes: tuple[int, ...] = (7, 15, 23, 31)
    pretrain_image_size: int = 336
    rope_theta: float = 10000.0

    @property
    def grid(self) -> int:
        """Places along a side of the trunk's map."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class Text:
    """CLIP's text encoder."""

    vocab_size: int = 49408
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = 32
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True)
class Neck:
    """The feature pyramid; the last scale is one that the detector never reads."""

    fpn_hidden_size: int = 256
    scale_factors: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)


@dataclass(frozen=True)
class Masks:
    """The mask head."""

    hidden_size: int = 256
    num_attention_heads: int = 8
    num_upsampling_stages: int = 3


@dataclass(frozen=True)
class Config:
    """The whole detector."""

    trunk: Trunk = field(default_factory=Trunk)
    neck: Neck = field(default_factory=Neck)
    text: Text = field(default_factory=Text)
    geometry: Transformer = field(default_factory=lambda: Transformer(num_layers=3))
    encoder: Transformer = field(default_factory=Transformer)
    decoder: Transformer = field(default_factory=Transformer)
    masks: Masks = field(default_factory=Masks)


def read_config(folder: Path) -> Config:
    """The shapes that a checkpoint folder's config.json describes.

    Raises:
        BadCheckpoint: the file is missing, or describes a backbone that is not ported.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise BadCheckpoint(
            f"{path}: missing. A checkpoint folder holds config.json, model.safetensors, tokenizer.json."
        )
    return from_values(read_json(path), str(path))


def from_values(values: dict[str, Any], where: str = "config") -> Config:
    """A `Config` from the dictionary of transformers' `Sam3Config`."""
    values = values.get("detector_config") or values
    vision = values.get("vision_config") or {}
    trunk = dict(vision.get("backbone_config") or {})
    rope = trunk.get("rope_parameters") or {}
    trunk.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    if trunk.get("model_type", "sam3_vit_model") not in ("sam3_vit_model", "sam3_efficientnet_lite"):
        raise BadCheckpoint(f"{where}: backbone {trunk['model_type']} is not ported to JAX. Use the torch engine.")
    decoder, geometry = values.get("detr_decoder_config"), values.get("geometry_encoder_config")
    return Config(
        _take(Trunk, trunk, where),
        _take(Neck, vision, where),
        _take(Text, values.get("text_config"), where),
        _take(Transformer, {"num_layers": 3} | (geometry or {}), where),
        _take(Transformer, values.get("detr_encoder_config"), where),
        _take(Transformer, decoder, where),
        _take(Masks, values.get("mask_decoder_config"), where),
    )


def _take(kind: type, values: dict[str, Any] | None, where: str) -> Any:
    """The fields of `kind` that are in `values`; lists become tuples, a square given twice becomes one number."""
    chosen: dict[str, Any] = {}
    for item in fields(kind):
        value = (values or {}).get(item.name)
        if value is None:
            continue
        if item.name.endswith("image_size") or item.name == "patch_size":
            sides = set(value) if isinstance(value, (list, tuple)) else {value}
            if len(sides) != 1:
                raise BadCheckpoint(f"{where}: {item.name} {value}: only squares are ported to JAX.")
            value = sides.pop()
        chosen[item.name] = tuple(value) if isinstance(value, list) else value
    return kind(**chosen)
