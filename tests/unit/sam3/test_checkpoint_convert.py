"""Meta's checkpoint files become a folder that loads; files that want to run code are refused unread."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sam3.checkpoint import load_checkpoint, tiny_config
from sam3.checkpoint_convert import convert_pt, read_weights
from sam3.checkpoint_names import rename
from sam3.errors import BadCheckpoint

State = dict[str, torch.Tensor]

# ours -> Meta's, as regular expressions in the other direction than the table under test
BACK = [
    (
        r"^vision_encoder\.backbone\.embeddings\.position_embeddings$",
        "backbone.vision_backbone.trunk.pos_embed",
    ),
    (
        r"^vision_encoder\.backbone\.embeddings\.patch_embeddings\.projection",
        "backbone.vision_backbone.trunk.patch_embed.proj",
    ),
    (r"^vision_encoder\.backbone\.layer_norm", "backbone.vision_backbone.trunk.ln_pre"),
    (
        r"^vision_encoder\.backbone\.layers\.(\d+)\.attention\.o_proj",
        r"backbone.vision_backbone.trunk.blocks.\1.attn.proj",
    ),
    (
        r"^vision_encoder\.backbone\.layers\.(\d+)\.attention",
        r"backbone.vision_backbone.trunk.blocks.\1.attn",
    ),
    (
        r"^vision_encoder\.backbone\.layers\.(\d+)\.layer_norm",
        r"backbone.vision_backbone.trunk.blocks.\1.norm",
    ),
    (r"^vision_encoder\.backbone\.layers", "backbone.vision_backbone.trunk.blocks"),
    (
        r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.0",
        "backbone.vision_backbone.convs.0.dconv_2x2_0",
    ),
    (
        r"^vision_encoder\.neck\.fpn_layers\.0\.scale_layers\.2",
        "backbone.vision_backbone.convs.0.dconv_2x2_1",
    ),
    (r"^vision_encoder\.neck\.fpn_layers\.1\.scale_layers\.0", "backbone.vision_backbone.convs.1.dconv_2x2"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d+)\.proj1", r"backbone.vision_backbone.convs.\1.conv_1x1"),
    (r"^vision_encoder\.neck\.fpn_layers\.(\d+)\.proj2", r"backbone.vision_backbone.convs.\1.conv_3x3"),
    (r"^text_projection", "backbone.language_backbone.resizer"),
    (r"^text_encoder\.text_projection\.weight", "backbone.language_backbone.encoder.text_projection"),
    (r"^text_encoder\.text_model\.embeddings\.token_emb", "backbone.language_backbone.encoder.token_emb"),
    (
        r"^text_encoder\..*position_embedding\.weight",
        "backbone.language_backbone.encoder.positional_embedding",
    ),
    (r"^text_encoder\.text_model\.final_layer_norm", "backbone.language_backbone.encoder.ln_final"),
    (
        r"^text_encoder\.text_model\.encoder\.layers",
        "backbone.language_backbone.encoder.transformer.resblocks",
    ),
    (r"(resblocks\.\d+\.)layer_norm", r"\1ln_"),
    (r"(resblocks\.\d+\.)self_attn", r"\1attn"),
    (r"(resblocks\.\d+\.)mlp\.fc1", r"\1mlp.c_fc"),
    (r"(resblocks\.\d+\.)mlp\.fc2", r"\1mlp.c_proj"),
    (r"^geometry_encoder\.layers\.(\d+)\.cross_attn", r"geometry_encoder.encode.\1.cross_attn_image"),
    (r"^geometry_encoder\.layers", "geometry_encoder.encode"),
    (r"^geometry_encoder\.vision_layer_norm", "geometry_encoder.img_pre_norm"),
    (r"^geometry_encoder\.prompt_layer_norm", "geometry_encoder.norm"),
    (r"^geometry_encoder\.output_layer_norm", "geometry_encoder.encode_norm"),
    (r"^detr_encoder\.layers\.(\d+)\.cross_attn", r"transformer.encoder.layers.\1.cross_attn_image"),
    (r"^detr_encoder", "transformer.encoder"),
    (r"^detr_decoder\.output_layer_norm", "transformer.decoder.norm"),
    (r"^detr_decoder\.presence_layer_norm", "transformer.decoder.presence_token_out_norm"),
    (r"^detr_decoder\.presence_head", "transformer.decoder.presence_token_head"),
    (r"^detr_decoder\.box_head", "transformer.decoder.bbox_embed"),
    (r"^detr_decoder\.box_rpb_embed", "transformer.decoder.boxRPB_embed"),
    (r"^detr_decoder", "transformer.decoder"),
    (r"(decoder\.layers\.\d+)\.vision_cross_attn_layer_norm", r"\1.norm1"),
    (r"(decoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norm2"),
    (r"(decoder\.layers\.\d+)\.mlp_layer_norm", r"\1.norm3"),
    (r"(decoder\.layers\.\d+)\.text_cross_attn_layer_norm", r"\1.catext_norm"),
    (r"(decoder\.layers\.\d+)\.vision_cross_attn", r"\1.cross_attn"),
    (r"(decoder\.layers\.\d+)\.text_cross_attn", r"\1.ca_text"),
    (r"((?:encode|layers)\.\d+)\.layer_norm", r"\1.norm"),
    (r"((?:encode|coder\.layers)\.\d+)\.mlp\.fc", r"\1.linear"),
    (r"^dot_product_scoring\.text_mlp_out_norm", "dot_prod_scoring.prompt_mlp.out_norm"),
    (r"^dot_product_scoring\.text_mlp", "dot_prod_scoring.prompt_mlp"),
    (r"^dot_product_scoring\.text_proj", "dot_prod_scoring.prompt_proj"),
    (r"^dot_product_scoring\.query_proj", "dot_prod_scoring.hs_proj"),
    (r"^mask_decoder\.mask_embedder", "segmentation_head.mask_predictor.mask_embed"),
    (r"^mask_decoder\.instance_projection", "segmentation_head.instance_seg_head"),
    (r"^mask_decoder\.semantic_projection", "segmentation_head.semantic_seg_head"),
    (r"^mask_decoder\.prompt_cross_attn_norm", "segmentation_head.cross_attn_norm"),
    (r"^mask_decoder\.prompt_cross_attn", "segmentation_head.cross_attend_prompt"),
    (r"^mask_decoder", "segmentation_head"),
    (r"\.layer(\d)\.", lambda m: f".layers.{int(m[1]) - 1}."),
    (r"\.o_proj\.", ".out_proj."),
]


@pytest.fixture(scope="module")
def ours() -> State:
    """Random weights of the smallest model with SAM 3's own parts."""
    from transformers import Sam3Model

    torch.manual_seed(0)
    return Sam3Model(tiny_config()).state_dict()


@pytest.fixture(scope="module")
def metas(ours: State) -> State:
    """The same weights as Meta's file would hold them, the tracker and a rotary cache beside them."""
    state: State = {}
    for name, tensor in ours.items():
        for pattern, target in BACK:
            name = re.sub(pattern, target, name)
        if "pos_embed" in name and "trunk" in name:
            tensor = torch.cat([torch.full_like(tensor[:, :1], 9.0), tensor], dim=1)  # a class token in front
        if name.endswith("encoder.text_projection"):
            tensor = tensor.T.contiguous()
        state["detector." + name] = tensor
    for name in [n for n in state if ".q_proj." in n]:
        parts = [state.pop(name.replace(".q_proj.", f".{p}_proj.")) for p in "qkv"]
        joined = ".qkv." if "trunk" in name else ".in_proj_"
        state[name.replace(".q_proj.", joined)] = torch.cat(parts)
    state["detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis"] = torch.zeros(4)
    state["tracker.maskmem_tpos_enc"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("meta", "transformers"),
    [
        (
            "detector.backbone.vision_backbone.trunk.blocks.31.norm2.bias",
            "vision_encoder.backbone.layers.31.layer_norm2.bias",
        ),
        ("module.detector.geometry_encoder.norm.weight", "geometry_encoder.prompt_layer_norm.weight"),
        ("geometry_encoder.encode.2.norm1.weight", "geometry_encoder.layers.2.layer_norm1.weight"),
        (
            "transformer.decoder.layers.5.norm1.weight",
            "detr_decoder.layers.5.vision_cross_attn_layer_norm.weight",
        ),
        ("transformer.decoder.bbox_embed.layers.2.bias", "detr_decoder.box_head.layer3.bias"),
        (
            "transformer.encoder.layers.1.self_attn.out_proj.bias",
            "detr_encoder.layers.1.self_attn.o_proj.bias",
        ),
        (
            "segmentation_head.mask_predictor.mask_embed.layers.1.bias",
            "mask_decoder.mask_embedder.layers.1.bias",
        ),
        ("dot_prod_scoring.prompt_mlp.layers.0.weight", "dot_product_scoring.text_mlp.layer1.weight"),
        ("detr_decoder.box_head.layer3.bias", "detr_decoder.box_head.layer3.bias"),
        (
            "tracker.backbone.vision_backbone.trunk.pos_embed",
            "tracker.backbone.vision_backbone.trunk.pos_embed",
        ),
    ],
)
def test_names(meta: str, transformers: str) -> None:
    assert rename(meta) == transformers


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}])
def test_metas_file_gives_back_every_weight(wrap, ours: State, metas: State, tmp_path: Path) -> None:
    torch.save(wrap(metas), tmp_path / "sam3.pt")
    folder = convert_pt(tmp_path / "sam3.pt", tmp_path / "out", config=tiny_config())
    loaded = load_checkpoint(folder).model.state_dict()
    assert loaded.keys() == ours.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in ours.items())


def test_the_old_zipless_format_and_safetensors_are_read_too(metas: State, ours: State, tmp_path: Path) -> None:
    torch.save(metas, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({name: tensor.clone() for name, tensor in ours.items()}, tmp_path / "ours.safetensors")
    for source in ("old.pth", "ours.safetensors"):
        folder = convert_pt(tmp_path / source, tmp_path / "out", config=tiny_config())
        assert load_checkpoint(folder).tokenizer.encode(["a hen"]).ids.shape == (1, 4)


class Bomb:
    """Writes a file when it is unpickled by a careless reader."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.proof}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("maker", ["torch", "torch-old", "pickle-2", "pickle-4"])
def test_a_pickle_that_wants_to_run_code_is_refused_unread(maker: str, tmp_path: Path) -> None:
    proof, source = tmp_path / "proof", tmp_path / "evil.pt"
    content = {"model": {"a": torch.zeros(2)}, "x": Bomb(proof)}
    if maker.startswith("pickle"):
        source.write_bytes(pickle.dumps(Bomb(proof), protocol=int(maker[-1])))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=maker == "torch")
    with pytest.raises(BadCheckpoint, match=r"refused\. It is (more than plain|damaged, or a pickle)") as error:
        convert_pt(source, tmp_path / "out", config=tiny_config())
    assert "\n" not in str(error.value)
    assert maker == "pickle-4" or "asks to run posix.system" in str(error.value)
    assert not proof.exists(), "the file was executed"
    assert not (tmp_path / "out").exists()


def test_a_truncated_file(metas: State, tmp_path: Path) -> None:
    source = tmp_path / "sam3.pt"
    torch.save(metas, source)
    whole = source.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 30):
        source.write_bytes(whole[:size])
        with pytest.raises(BadCheckpoint, match=r"sam3\.pt: (cut short or damaged|refused)"):
            read_weights(source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"conv1.weight": torch.zeros(3)}, r"of \d+ weights are missing, e\.g\. vision_encoder"),
        ({"epoch": 3}, "weights are missing"),
        (torch.zeros(3), "holds Tensor and no named weights"),
        ([1, 2], "holds list and no named weights"),
        ({}, "no named weights"),
    ],
)
def test_a_file_that_is_not_sam3(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(BadCheckpoint, match=words):
        convert_pt(tmp_path / "other.pt", tmp_path / "out", config=tiny_config())
    assert not (tmp_path / "out").exists()


def test_one_missing_weight_is_named(metas: State, tmp_path: Path) -> None:
    part = {name: tensor for name, tensor in metas.items() if "presence_token.weight" not in name}
    torch.save(part, tmp_path / "part.pt")
    with pytest.raises(
        BadCheckpoint, match=r"1 of \d+ weights are missing, e\.g\. detr_decoder\.presence_token\.weight"
    ):
        convert_pt(tmp_path / "part.pt", tmp_path / "out", config=tiny_config())


def test_another_size_is_told(metas: State, tmp_path: Path) -> None:
    key = "detector.transformer.decoder.query_embed.weight"
    torch.save({**metas, key: torch.zeros(5, 32)}, tmp_path / "big.pt")
    with pytest.raises(BadCheckpoint, match=r"query_embed\.weight is \(5, 32\), expected \(8, 32\)"):
        convert_pt(tmp_path / "big.pt", tmp_path / "out", config=tiny_config())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"none\.pt: no such file"):
        read_weights(tmp_path / "none.pt")
