"""LoRA on attention (peft), as an alternative to training heads only; merged into the weights when a run ends.

    adapters = adapt(model, config)      # in place: q, k, v and output projections get a low-rank update each
    ...                                  # train: nothing else learns but config.also
    adapters.merge()                     # in place: the model is the plain detector again, updates added

What is exported and served is then an ordinary checkpoint; nothing downstream knows of adapters.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from sam3.detector import Sam3Detector
from sam3.errors import BadConfig
from sam3.train.lora_config import LoraConfig

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv", "proj")


class Adapters:
    """The adapters of a model.

    Attributes:
        names: of the linear layers that got one.
    """

    def __init__(self, wrapped: Any, names: list[str]) -> None:
        self._wrapped, self.names = wrapped, names

    def merge(self) -> None:
        """Add the updates to the weights and take the adapters out; the state dict is the plain detector's again."""
        self._wrapped.merge_and_unload()


def adapt(model: Sam3Detector, config: LoraConfig) -> Adapters:
    """Put adapters on the attention of `config.parts`, and let nothing else learn but `config.also`.

    Raises:
        BadConfig: a part does not exist, or none of them has attention.
    """
    from peft import LoraConfig as PeftConfig
    from peft.tuners.lora import LoraModel

    known = dict(model.named_modules())
    for name in (*config.parts, *config.also):
        if name not in known:
            raise BadConfig(f"model.lora: the model has no part {name!r}. Parts: {_parts(model)}.", field="model.lora")
    names = attention_layers(model, config.parts)
    if not names:
        raise BadConfig(
            f"model.lora.parts={list(config.parts)}: no attention in them (the backbone of sam3-lite has none).",
            field="model.lora.parts",
        )
    alpha = cast(int, config.alpha)  # it only divides: a fraction will do
    settings = PeftConfig(
        r=config.rank, lora_alpha=alpha, lora_dropout=config.dropout, target_modules=names, bias="none"
    )
    wrapped = LoraModel(model, settings, "default")  # changes the model in place
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(tuple(f"{part}." for part in config.also)))
    return Adapters(wrapped, names)


def attention_layers(model: Sam3Detector, parts: tuple[str, ...]) -> list[str]:
    """Names of the linear projections of every attention block within `parts`."""
    inside = tuple(f"{part}." for part in parts)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(inside)
        and name.rsplit(".", 1)[-1] in PROJECTIONS
        and "attn" in name.rsplit(".", 1)[0] + _holder(model, name)
    ]


def _holder(model: Sam3Detector, name: str) -> str:
    """Class of the module a layer sits in, in small letters: "sam3vitattention" has no "attn" in its path."""
    kind = type(model.get_submodule(name.rsplit(".", 1)[0])).__name__.lower()
    return "attn" if "attention" in kind else ""


def _parts(model: nn.Module) -> str:
    return ", ".join(name for name, _ in model.named_children())
