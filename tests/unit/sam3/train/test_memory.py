"""What saves memory changes no result, or only as much as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam3.checkpoint import load_checkpoint, save_checkpoint
from sam3.detector import Sam3Detector
from sam3.errors import BadConfig
from sam3.tokenizer import build_tokenizer_file
from sam3.train.lora import adapt, attention_layers
from sam3.train.lora_config import LoraConfig
from sam3.train.loss_config import LossConfig
from sam3.train.losses import detection_loss
from sam3.train.mask_points import sample
from sam3.train.memory import checkpoint_activations
from sam3.train.module import DetectorModule, OptimizerConfig, adamw, trainable_parameters
from sam3.train.targets import PairBatch


def gradients(model: Sam3Detector, batch: PairBatch, config: LossConfig) -> dict[str, torch.Tensor]:
    module = DetectorModule(model, config, OptimizerConfig(), 1, ())
    model.zero_grad()
    loss, _ = detection_loss(model, module(batch), batch, config)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_recomputed_activations_give_the_same_gradients(model: Sam3Detector, batch: PairBatch) -> None:
    kept = gradients(model, batch, LossConfig())
    checkpoint_activations(model)
    again = gradients(model, batch, LossConfig())
    assert kept.keys() == again.keys()
    for name, grad in kept.items():
        torch.testing.assert_close(again[name], grad, msg=name)


def test_masks_at_every_point_cost_what_whole_masks_cost(model: Sam3Detector, batch: PairBatch) -> None:
    whole, _ = detection_loss(model, module_of(model)(batch), batch, LossConfig())
    points = LossConfig(mask_points=4096)  # four times the pixels of the map: a fair sample of it
    sampled, terms = detection_loss(model, module_of(model)(batch), batch, points)
    assert abs(float(sampled) - float(whole)) < 0.05 * float(whole) and float(terms["mask"]) > 0


def test_points_depend_on_batch_and_pair_alone(model: Sam3Detector, batch: PairBatch) -> None:
    config = LossConfig(mask_points=64)
    torch.manual_seed(1)
    one, _ = detection_loss(model, module_of(model)(batch), batch, config)
    torch.manual_seed(2)
    two, _ = detection_loss(model, module_of(model)(batch), batch, config)
    other, _ = detection_loss(model, module_of(model)(batch), replace(batch, number=1), config)
    assert float(one.detach()) == float(two.detach()) != float(other.detach())


def test_a_sampled_map_is_bilinear_in_the_map() -> None:
    ramp = ((torch.arange(8) + 0.5) / 8).expand(1, 1, 8, 8)
    points = torch.tensor([[[0.25, 0.5], [0.6, 0.1]]])
    torch.testing.assert_close(sample(ramp, points)[0, 0], points[0, :, 0])


def test_points_teach_the_mask_head(model: Sam3Detector, batch: PairBatch) -> None:
    grads = gradients(model, batch, LossConfig(mask_points=64, semantic_loss_weight=0.0))
    assert float(grads["mask_decoder.instance_projection.weight"].abs().sum()) > 0


def module_of(model: Sam3Detector) -> DetectorModule:
    return DetectorModule(model, LossConfig(), OptimizerConfig(), 1, ())


def test_eight_bits_of_state_train_nearly_alike() -> None:
    target = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))
    ends = []
    for bits in (32, 8):
        weight = torch.nn.Parameter(torch.zeros(128, 128))
        optimizer = adamw(bits)([weight], lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            ((weight - target) ** 2).mean().backward()
            optimizer.step()
        ends.append(float(((weight - target) ** 2).mean().detach()))
        state = optimizer.state[weight]
    assert abs(ends[1] - ends[0]) < 0.02 * ends[0]
    assert {state["state1"].dtype, state["state2"].dtype} == {torch.uint8}
    with pytest.raises(BadConfig, match="state_bits=4"):
        adamw(4)


def test_adapters_are_merged_into_a_plain_checkpoint(model: Sam3Detector, batch: PairBatch, tmp_path: Path) -> None:
    names, whole = set(model.state_dict()), trainable_parameters(model)
    config = LoraConfig(rank=2, parts=("vision_encoder.backbone", "detr_encoder", "detr_decoder"))
    wanted = attention_layers(model, config.parts)
    assert any(name.startswith("vision_encoder.backbone.layers.0.") for name in wanted)
    assert not any("mlp" in name or "fc" in name for name in wanted)
    adapters = adapt(model, config)
    assert 0 < trainable_parameters(model) < whole / 5
    module = DetectorModule(model, LossConfig(), OptimizerConfig(learning_rate=1e-2), 10, ())
    optimizer = module.configure_optimizers()["optimizer"]
    frozen = model.mask_decoder.instance_projection.weight.clone()
    for _ in range(3):
        optimizer.zero_grad()
        detection_loss(model, module(batch), batch, LossConfig())[0].backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        before = module(batch)
    adapters.merge()
    assert set(model.state_dict()) == names
    assert torch.equal(model.mask_decoder.instance_projection.weight, frozen)
    build_tokenizer_file(tmp_path / "tokenizer.json")
    loaded = load_checkpoint(save_checkpoint(tmp_path / "merged", model, tmp_path / "tokenizer.json"))
    with torch.no_grad():
        after = module_of(loaded.model).eval()(batch)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-4, rtol=1e-4)


def test_adapters_on_what_has_no_attention_are_refused(model: Sam3Detector) -> None:
    with pytest.raises(BadConfig, match="no attention"):
        adapt(model, LoraConfig(rank=2, parts=("mask_decoder.pixel_decoder",), also=()))
    with pytest.raises(BadConfig, match="no part 'nowhere'"):
        adapt(model, LoraConfig(rank=2, parts=("nowhere",)))
