"""The detector in steps answers as transformers' `Sam3Model` does in one call."""

from __future__ import annotations

import pytest
import torch

from sam3.checkpoint import lite_config, tiny_config
from sam3.detector import BoxPrompts, Sam3Detector


@pytest.fixture(scope="module", params=["tiny", "lite"])
def model(request: pytest.FixtureRequest) -> Sam3Detector:
    torch.manual_seed(0)
    config = tiny_config() if request.param == "tiny" else lite_config()
    return Sam3Detector(config).eval()


@pytest.fixture(scope="module")
def inputs(model: Sam3Detector) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = model.config.image_size
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    return {
        "pixels": torch.randn(2, 3, side, side, generator=generator),
        "ids": torch.randint(0, 49000, (2, 6), generator=generator),
        "mask": mask,
        "boxes": torch.rand(2, 3, 4, generator=generator) * 0.4 + 0.2,
        "labels": torch.tensor([[1, 0, -10], [1, -10, -10]]),
    }


@pytest.mark.parametrize("with_boxes", [False, True])
def test_steps_equal_the_one_call(model: Sam3Detector, inputs: dict[str, torch.Tensor], with_boxes: bool) -> None:
    boxes = BoxPrompts(inputs["boxes"], inputs["labels"]) if with_boxes else None
    with torch.no_grad():
        expected = model(
            pixel_values=inputs["pixels"],
            input_ids=inputs["ids"],
            attention_mask=inputs["mask"],
            input_boxes=inputs["boxes"] if with_boxes else None,
            input_boxes_labels=inputs["labels"] if with_boxes else None,
        )
        found = model.ground(
            model.encode_images(inputs["pixels"]), model.encode_text(inputs["ids"], inputs["mask"]), boxes
        )
        pixels = model.pixel_embeddings(found)
        masks = model.mask_logits(pixels, torch.arange(2), found.queries[-1, :, 3])
        semantic = model.semantic_logits(pixels)
    torch.testing.assert_close(found.logits[-1], expected.pred_logits)
    torch.testing.assert_close(found.boxes[-1], expected.pred_boxes)
    torch.testing.assert_close(found.presence[-1], expected.presence_logits.squeeze(-1))
    torch.testing.assert_close(masks, expected.pred_masks[:, 3], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(semantic, expected.semantic_seg.squeeze(1))


def test_a_pair_without_boxes_is_not_changed_by_a_neighbour_that_has_some(
    model: Sam3Detector, inputs: dict[str, torch.Tensor]
) -> None:
    labels = inputs["labels"].clone()
    labels[0] = -10
    with torch.no_grad():
        vision = model.encode_images(inputs["pixels"])
        words = model.encode_text(inputs["ids"], inputs["mask"])
        alone = model.ground(vision, words)
        together = model.ground(vision, words, BoxPrompts(inputs["boxes"], labels))
    torch.testing.assert_close(together.logits[:, 0], alone.logits[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.presence[:, 0], alone.presence[:, 0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together.logits[:, 1], alone.logits[:, 1], atol=1e-3)


def test_masks_of_some_pairs_equal_those_of_all(model: Sam3Detector, inputs: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        found = model.ground(model.encode_images(inputs["pixels"]), model.encode_text(inputs["ids"], inputs["mask"]))
        everything = model.pixel_embeddings(found)
        second = model.pixel_embeddings(found, torch.tensor([1]))
    torch.testing.assert_close(second[0], everything[1], atol=1e-5, rtol=1e-4)
