"""The roofline counts the published model as it has been measured elsewhere."""

from __future__ import annotations

import pytest

from sam3.fast.roofline import H200, PUBLISHED, predict, stages


def test_the_published_model_has_its_known_size() -> None:
    found = stages(PUBLISHED)
    image = found["trunk"].flops + found["neck"].flops
    assert image == pytest.approx(5.6e12, rel=0.02)
    assert predict(found, H200)["images_per_s"] == pytest.approx(131, rel=0.02)


def test_a_further_phrase_costs_less_than_the_published_form() -> None:
    each = sum(stage.flops for name, stage in stages(PUBLISHED).items() if "each prompt" in name)
    assert 0.25e12 < each < 0.42e12
