"""The image backbone of sam3-lite: EfficientNet-Lite0 behind SAM 3's own neck.

transformers' `Sam3VisionModel` takes any backbone through `backbone_config`, as long as it leaves one map of
`hidden_size` channels at one stride. This one stacks what an ImageNet network knows at four strides on the
stride-16 grid, and tells every place where it is.

    from sam3.backbone import EfficientNetLiteConfig, EfficientNetLiteBackbone
    EfficientNetLiteBackbone(EfficientNetLiteConfig())(torch.zeros(1, 3, 256, 256)).last_hidden_state.shape
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STRIDE_CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}
STRIDES = (2, 4, 8, 16, 16, 32, 32)  # after each stage of the trunk


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of the backbone.

    Args:
        hidden_size: channels handed to the neck.
        image_size: side of the square input, pixels; a multiple of 32.
    """

    model_type = "sam3_efficientnet_lite"
    base_config_key = "backbone_config"

    def __init__(
        self,
        hidden_size: int = 320,
        image_size: int = 256,
        patch_size: int = 16,
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = patch_size
        super().__init__(**kwargs)


class EfficientNetLiteBackbone(PreTrainedModel):
    """EfficientNet-Lite0 (timm's layout), a projection of its stacked maps, and a position for every place."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        import timm
        from timm.layers import build_sincos2d_pos_embed

        self.trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        del self.trunk.conv_head, self.trunk.bn2, self.trunk.classifier  # what follows the last map
        self.adapter = nn.Linear(self.stacked_channels(), config.hidden_size)
        self.adapter_norm = nn.LayerNorm(config.hidden_size)
        # convolutions know where they are only by their borders; as in SAM 3's ViT, every place is told
        side = config.image_size // config.patch_size
        places = build_sincos2d_pos_embed([side, side], dim=config.hidden_size)
        self.position_embeddings = nn.Parameter(0.5 * places[None])
        self.post_init()

    @staticmethod
    def stacked_channels() -> int:
        """Channels of `stack` at stride 16: space to depth below, upsampled above."""
        return 16 * STRIDE_CHANNELS[4] + 4 * STRIDE_CHANNELS[8] + STRIDE_CHANNELS[16] + STRIDE_CHANNELS[32]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def train(self, mode: bool = True) -> EfficientNetLiteBackbone:
        """Training never moves the trunk: its batch statistics stay those of ImageNet."""
        super().train(mode)
        self.trunk.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution."""
        return cast(nn.Module, self.trunk.conv_stem)

    def stack(self, pixel_values: Tensor) -> Tensor:
        """What the trunk sees at four strides, on the stride-16 grid.

        Args:
            pixel_values: (B, 3, S, S), S a multiple of 32, normalised to [-1, 1].

        Returns:
            (B, S/16, S/16, C), C = `stacked_channels()`.
        """
        trunk = self.trunk
        x = trunk.bn1(trunk.conv_stem(pixel_values))
        maps: dict[int, Tensor] = {}
        for stage, stride in enumerate(STRIDES):
            x = trunk.blocks[stage](x)
            maps[stride] = x
        coarse = F.interpolate(maps[32], scale_factor=2.0, mode="bilinear", align_corners=False)
        stacked = torch.cat([F.pixel_unshuffle(maps[4], 4), F.pixel_unshuffle(maps[8], 2), maps[16], coarse], 1)
        return stacked.permute(0, 2, 3, 1)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """(B, 3, S, S) -> last_hidden_state (B, (S/16)^2, hidden_size)."""
        hidden = self.adapter_norm(self.adapter(self.stack(pixel_values).flatten(1, 2)))
        return BaseModelOutput(last_hidden_state=hidden + self.position_embeddings)


def register() -> None:
    """Make the backbone known to transformers' `AutoModel`; harmless when called again."""
    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteBackbone, exist_ok=True)
