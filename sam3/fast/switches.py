"""Which optimisations of the torch engine are on.

load_engine("torch", checkpoint="sam3-lite", fast="best")
load_engine("torch", checkpoint="sam3-lite", fast="fused_qkv,kept_masks")
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from sam3.errors import BadConfig

# at 16 bits these stay float32, in PyTorch and JAX; `sam3.fast.precision` says why
EXACT_PARTS = ("text_encoder", "text_projection", "detr_decoder", "dot_product_scoring")


@dataclass(frozen=True)
class Switches:
    """One flag an optimisation.

    Attributes:
        bf16: weights and activations in bfloat16, but for what `sam3.fast.precision` keeps.
        fused_qkv: one product for queries, keys and values of the ViT.
        tables: rotary tables and position encodings made once.
        sdpa: attention through the best kernel that PyTorch has for the device; off, it is written out.
        channels_last: memory layout of neck and mask head.
        used_levels: the pyramid level nobody reads is not made, and the fine ones only for a picture with something
            to draw.
        hoist: what needs no prompt is done once an image (the DETR encoder's first self-attention), what needs no
            image once ever (the first decoder layer's queries).
        phases: the mask head's convolutions on the small map (`sam3.fast.masks`).
        merged_neck: a finer level's last doubling and both its convolutions in one (`sam3.fast.doubling`).
        kept_masks: masks only for queries above the threshold.
        compile: torch.compile with static shapes.
        cuda_graphs: replayed launches (CUDA only, needs `compile`).
        fp8: the ViT's linear layers in 8 bits (compute capability 8.9 or newer; emulated elsewhere).
    """

    bf16: bool = False
    fused_qkv: bool = False
    tables: bool = False
    sdpa: bool = False
    channels_last: bool = False
    used_levels: bool = False
    hoist: bool = False
    phases: bool = False
    merged_neck: bool = False
    kept_masks: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    fp8: bool = False

    @property
    def on(self) -> list[str]:
        """Names of the flags that are set."""
        return [item.name for item in fields(self) if getattr(self, item.name)]


EXACT = Switches(
    fused_qkv=True,
    tables=True,
    sdpa=True,
    channels_last=True,
    used_levels=True,
    hoist=True,
    phases=True,
    merged_neck=True,
    kept_masks=True,
)  # less work, the same float32 numbers up to rounding


def best(device: str) -> Switches:
    """What pays on a device: everything but FP8 on a GPU; what changes no precision on a CPU."""
    return replace(EXACT, bf16=True, compile=True, cuda_graphs=True) if device.startswith("cuda") else EXACT


def parse(text: str, device: str) -> Switches:
    """ "none", "exact", "best", or names separated by commas; a name may follow a preset ("best,fp8").

    Raises:
        BadConfig: a name that is none.
    """
    presets = {"none": Switches(), "exact": EXACT, "best": best(device)}
    known = [item.name for item in fields(Switches)]
    chosen = Switches()
    for word in filter(None, text.replace(" ", "").split(",")):
        if word in presets:
            chosen = presets[word]
        elif word in known:
            chosen = replace(chosen, **{word: True})
        else:
            raise BadConfig(f"fast={word!r}: expected {', '.join([*presets, *known])}.", field="fast")
    if chosen.cuda_graphs and not (chosen.compile and device.startswith("cuda")):
        raise BadConfig("fast: cuda_graphs needs compile and a CUDA device.", field="fast")
    return chosen
