"""The image backbone of sam3-lite: EfficientNet-Lite0 behind SAM 3's own neck.

transformers' `Sam3VisionModel` takes any backbone through `backbone_config`, as long as it leaves one map of
`hidden_size` channels at one stride. This one stacks what an ImageNet network knows at four strides on the
stride-16 grid, and adds what it would *call* each place: class probabilities mixed into word embeddings
(ConSE, Norouzi et al. 2014), so that pictures and words meet before any detection is learned.

    from sam3.backbone import EfficientNetLiteConfig, EfficientNetLiteBackbone
    EfficientNetLiteBackbone(EfficientNetLiteConfig())(torch.zeros(1, 3, 256, 256)).last_hidden_state.shape
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STRIDE_CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}
CLASSES = 1000


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of the backbone.

    Args:
        hidden_size: channels handed to the neck.
        image_size: side of the square input, pixels; a multiple of 32.
        semantic_size: dimensions of the word embedding mixed in per place.
        temperature: of the class probabilities; higher mixes more classes.
    """

    model_type = "sam3_efficientnet_lite"
    base_config_key = "backbone_config"

    def __init__(
        self,
        hidden_size: int = 320,
        image_size: int = 256,
        patch_size: int = 16,
        semantic_size: int = 128,
        temperature: float = 1.5,
        **kwargs: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = patch_size
        self.semantic_size = semantic_size
        self.temperature = temperature
        super().__init__(**kwargs)


class EfficientNetLiteBackbone(PreTrainedModel):
    """EfficientNet-Lite0 (timm's layout), frozen, and one trained projection of its stacked maps."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        import timm

        self.trunk = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.class_embeddings = nn.Parameter(torch.zeros(CLASSES, config.semantic_size))
        self.adapter = nn.Linear(self.stacked_channels(config), config.hidden_size)
        self.adapter_norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    @staticmethod
    def stacked_channels(config: EfficientNetLiteConfig) -> int:
        """Channels of `stack` at stride 16: space to depth below, upsampled above."""
        return (
            16 * STRIDE_CHANNELS[4]
            + 4 * STRIDE_CHANNELS[8]
            + STRIDE_CHANNELS[16]
            + STRIDE_CHANNELS[32]
            + config.semantic_size
        )

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
        return self.trunk.conv_stem

    def stack(self, pixel_values: Tensor) -> Tensor:
        """Everything the trunk knows, on the stride-16 grid.

        Args:
            pixel_values: (B, 3, S, S), S a multiple of 32, normalised to [-1, 1].

        Returns:
            (B, S/16, S/16, C), C = `stacked_channels`.
        """
        trunk = self.trunk
        x = trunk.bn1(trunk.conv_stem(pixel_values))
        maps: dict[int, Tensor] = {}
        for stage, stride in enumerate((2, 4, 8, 16, 16, 32, 32)):
            x = trunk.blocks[stage](x)
            maps[stride] = x
        logits = trunk.classifier(trunk.bn2(trunk.conv_head(x)).permute(0, 2, 3, 1))
        probabilities = (logits / self.config.temperature).softmax(-1)
        # a map like the others, scaled to their size: embeddings are unit vectors of many small parts
        semantic = (probabilities @ self.class_embeddings).permute(0, 3, 1, 2) * 8.0
        coarse = F.interpolate(
            torch.cat([maps[32], semantic], 1), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        stacked = torch.cat([F.pixel_unshuffle(maps[4], 4), F.pixel_unshuffle(maps[8], 2), maps[16], coarse], 1)
        return stacked.permute(0, 2, 3, 1)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """(B, 3, S, S) -> last_hidden_state (B, (S/16)^2, hidden_size)."""
        with torch.no_grad():
            stacked = self.stack(pixel_values)
        hidden = self.adapter_norm(self.adapter(stacked.flatten(1, 2)))
        return BaseModelOutput(last_hidden_state=hidden)


def register() -> None:
    """Make the backbone known to transformers' `AutoModel`; harmless when called again."""
    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteBackbone, exist_ok=True)
