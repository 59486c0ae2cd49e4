"""The pretraining stream: scenes and phrases are a function of seed and number, and never of what is held out."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sam3.checkpoint import lite_config, load_checkpoint, save_checkpoint
from sam3.detector import Sam3Detector
from sam3.errors import BadConfig
from sam3.pretrain.align import (
    ALIGNED,
    AlignConfig,
    CellStream,
    NameStates,
    align,
    alignment_loss,
    cell_logits,
    coarse_vision,
    even_out,
    name_states,
    naming_loss,
    place_queries,
)
from sam3.pretrain.dense import DenseConfig, PretrainModule
from sam3.pretrain.held_names import HeldNames
from sam3.pretrain.held_out import Held, unseen_stream
from sam3.pretrain.pretrain import FROZEN, TRUNK, load_config, pretrain
from sam3.pretrain.start import spread_queries, take_over
from sam3.pretrain.stream import SceneMaker, SceneStream, StreamConfig, hold_back
from sam3.scenes.pack import Pack
from sam3.scenes.phrases import Vocabulary, Wording, matching, negative_phrase, positive_phrase
from sam3.tokenizer import Tokenizer, build_tokenizer_file
from sam3.train.loss_config import LossConfig
from sam3.train.module import OptimizerConfig


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


def test_the_alignment_is_content_when_places_name_what_covers_them(maker: SceneMaker, vocabulary: Vocabulary) -> None:
    batch = CellStream(maker, vocabulary, scenes=2).batch(3)
    places, size = (maker.config.size // 16) ** 2, len(vocabulary.names)
    right = torch.full((2, places, size), -8.0)
    for at, row in enumerate(batch.scene.tolist()):
        right[row][batch.cover[at].flatten() > 0.5] = batch.names[at] * 16 - 8

    def loss_of(logits: torch.Tensor) -> float:
        # with one "head" of width `size` and names as unit vectors, the queries are the logits themselves
        return float(
            alignment_loss(
                Identity(size), logits * size**0.5, batch, NameStates(torch.eye(size), torch.zeros(size)), 50
            )
        )

    assert loss_of(right) < 1.0 < loss_of(-right)


class Identity:
    """As much of a detector as `cell_logits` touches, with every projection left out."""

    def __init__(self, size: int) -> None:
        attention = SimpleNamespace(k_proj=lambda keys: keys, num_attention_heads=1)
        layer = SimpleNamespace(cross_attn=attention)
        self.detr_encoder = SimpleNamespace(layers=[layer])
        self.text_projection = lambda states: states


def test_a_true_name_competes_with_false_names_only() -> None:
    names = torch.tensor([[1.0, 1.0, 0.0]])
    assert float(naming_loss(torch.tensor([[9.0, 9.0, -9.0]]), names)) < 1e-3
    assert float(naming_loss(torch.tensor([[9.0, -9.0, -9.0]]), names)) == pytest.approx(0.5 * np.log(2), abs=1e-3)


def test_an_alignment_goes_on_from_its_last_save(
    pack: Pack, vocabulary: Vocabulary, stream: SceneStream, tmp_path: Path
) -> None:
    maker = SceneMaker(pack.select(holdout=[""]), pack.backgrounds, StreamConfig())
    config = AlignConfig(steps=2, scenes=1, names=20, save_every=1)
    model = Sam3Detector(lite_config())
    watched: list[int] = []
    watch = lambda _, step: watched.append(step)  # noqa: E731
    align(model, maker, vocabulary, stream.tokenizer, config, FROZEN, tmp_path / "align.ckpt", watch)
    assert watched == [1, 2]
    assert torch.load(tmp_path / "align.ckpt", weights_only=True)["step"] == 2
    fresh = Sam3Detector(lite_config())
    align(fresh, maker, vocabulary, stream.tokenizer, config, FROZEN, tmp_path / "align.ckpt")  # nothing is left to do
    torch.testing.assert_close(fresh.state_dict(), model.state_dict())


def test_unseen_scenes_share_neither_style_nor_background_with_training(pack: Pack, stream: SceneStream) -> None:
    unseen = unseen_stream(pack, stream.tokenizer, stream.maker.config)
    assert {cutout.style for cutout in unseen.maker.drawn} == {"fxemoji"}
    seen, kept = hold_back(pack.backgrounds)
    assert not {background.source for background in seen} & {
        background.source for background in unseen.maker.backgrounds
    }
    assert len(seen) + len(kept) == len(pack.backgrounds) and kept


def test_held_out_figures_know_a_good_answer() -> None:
    held = Held(presence=[0.9, 0.8, 0.1], truth=[1, 1, 0], reached=[0.5, 1.0], chosen=[1.0], masked=[0.25])
    assert held.figures() == pytest.approx(
        {
            "held/presence_auc": 1.0,
            "held/presence_right": 1.0,
            "held/reached_iou": 0.75,
            "held/chosen_iou": 1.0,
            "held/mask_iou": 0.25,
        }
    )


def test_pretraining_tells_every_place_and_keeps_the_words(
    pack: Pack, stream: SceneStream, maker: SceneMaker, vocabulary: Vocabulary
) -> None:
    torch.manual_seed(0)
    model = Sam3Detector(lite_config())
    module = PretrainModule(
        model,
        LossConfig(queries_per_object=3),
        OptimizerConfig(),
        1,
        (TRUNK, "text_encoder"),
        dense=DenseConfig(names=20),
        names=name_states(model, vocabulary, stream.tokenizer),
    )
    logged: dict[str, torch.Tensor] = {}
    module._log = lambda stage, loss, terms, count: logged.update(terms)  # type: ignore[method-assign]
    big = SceneMaker(pack.select(holdout=[""]), pack.backgrounds, StreamConfig(scenes=1, phrases=3))
    module.training_step(SceneStream(big, vocabulary, stream.tokenizer).batch(0), 0).backward()
    assert {"names", "encoded", "box_near", "giou_near", "presence"} <= set(logged)
    assert all(parameter.grad is None for parameter in model.text_encoder.parameters())
    assert all(parameter.grad is None for parameter in model.vision_encoder.backbone.trunk.parameters())
    assert model.vision_encoder.backbone.position_embeddings.grad is not None


def test_the_alignment_scores_every_place_against_every_name() -> None:
    torch.manual_seed(0)
    model = Sam3Detector(lite_config()).eval()
    with torch.no_grad():
        queries = place_queries(model, coarse_vision(model, torch.zeros(1, 3, 256, 256)))
        logits = cell_logits(model, queries, torch.randn(5, 128), torch.randn(128))
    assert logits.shape == (1, 256, 5) and torch.isfinite(logits).all()


def test_scales_are_evened_out_and_no_logit_changes(stream: SceneStream, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    model = Sam3Detector(lite_config()).eval()
    with torch.no_grad():
        model.text_projection.weight.mul_(40)
        model.vision_encoder.neck.fpn_layers[2].proj2.weight.mul_(9)
    names, pixels = name_states(model, vocabulary, stream.tokenizer), torch.rand(2, 3, 256, 256)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return cell_logits(model, place_queries(model, coarse_vision(model, pixels)), *names)

    before = logits()
    even_out(model, pixels, names)
    torch.testing.assert_close(logits(), before, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert float(coarse_vision(model, pixels).levels[-1].square().mean()) == pytest.approx(1, rel=1e-3)
        assert float(model.text_projection(names.end).square().mean()) == pytest.approx(1, rel=1e-3)


def test_attention_starts_inside_the_box_of_each_query() -> None:
    model = Sam3Detector(lite_config())
    spread_queries(model)
    box = torch.tensor([[[0.5, 0.5, 0.25, 0.25]]])
    with torch.no_grad():
        bias = model.detr_decoder._get_rpb_matrix(box, (torch.tensor(16), torch.tensor(16)))[0, :, 0].unflatten(
            1, (16, 16)
        )
    assert (bias[:, 8, 8] > bias[:, 8, 2] + 0.5).all() and (bias[:, 8, 8] > bias[:, 14, 8] + 0.5).all()


def test_queries_start_apart_and_inside_the_picture() -> None:
    model = Sam3Detector(lite_config())
    spread_queries(model)
    boxes = model.detr_decoder.reference_points.weight.detach().sigmoid().numpy()
    centres = boxes[:, :2]
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + np.eye(len(boxes))
    assert apart.min() > 0.05 and centres.min() > 0.05 and centres.max() < 0.95


def test_detection_layers_are_taken_over_and_what_was_aligned_stays(stream: SceneStream, tmp_path: Path) -> None:
    torch.manual_seed(0)
    earlier, model = Sam3Detector(lite_config()), Sam3Detector(lite_config())
    build_tokenizer_file(tmp_path / "tokenizer.json")
    save_checkpoint(tmp_path / "earlier", earlier, tmp_path / "tokenizer.json")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take_over(model, str(tmp_path / "earlier"))
    for name, value in model.state_dict().items():
        source = before if name.startswith((*ALIGNED, "text_encoder.")) else earlier.state_dict()
        torch.testing.assert_close(value, source[name], msg=name)


def test_naming_is_measured_on_unseen_scenes_and_starts_from_chance(
    pack: Pack, stream: SceneStream, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    watch = HeldNames(unseen_stream(pack, stream.tokenizer, StreamConfig()), tmp_path / "align.csv", batches=1)
    model = Sam3Detector(lite_config())
    watch(model, 200)
    watch(model, 400)
    with (tmp_path / "align.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["step"], second["step"]) == ("200", "400") and first["auc"] == second["auc"]
    assert 0.3 < float(first["auc"]) < 0.7 and float(first["top1"]) < 0.1


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    build_tokenizer_file(tmp_path / "tokenizer.json")
    curve = {"align.csv": "step,auc\n"}
    return save_checkpoint(tmp_path / "earlier", Sam3Detector(lite_config()), tmp_path / "tokenizer.json", extra=curve)


@pytest.mark.slow
def test_an_earlier_version_is_trained_on_whole_and_a_run_needs_it_once(
    repo_root: Path, earlier: Path, tmp_path: Path
) -> None:
    settings = {"out": tmp_path / "out", "detect.whole": "true", "detect.start_from": earlier, "detect.steps": 1,
                "detect.save_every": 1, "stream.scenes": 1, "stream.phrases": 2, "precision": "32-true",
                "optimizer.learning_rate": 1e-9, "optimizer.weight_decay": 0}  # fmt: skip

    def run(**changed: object) -> dict[str, torch.Tensor]:
        words = [f"{key}={value}" for key, value in {**settings, **changed}.items()]
        made = pretrain(load_config(repo_root / "configs/pretrain.yaml", words))
        assert (made / "align.csv").read_text() == "step,auc\n"
        return dict(load_checkpoint(made).model.state_dict())

    before = load_checkpoint(earlier).model.state_dict()
    after = run()
    for name, value in before.items():  # the backbone's batch statistics among them: training never moves those
        torch.testing.assert_close(after[name], value, atol=2e-3, rtol=2e-3, msg=name)
    assert not (tmp_path / "out/text.pt").exists() and not (tmp_path / "out/aligned.pt").exists()
    shutil.rmtree(earlier)
    run(**{"detect.steps": 2})
    last = torch.load(tmp_path / "out/last.ckpt", weights_only=True, map_location="cpu")
    assert last["global_step"] == 2, "it went on without the checkpoint that it began with"


@pytest.mark.parametrize("start", ["null", "of another shape"])
def test_going_on_needs_a_checkpoint_of_the_same_shape(repo_root: Path, tmp_path: Path, start: str) -> None:
    from small_models import save_small

    name = "null" if start == "null" else save_small(tmp_path)
    words = [f"out={tmp_path / 'out'}", "detect.whole=true", f"detect.start_from={name}"]
    with pytest.raises(BadConfig, match="detect.whole needs" if start == "null" else "in the shape that is trained"):
        pretrain(load_config(repo_root / "configs/pretrain.yaml", words))


def test_a_run_goes_on_as_it_began(repo_root: Path, tmp_path: Path) -> None:
    begun = tmp_path / "out"
    begun.mkdir()

    def refused(match: str, *words: str) -> None:
        with pytest.raises(BadConfig, match=match):
            pretrain(load_config(repo_root / "configs/pretrain.yaml", [f"out={begun}", *words]))

    (begun / "last.ckpt").touch()
    refused("began otherwise", "detect.whole=true")
    torch.save({"start_from": "another", "model": {}}, begun / "whole.pt")
    refused("began with another", "detect.whole=true")
    refused("say so again", "detect.whole=false")
