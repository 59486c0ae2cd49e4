"""The compositor: a seed is a scene, masks are the visible truth, boxes are tight."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam3.scenes.compose import ComposeOptions, Scene, compose
from sam3.scenes.pack import Cutout, Pack
from sam3.scenes.photometry import Photometry

SIZE = (320, 240)
PLAIN = ComposeOptions(photometry=None)


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.load()


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    y, x = np.mgrid[:300, :400]
    return np.dstack([x % 251, y % 241, (x + y) % 239]).astype(np.uint8)


def scene(pack: Pack, ground: np.ndarray, seed: int, options: ComposeOptions = PLAIN, number: int = 6) -> Scene:
    rng = np.random.default_rng(seed)
    picks: list[Cutout] = [pack.cutouts[i] for i in rng.integers(0, len(pack.cutouts), number)]
    return compose(rng, picks, ground, SIZE, options)


@pytest.mark.parametrize(
    "options", [PLAIN, ComposeOptions(), ComposeOptions(shadow=0.5, photometry=Photometry(jpeg=1))]
)
def test_the_same_seed_gives_the_same_scene(pack: Pack, ground: np.ndarray, options: ComposeOptions) -> None:
    first, again, other = (scene(pack, ground, seed, options) for seed in (1, 1, 2))
    assert (first.image == again.image).all()
    assert [o.cutout.file for o in first.objects] == [o.cutout.file for o in again.objects]
    assert all((a.mask == b.mask).all() for a, b in zip(first.objects, again.objects, strict=True))
    assert (first.image != other.image).any()


@pytest.mark.parametrize("seed", range(8))
def test_masks_never_overlap_and_boxes_are_tight(pack: Pack, ground: np.ndarray, seed: int) -> None:
    drawn = scene(pack, ground, seed, number=10)
    assert np.sum([o.mask for o in drawn.objects], axis=0).max() <= 1
    for thing in drawn.objects:
        ys, xs = np.nonzero(thing.mask)
        assert thing.mask.shape == SIZE[::-1] and thing.box.dtype == np.float32
        assert thing.box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("seed", range(4))
def test_only_objects_change_the_background(pack: Pack, ground: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    photos = pack.select(photos=True)
    picks = [photos[i] for i in rng.permutation(len(photos))[:6]]
    with_objects = compose(np.random.default_rng(seed), picks, ground, SIZE, PLAIN)
    covered = np.any([o.mask for o in with_objects.objects], axis=0)
    near = cv2.dilate(covered.astype(np.uint8), np.ones((7, 7))) > 0  # soft edges reach a little further
    bare = compose(np.random.default_rng(seed), [], ground, SIZE, PLAIN).image
    assert (with_objects.image == bare)[~near].mean() > 0.99  # some photographs fade out
    assert (with_objects.image != bare).any(-1)[covered].mean() > 0.95


def test_a_pixel_is_in_the_mask_when_the_object_covers_at_least_half_of_it(pack: Pack) -> None:
    """Black silhouettes on white: what is darker than middle grey, and nothing else, is masked."""
    paper = np.full((300, 300, 3), 255, np.uint8)
    shapes = [c for c in pack.select(styles=["openclipart"]) if c.file.endswith("contour_elephant.webp")]
    assert shapes and shapes[0].colour == "black"
    for seed in range(5):
        drawn = compose(np.random.default_rng(seed), shapes, paper, SIZE, PLAIN)
        dark = drawn.image.max(-1) < 128
        mask = drawn.objects[0].mask
        assert (mask ^ dark).sum() <= 0.004 * mask.sum()


def test_a_hidden_object_is_left_out_and_a_half_hidden_one_reports_its_share(pack: Pack, ground: np.ndarray) -> None:
    hen = pack.select(phrase="hen", photos=True)[0]
    fixed = ComposeOptions(scale=(0.5, 0.5), rotation=0, flip=0, overhang=-99, photometry=None)
    twice = compose(np.random.default_rng(0), [hen, hen], ground, SIZE, fixed)
    assert len(twice.objects) == 1 and twice.objects[0].visible_share > 0.95
    shares = [o.visible_share for seed in range(20) for o in scene(pack, ground, seed, number=12).objects]
    assert min(shares) >= PLAIN.min_visible and any(share < 0.9 for share in shares) and max(shares) <= 1.0


def test_an_object_left_out_leaves_no_trace(pack: Pack, ground: np.ndarray) -> None:
    """Its pixels would be an unlabelled instance, the worst kind of truth."""
    impossible = ComposeOptions(min_pixels=10**9, photometry=None)
    drawn, bare = (
        compose(np.random.default_rng(5), cutouts, ground, SIZE, impossible) for cutouts in (pack.cutouts[:4], [])
    )
    assert drawn.objects == [] and (drawn.image == bare.image).all()


def test_scale_is_relative_to_the_picture(pack: Pack, ground: np.ndarray) -> None:
    hen = pack.select(phrase="hen", photos=True)[0]
    half = ComposeOptions(scale=(0.5, 0.5), rotation=0, overhang=0, photometry=None)
    for size in [(320, 240), (120, 120), (240, 320)]:
        x1, y1, x2, y2 = compose(np.random.default_rng(1), [hen], ground, size, half).objects[0].box
        assert max(x2 - x1, y2 - y1) == pytest.approx(0.5 * np.sqrt(size[0] * size[1]), rel=0.06)


def test_size_rank_orders_by_visible_area(pack: Pack, ground: np.ndarray) -> None:
    drawn = scene(pack, ground, 3)
    by_rank = sorted(drawn.objects, key=lambda o: o.size_rank)
    areas = [int(o.mask.sum()) for o in by_rank]
    assert areas == sorted(areas, reverse=True) and [o.size_rank for o in by_rank] == list(range(len(areas)))


def test_photometry_moves_nothing(pack: Pack, ground: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    shown = compose(rng, pack.cutouts[:1], ground, SIZE, ComposeOptions(photometry=Photometry(light=0.0)))
    still = compose(np.random.default_rng(0), pack.cutouts[:1], ground, SIZE, PLAIN)
    assert (shown.objects[0].mask == still.objects[0].mask).all()
