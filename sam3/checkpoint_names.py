"""Meta's names for the weights of SAM 3's detector -> those of transformers' `Sam3Model`.

One table, read from top to bottom: the first line that fits the beginning of a name wins. Used by
`sam3.checkpoint_convert`; try `python -c "from sam3.checkpoint_names import rename; print(rename('...'))"`.
"""

from __future__ import annotations

import re

# what training and packaging put in front of the detector's names
WRAPPERS = ("module.", "model.", "sam3_model.", "detector.", "detector_model.")

# (beginning in Meta's file, beginning in ours, {rest there: rest here}); "#" is a layer number
TABLE: tuple[tuple[str, str, dict[str, str]], ...] = (
    (  # image encoder
        "backbone.vision_backbone.trunk.",
        "vision_encoder.backbone.",
        {
            "pos_embed": "embeddings.position_embeddings",
            "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
            "ln_pre.": "layer_norm.",
            "blocks.#.norm": "layers.#.layer_norm",
            "blocks.#.attn.proj.": "layers.#.attention.o_proj.",
            "blocks.#.attn.": "layers.#.attention.",
            "blocks.#.mlp.": "layers.#.mlp.",
        },
    ),
    (  # its neck
        "backbone.vision_backbone.convs.#.",
        "vision_encoder.neck.fpn_layers.#.",
        {
            "dconv_2x2_0.": "scale_layers.0.",
            "dconv_2x2_1.": "scale_layers.2.",
            "dconv_2x2.": "scale_layers.0.",
            "conv_1x1.": "proj1.",
            "conv_3x3.": "proj2.",
        },
    ),
    (  # text encoder
        "backbone.language_backbone.encoder.",
        "text_encoder.",
        {
            "token_embedding.": "text_model.embeddings.token_embedding.",
            "positional_embedding": "text_model.embeddings.position_embedding.weight",
            "ln_final.": "text_model.final_layer_norm.",
            "text_projection": "text_projection.weight",
            "transformer.resblocks.#.attn.": "text_model.encoder.layers.#.self_attn.",
            "transformer.resblocks.#.ln_": "text_model.encoder.layers.#.layer_norm",
            "transformer.resblocks.#.mlp.c_fc.": "text_model.encoder.layers.#.mlp.fc1.",
            "transformer.resblocks.#.mlp.c_proj.": "text_model.encoder.layers.#.mlp.fc2.",
        },
    ),
    (  # words to the width of the DETR
        "backbone.language_backbone.",
        "",
        {
            "resizer.": "text_projection.",
        },
    ),
    (  # geometry encoder
        "geometry_encoder.",
        "geometry_encoder.",
        {
            "encode.#.cross_attn_image.": "layers.#.cross_attn.",
            "encode.#.linear": "layers.#.mlp.fc",
            "encode.#.norm": "layers.#.layer_norm",
            "encode.": "layers.",
            "img_pre_norm.": "vision_layer_norm.",
            "norm.": "prompt_layer_norm.",
            "encode_norm.": "output_layer_norm.",
        },
    ),
    (  # DETR encoder
        "transformer.encoder.",
        "detr_encoder.",
        {
            "layers.#.cross_attn_image.": "layers.#.cross_attn.",
            "layers.#.linear": "layers.#.mlp.fc",
            "layers.#.norm": "layers.#.layer_norm",
            "": "",
        },
    ),
    (  # DETR decoder
        "transformer.decoder.",
        "detr_decoder.",
        {
            "layers.#.ca_text.": "layers.#.text_cross_attn.",
            "layers.#.catext_norm.": "layers.#.text_cross_attn_layer_norm.",
            "layers.#.cross_attn.": "layers.#.vision_cross_attn.",
            "layers.#.norm1.": "layers.#.vision_cross_attn_layer_norm.",
            "layers.#.norm2.": "layers.#.self_attn_layer_norm.",
            "layers.#.norm3.": "layers.#.mlp_layer_norm.",
            "layers.#.linear": "layers.#.mlp.fc",
            "norm.": "output_layer_norm.",
            "presence_token_out_norm.": "presence_layer_norm.",
            "presence_token_head.": "presence_head.",
            "bbox_embed.": "box_head.",
            "boxRPB_embed_": "box_rpb_embed_",
            "": "",
        },
    ),
    (  # scores
        "dot_prod_scoring.",
        "dot_product_scoring.",
        {
            "prompt_mlp.out_norm.": "text_mlp_out_norm.",
            "prompt_mlp.": "text_mlp.",
            "prompt_proj.": "text_proj.",
            "hs_proj.": "query_proj.",
        },
    ),
    (  # masks
        "segmentation_head.",
        "mask_decoder.",
        {
            "mask_predictor.mask_embed.": "mask_embedder.",
            "mask_embed.": "mask_embedder.",
            "instance_seg_head.": "instance_projection.",
            "semantic_seg_head.": "semantic_projection.",
            "cross_attend_prompt.": "prompt_cross_attn.",
            "cross_attn_norm.": "prompt_cross_attn_norm.",
            "": "",
        },
    ),
)
RENAMES = [
    (re.compile(re.escape(start + old).replace(r"\#", r"(\d+)")), (ours + new).replace("#", r"\g<1>"))
    for start, ours, rows in TABLE
    for old, new in rows.items()
]
# perceptrons count their layers from 0 in a list there, and from 1 by name here
NUMBERED = re.compile(r"^((?:detr_decoder|dot_product_scoring)\.\w+)\.layers\.(\d+)\.")


def rename(name: str) -> str:
    """Meta's name of a weight -> ours; a name that is ours already, or nobody's, comes back as it is."""
    while wrapper := next((w for w in WRAPPERS if name.startswith(w)), None):
        name = name.removeprefix(wrapper)
    for pattern, target in RENAMES:
        if match := pattern.match(name):
            name = match.expand(target) + name[match.end() :]
            break
    name = NUMBERED.sub(lambda m: f"{m[1]}.layer{int(m[2]) + 1}.", name)
    if not name.startswith("text_encoder."):  # CLIP keeps the old name
        name = name.replace("attn.out_proj.", "attn.o_proj.")
    return name
