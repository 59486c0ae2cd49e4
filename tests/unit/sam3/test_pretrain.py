"""The pretraining stream: scenes and phrases are a function of seed and number, and never of what is held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3.checkpoint import lite_config
from sam3.detector import Sam3Detector
from sam3.pretrain.align import CellStream, alignment_loss, cell_logits, coarse_vision, place_queries
from sam3.pretrain.pretrain import spread_queries
from sam3.pretrain.stream import SceneMaker, SceneStream, StreamConfig
from sam3.scenes.pack import Pack
from sam3.scenes.phrases import Vocabulary, Wording, matching, negative_phrase, positive_phrase
from sam3.tokenizer import Tokenizer, build_tokenizer_file


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.load()


@pytest.fixture(scope="module")
def maker(pack: Pack) -> SceneMaker:
    return SceneMaker(pack.select(holdout=[""]), pack.backgrounds, StreamConfig(scenes=3, phrases=4, size=128))


@pytest.fixture(scope="module")
def vocabulary(pack: Pack) -> Vocabulary:
    return Vocabulary(pack.select(holdout=[""]))


@pytest.fixture(scope="module")
def stream(maker: SceneMaker, vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> SceneStream:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer_file(folder / "tokenizer.json")
    return SceneStream(maker, vocabulary, Tokenizer.load(folder))


def test_a_batch_is_the_same_each_time(stream: SceneStream) -> None:
    one, other = stream.batch(5), stream.batch(5)
    torch.testing.assert_close(one.pixels, other.pixels)
    torch.testing.assert_close(one.ids, other.ids)
    assert not torch.equal(one.pixels, stream.batch(6).pixels)


def test_pairs_images_and_targets_fit_together(stream: SceneStream) -> None:
    batch = stream.batch(0)
    assert batch.pixels.shape == (3, 3, 128, 128) and batch.image_of_pair.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for boxes, masks in zip(batch.boxes, batch.masks, strict=True):
        assert boxes.shape == (len(masks), 4) and masks.shape[1:] == (32, 32)
        assert (boxes >= 0).all() and (boxes <= 1).all()


def test_every_eighth_batch_shows_its_concepts_by_boxes(stream: SceneStream) -> None:
    assert stream.batch(0).exemplars is None
    batch = stream.batch(7)
    assert batch.exemplars is not None
    shown = (batch.exemplars.labels[:, 0] == 1).tolist()
    assert shown == [len(boxes) > 0 for boxes in batch.boxes]


def test_phrases_are_true_of_the_scene(maker: SceneMaker, vocabulary: Vocabulary) -> None:
    for number in range(25):
        scene, shown, rng = maker(number)
        for _ in range(4):
            negative = negative_phrase(scene.objects, shown, vocabulary, rng, Wording())
            assert negative.objects == ()
            if scene.objects:
                assert positive_phrase(scene.objects, rng, Wording()).objects


def test_a_colour_narrows_a_name(maker: SceneMaker) -> None:
    objects = next(scene.objects for scene, *_ in map(maker, range(50)) if any(o.cutout.colour for o in scene.objects))
    thing = next(thing for thing in objects if thing.cutout.colour)
    name, colour = thing.cutout.synonyms[0], thing.cutout.colour
    assert set(matching(objects, name, colour)) <= set(matching(objects, name))
    assert matching(objects, name, "no such colour") == ()


def test_cells_learn_from_what_covers_them(maker: SceneMaker, vocabulary: Vocabulary) -> None:
    batch = CellStream(maker, vocabulary, scenes=2).batch(3)
    cells = (maker.config.size // 16) ** 2
    good = torch.full((2, cells, len(vocabulary.names)), -8.0)
    for at, row in enumerate(batch.scene.tolist()):
        held = batch.cover[at].flatten() > 0.5
        good[row][held] = batch.names[at] * 16 - 8
    assert float(alignment_loss(good, batch)) < 1.0 < float(alignment_loss(-good, batch))


def test_the_alignment_scores_every_place_against_every_name() -> None:
    torch.manual_seed(0)
    model = Sam3Detector(lite_config()).eval()
    with torch.no_grad():
        queries = place_queries(model, coarse_vision(model, torch.zeros(1, 3, 256, 256)))
        logits = cell_logits(model, queries, torch.randn(5, 128), torch.randn(128))
    assert logits.shape == (1, 256, 5) and torch.isfinite(logits).all()


def test_queries_start_apart_and_inside_the_picture() -> None:
    model = Sam3Detector(lite_config())
    spread_queries(model)
    boxes = model.detr_decoder.reference_points.weight.detach().sigmoid().numpy()
    centres = boxes[:, :2]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + np.eye(len(boxes))
    assert apart.min() > 0.05 and centres.min() > 0.05 and centres.max() < 0.95
