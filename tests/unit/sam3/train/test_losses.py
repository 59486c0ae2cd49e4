"""The loss teaches each kind of pair what it should, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from sam3.detector import Sam3Detector
from sam3.train.loss_config import LossConfig
from sam3.train.losses import detection_loss, overlap_class_loss, overlap_targets
from sam3.train.mask_losses import mask_losses, resize_masks
from sam3.train.matcher import MatchCosts, Matches, assign_many, match, match_overlapping, matching_cost
from sam3.train.module import DetectorModule, OptimizerConfig
from sam3.train.targets import PairBatch


def loss_of(model: Sam3Detector, batch: PairBatch, config: LossConfig) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    module = DetectorModule(model, config, OptimizerConfig(), total_steps=1, frozen=())
    return detection_loss(model, module(batch), batch, config)


def only(batch: PairBatch, pair: int) -> PairBatch:
    return replace(
        batch,
        image_of_pair=batch.image_of_pair[pair : pair + 1],
        ids=batch.ids[pair : pair + 1],
        mask=batch.mask[pair : pair + 1],
        boxes=[batch.boxes[pair]],
        masks=[batch.masks[pair]],
        pair_ids=[batch.pair_ids[pair]],
    )


def test_every_term_is_finite_and_logged_apart(model: Sam3Detector, batch: PairBatch) -> None:
    loss, terms = loss_of(model, batch, LossConfig())
    expected = {
        "class",
        "presence",
        "box",
        "giou",
        "mask",
        "dice",
        "semantic",
        "presence_positive",
        "presence_negative",
    }
    assert set(terms) == expected
    assert torch.isfinite(loss) and all(torch.isfinite(term) for term in terms.values())


def test_everything_but_the_unused_level_gets_a_gradient(model: Sam3Detector, batch: PairBatch) -> None:
    loss, _ = loss_of(model, batch, LossConfig())
    loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    unused = (
        "vision_encoder.neck.fpn_layers.3",
        "mask_decoder.pixel_decoder.conv_layers.2",
        "mask_decoder.pixel_decoder.norms.2",
    )
    allowed = (*unused, "geometry_encoder", "text_encoder.text_projection")  # no boxes here; no CLIP embedding
    assert all(name.startswith(allowed) for name in without), sorted(without)


def test_a_negative_pair_teaches_only_presence(model: Sam3Detector, batch: PairBatch) -> None:
    config = LossConfig(semantic_on_negatives=False)
    loss, terms = loss_of(model, only(batch, 1), config)
    assert float(terms["class"]) == float(terms["box"]) == float(terms["giou"]) == 0 and "mask" not in terms
    layers = model.config.detr_decoder_config.num_layers
    torch.testing.assert_close(loss, config.presence_loss_weight * layers * terms["presence"])
    loss.backward()
    assert model.dot_product_scoring.query_proj.weight.grad.abs().sum() == 0
    assert model.detr_decoder.presence_head.layer3.weight.grad.abs().sum() > 0


def test_pretraining_teaches_queries_to_be_silent_on_negatives(model: Sam3Detector, batch: PairBatch) -> None:
    _, terms = loss_of(model, only(batch, 1), LossConfig(class_on_negatives=1.0))
    assert float(terms["class"]) > 0


@pytest.mark.parametrize("name", ["focal_loss_weight", "dice_loss_weight", "iou_loss_weight", "presence_loss_weight"])
def test_each_weight_is_a_knob(model: Sam3Detector, batch: PairBatch, name: str) -> None:
    base = LossConfig()
    with torch.no_grad():
        one, _ = loss_of(model, batch, base)
        two, _ = loss_of(model, batch, replace(base, **{name: 2 * getattr(base, name)}))
    assert float(two) > float(one)


def test_the_matching_is_the_cheapest_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, generator=generator)
    corner = torch.rand(1, 4, 2, generator=generator) * 0.5
    boxes = torch.cat([corner, corner + 0.3], -1)
    targets = [boxes[0, [2, 0, 3]] + 0.01]
    found = match(logits, boxes, targets, MatchCosts(focal=0.0, box=1.0, giou=0.0))
    cost = torch.cdist(boxes[0], targets[0], p=1)
    best = min(permutations(range(4), 3), key=lambda order: sum(float(cost[q, t]) for t, q in enumerate(order)))
    assert found.query[found.target.argsort()].tolist() == list(best) == [2, 0, 3]


def test_more_objects_than_queries_matches_as_many_as_there_are() -> None:
    boxes = torch.rand(1, 2, 4).sort(-1).values
    found = match(torch.zeros(1, 2), boxes, [torch.rand(5, 4).sort(-1).values], MatchCosts())
    assert len(found.query) == 2 and len(set(found.query.tolist())) == 2


def test_several_queries_answer_for_an_object_the_nearest_of_its_own_pair_first() -> None:
    here, near, far = [0.1, 0.1, 0.3, 0.3], [0.12, 0.1, 0.3, 0.3], [0.6, 0.6, 0.9, 0.9]
    boxes = torch.tensor([[far, here, near], [here, near, far]])
    targets = [torch.tensor([here]), torch.tensor([far])]
    found = assign_many(matching_cost(torch.zeros(2, 3), boxes, targets, MatchCosts()), targets, several=2)
    assert found.pair.tolist() == [0, 0, 1, 1] and found.target.tolist() == [0, 0, 1, 1]
    assert found.query[:2].tolist() == [1, 2] and found.query[2] == 2


def test_queries_near_an_object_learn_its_box_only_when_asked(model: Sam3Detector, batch: PairBatch) -> None:
    _, alone = loss_of(model, batch, LossConfig())
    loss, many = loss_of(model, batch, LossConfig(queries_per_object=3))
    assert "box_near" not in alone and float(many["box_near"]) > 0 and torch.isfinite(loss)


def test_perfect_masks_cost_nothing() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[0, 2:6, 2:6] = 1
    focal, dice = mask_losses((truth - 0.5) * 40, truth)
    assert float(focal) < 1e-6 and float(dice) < 0.01
    focal, dice = mask_losses((0.5 - truth) * 40, truth)
    assert float(focal) > 1 and float(dice) > 0.9


def test_masks_shrink_by_area() -> None:
    masks = torch.zeros(1, 4, 4)
    masks[0, 0, :2] = 1
    assert resize_masks(masks, (2, 2))[0].tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert resize_masks(torch.zeros(0, 4, 4), (2, 2)).shape == (0, 2, 2)


def test_a_label_drawn_as_a_box_teaches_where_but_not_what_shape(model: Sam3Detector, batch: PairBatch) -> None:
    boxes_only = replace(batch, outlined=[torch.zeros(len(boxes), dtype=torch.bool) for boxes in batch.boxes])
    _, terms = loss_of(model, boxes_only, LossConfig(semantic_on_negatives=False))
    assert "mask" not in terms and float(terms["box"]) > 0
    _, terms = loss_of(model, batch, LossConfig(semantic_on_negatives=False))
    assert float(terms["mask"]) > 0


def matches(*triples: tuple[int, int, int]) -> Matches:
    return Matches(*torch.tensor(triples, dtype=torch.int64).reshape(-1, 3).unbind(1))


def test_every_query_that_overlaps_an_object_of_its_own_pair_is_found_with_the_nearest() -> None:
    left, right, nearly_left = [0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.02, 0.0, 0.4, 0.4]
    boxes = torch.tensor([[left, nearly_left, right], [left, left, left]])
    found, overlap = match_overlapping(boxes, [torch.tensor([left, right]), torch.tensor([right])], 0.5)
    triples = zip(found.pair.tolist(), found.query.tolist(), found.target.tolist(), strict=True)
    assert sorted(triples) == [(0, 0, 0), (0, 1, 0), (0, 2, 1)]
    assert sorted(round(value, 2) for value in overlap.tolist()) == [0.95, 1.0, 1.0]


def test_a_query_is_worth_the_root_of_its_overlap_and_a_matched_one_at_least_half() -> None:
    wanted = overlap_targets(
        torch.zeros(1, 4), matches((0, 0, 0), (0, 3, 1)), matches((0, 0, 0), (0, 1, 0)), torch.tensor([0.81, 0.49])
    )
    torch.testing.assert_close(wanted, torch.tensor([[0.9, 0.7, 0.0, 0.5]]))


def test_sharing_an_object_costs_nothing_when_classes_follow_overlap() -> None:
    positive, wanted = torch.tensor([True]), torch.tensor([[0.9, 0.9, 0.0]])
    both, one = (torch.logit(torch.tensor([row])) for row in ([0.9, 0.9, 0.01], [0.9, 0.1, 0.01]))
    config = LossConfig(class_overlap=0.4)
    assert overlap_class_loss(both, wanted, positive, config) < overlap_class_loss(one, wanted, positive, config)


def test_sharing_objects_trains_end_to_end(model: Sam3Detector, batch: PairBatch) -> None:
    loss, terms = loss_of(model, batch, LossConfig(class_overlap=0.0, class_on_negatives=0.2))
    loss.backward()
    assert float(terms["class"]) > 0 and torch.isfinite(loss)
