"""From a mined batch through a real Label Studio and back: pushed, looked at, corrected, delivered many times over."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from annotator_page import accept_suggestion, drag, opened_task, seen_in_the_browser, take_tool, without_prelabels
from chromium import needs_chromium
from label_studio import Studios, studios, wait_for
from PIL import Image

from sam3.images import read_image
from sam3.scenes.pack import Pack
from sam3.types import BoolArray, Detections
from sam3_agent.annotation.annotated import read_rows
from sam3_agent.annotation.environment import label_studio
from sam3_agent.annotation.pull import pull
from sam3_agent.annotation.push import SECRET_HEADER, Pushed, push_batch
from sam3_agent.annotation.shapes import encode_brush, fill, outlines_of, polygon
from sam3_agent.demo_pictures import draw, read_recipes
from sam3_agent.mining.flag import mask_iou
from sam3_agent.mining.ledger import Ledger
from sam3_agent.mining.mine import mine_batch
from sam3_agent.mining.settings import MinedBatch, MineSettings

pytestmark = pytest.mark.slow
TURNED = "Bauernhof-Süd 1.jpg"  # stored lying on its side, with an EXIF tag that says so
SQUARE = [[20.0, 20.0], [120.0, 20.0], [120.0, 90.0], [20.0, 90.0]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studios]:
    with studios(tmp_path_factory.mktemp("annotation")) as made:
        yield made


@pytest.fixture(scope="module")
def batch(place: Studios, repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> MinedBatch:
    """Four pictures of one yard, wide, tall and tall on its side, with the pre-labels of a model that sees well.

    They are promised in the ledger, as by a miner that was killed then: `mine_batch` finishes them.
    """
    inbox = tmp_path_factory.mktemp("inbox")
    yard = Image.open(repo_root / "data/demo/yard.jpg").convert("RGB")
    yard.save(inbox / "wide.jpg")
    tall = yard.crop((350, 60, 640, 480))
    tag = Image.Exif()
    tag[274] = 6  # to be turned by 90 degrees clockwise
    tall.transpose(Image.Transpose.ROTATE_90).save(inbox / TURNED, exif=tag, quality=95)
    yard.crop((0, 130, 210, 480)).save(inbox / "hen.png")
    yard.crop((190, 0, 460, 220)).save(inbox / "goose & co.jpg")
    hen, rooster = (115, 250, 80, 62), (520, 260, 95, 100)
    seen = {
        "wide.jpg": [hen, rooster],
        TURNED: [(170, 200, 95, 100)],
        "hen.png": [(115, 120, 80, 62)],
        "goose & co.jpg": [],
    }
    rows = [_row(inbox, name, birds) for name, birds in seen.items()]
    ledger = Ledger(place.files)
    facts = {"name": "batch-0001", "concept": "chicken", "prefill": 0.5, "pictures": 4, "flagged": 4, "looked_at": 4,
             "reasons": {"presence": 4}, "model": {"checkpoint": "sam3-lite", "sha256": "0" * 64}}  # fmt: skip
    with ledger.turn():
        ledger.add("batch-0001", facts, rows)
    ledger.close()
    made = mine_batch(MineSettings(inbox=str(inbox), concept="chicken", out=place.files))
    assert made.pictures == 4 and made.name == "batch-0001"
    return made


def _row(inbox: Path, name: str, birds: list[tuple[int, int, int, int]]) -> dict[str, Any]:
    """What a look at a picture leaves: an ellipse (centre, radii) for each bird."""
    image = read_image(inbox / name)
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    masks = [((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1 for cx, cy, rx, ry in birds]
    found = Detections(
        np.array([[cx - rx, cy - ry, cx + rx, cy + ry] for cx, cy, rx, ry in birds], np.float32).reshape(-1, 4),
        np.full(len(birds), 0.8, np.float32), np.array(masks, bool).reshape(-1, height, width), 0.5,
    )  # fmt: skip
    instances = [
        {"score": 0.8, "box": box.tolist(), "mask": rle, "flip": 0.7, "cut": 0.8, "box_iou": 1.0}
        for box, rle in zip(found.boxes, found.to_rle(), strict=True)
    ]
    return {
        "url": str(inbox), "name": name, "sha256": hashlib.sha256((inbox / name).read_bytes()).hexdigest(),
        "width": width, "height": height, "presence": 0.5, "mirror_agreement": 0.7, "versions": None, "dhash": None,
        "vector": [0.0], "instances": instances, "value": 0.6, "reasons": ["presence"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def pushed(place: Studios, batch: MinedBatch) -> Pushed:
    return push_batch(batch.folder, place.studio)


@pytest.fixture(scope="module")
def tasks(place: Studios, pushed: Pushed) -> dict[str, dict[str, Any]]:
    return {task["data"]["name"]: task for task in place.studio.tasks(pushed.project)}


def rows(place: Studios) -> list[dict[str, Any]]:
    return read_rows(place.out / "batch-0001")


def test_a_batch_is_pushed_once_with_its_prelabels(
    place: Studios, batch: MinedBatch, pushed: Pushed, tasks: dict[str, dict[str, Any]]
) -> None:
    assert pushed.new == 4 and push_batch(batch.folder, place.studio).new == 0
    assert len([one for one in place.studio.projects() if one["batch"] == batch.name]) == 1
    assert set(tasks) == {"wide.jpg", TURNED, "hen.png", "goose & co.jpg"}
    [prediction] = tasks["wide.jpg"]["predictions"]
    assert prediction["model_version"].startswith("sam3-lite@") and prediction["result"]
    for task in tasks.values():  # the server shows the very bytes that were mined, whatever the name
        address = f"{place.studio.url}{task['data']['image']}"
        shown = httpx.get(address, headers={"Authorization": f"Token {place.studio.token}"})
        assert shown.status_code == 200
        assert shown.content == (batch.folder / "images" / task["data"]["name"]).read_bytes()


def test_a_project_of_an_older_version_gets_todays_tools_when_asked(
    place: Studios, batch: MinedBatch, pushed: Pushed
) -> None:
    address, old = f"/api/projects/{pushed.project}", "What an older version said."
    today = place.studio.call("GET", address)
    smaller = today["label_config"].replace('smart="true"', "")
    assert smaller != today["label_config"]
    place.studio.call("PATCH", address, json={"label_config": smaller, "expert_instruction": old})
    push_batch(batch.folder, place.studio)
    assert place.studio.call("GET", address)["expert_instruction"] == old, "what somebody changed stays, unasked"
    push_batch(batch.folder, place.studio, renew=True)
    again = place.studio.call("GET", address)
    assert (again["label_config"], again["expert_instruction"]) == (today["label_config"], today["expert_instruction"])


def test_prelabels_lie_where_the_model_saw_them(batch: MinedBatch, tasks: dict[str, dict[str, Any]]) -> None:
    """On an upright picture and on one that is stored on its side: the birds are those of the yard."""
    from pycocotools import mask as coco

    lines = [json.loads(line) for line in (batch.folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        name = Path(line["file"]).name
        height, width = read_image(batch.folder / line["file"]).shape[:2]
        assert (line["height"], line["width"]) == (height, width)
        found = tasks[name]["predictions"][0]["result"]
        believed = [one for one in line["instances"] if one["score"] >= 0.5]
        assert len(found) == len(believed)
        for region, one in zip(found, believed, strict=True):
            assert (region["original_width"], region["original_height"]) == (width, height)
            drawn = fill(outlines_of(region, width, height) or [], height, width)
            seen = coco.decode({"size": one["mask"]["size"], "counts": one["mask"]["counts"].encode()}) > 0
            assert mask_iou(drawn[None], seen[None])[0, 0] > 0.93, name
    turned = next(line for line in lines if line["name"] == TURNED)
    assert turned["height"] > turned["width"] and any(one["score"] >= 0.5 for one in turned["instances"])


@needs_chromium
@pytest.mark.parametrize("name", [TURNED, "wide.jpg"])
def test_the_annotator_sees_the_outline_on_the_bird(
    place: Studios, tasks: dict[str, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    """In a real browser: the pre-labels' pixels on the screen are where the picture shows the birds.

    SAM3_SCREENSHOTS names a folder for the pictures, to be looked at.
    """
    task = tasks[name]
    box, screen = seen_in_the_browser(place, task, Path(os.environ.get("SAM3_SCREENSHOTS") or tmp_path))
    width, height = task["data"]["width"], task["data"]["height"]
    assert abs(box["width"] / box["height"] - width / height) < 0.02, "upright, in its own proportions"
    left, top, right, bottom = (int(box[key]) for key in ("x", "y", "right", "bottom"))
    assert bottom <= screen.shape[0] and right <= screen.shape[1], "the whole picture is on the screen"
    blue = (np.abs(screen[top:bottom, left:right].astype(int) - (56, 189, 248)) < 60).all(-1)
    # the page enlarges the picture a little and cuts its edges off: the label's chip lies over the last rows
    ys, xs = np.nonzero(blue[: int(0.95 * len(blue))])
    assert len(xs) > 50, "no outline on the screen"
    seen = np.array([xs.min(), ys.min(), xs.max(), ys.max()]) / (*blue.shape[::-1], *blue.shape[::-1])
    points = np.concatenate([one["value"]["points"] for one in task["predictions"][0]["result"]]) / 100
    assert np.abs(seen - [*points.min(0), *points.max(0)]).max() < 0.04


@needs_chromium
@pytest.mark.parametrize(
    ("name", "bird", "corner", "tool"),
    [
        ("wide.jpg", "chicken_profile", (0, 0), "key-point-tool"),
        (TURNED, "rooster", (350, 60), "key-point-tool"),
        (TURNED, "rooster", (350, 60), "rectangle-tool"),
    ],
)
def test_a_click_in_the_page_outlines_the_bird(
    place: Studios, tasks: dict[str, Any], yard: dict[str, BoolArray], name: str, bird: str, corner: tuple[int, int],
    tool: str, tmp_path: Path,
) -> None:  # fmt: skip
    """In a real browser, as a person does it: delete what is there, point at the bird, accept, submit.

    Args:
        yard: where each bird is in the yard. corner: of this picture in the yard, x and y.
    """
    task, folder = tasks[name], Path(os.environ.get("SAM3_SCREENSHOTS") or tmp_path)
    width, height = task["data"]["width"], task["data"]["height"]
    truth = yard[bird][corner[1] : corner[1] + height, corner[0] : corner[0] + width]
    ys, xs = np.nonzero(truth)
    left, top, right, bottom = xs.min(), ys.min(), xs.max(), ys.max()
    x, y = (left + right) / 2, (top + bottom) / 2
    assert truth[int(y), int(x)]
    shot = folder / f"{Path(name).stem} {tool}"
    with opened_task(place, task, shot.with_name(f"{shot.name} submitted.png")) as (page, box):

        def at(x: float, y: float) -> tuple[float, float]:
            return box["x"] + x * box["width"] / width, box["y"] + y * box["height"] / height

        without_prelabels(page, len(task["predictions"][0]["result"]))
        take_tool(page, tool)
        page.screenshot(path=str(shot.with_name(f"{shot.name} before.png")))
        if tool == "key-point-tool":
            page.mouse.click(*at(x, y))
        else:
            drag(page, at(left, top), at(right, bottom))
        accept_suggestion(page, shot.with_name(f"{shot.name} after.png"))
        page.get_by_text("Submit", exact=True).click()
        [row] = wait_for(lambda: rows(place))
    assert row["file"] == name and len(row["instances"]) == 1, "one outline, and no trace of the click"
    drawn = fill([np.array(ring) for ring in row["instances"][0]], height, width)
    assert drawn[int(y), int(x)] and mask_iou(drawn[None], truth[None])[0, 0] > 0.45, "not the bird"
    assert np.count_nonzero(drawn & truth) > 0.8 * np.count_nonzero(drawn), "much of it is not of the bird"
    [held] = place.studio.call("GET", f"/api/tasks/{task['id']}/annotations/")
    place.studio.call("DELETE", f"/api/annotations/{held['id']}/")
    wait_for(lambda: not rows(place))


@pytest.fixture(scope="module")
def yard(repo_root: Path) -> dict[str, BoolArray]:
    """Where each bird of the yard is, by name: masks (480, 640)."""
    recipe = read_recipes(repo_root / "data/demo")["yard"]
    return {name: one.mask for name, one in zip(recipe.cast, draw(recipe, Pack.load()).objects, strict=True)}


def test_finished_work_comes_by_webhook_and_five_times_is_once(place: Studios, tasks: dict[str, Any]) -> None:
    task = tasks["wide.jpg"]
    prelabel = task["predictions"][0]["result"]
    place.annotate(task["id"], prelabel[:1], lead_time=4.5, parent_prediction=task["predictions"][0]["id"])
    [row] = wait_for(lambda: rows(place))
    assert row["annotator"] == "owner@sam3-agent.local" and row["seconds"] == 4.5
    assert row["model_version"].startswith("sam3-lite@") and row["task"].startswith("label-studio ")
    assert len(row["instances"]) == 1
    before = (place.out / "batch-0001/annotations.jsonl").read_bytes()
    delivery = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": task["project"]},
        "annotation": {"id": 1, "result": []},
    }
    for _ in range(5):
        reply = httpx.post(
            f"{place.studio.backend}/webhook", json=delivery, headers={SECRET_HEADER: place.studio.secret}
        )
        assert reply.json() == {"taken": 0}
    report = pull(place.studio, place.out)
    assert (report.new, report.updated, report.deliveries[0].unchanged) == (0, 0, 1)
    assert report.waiting == {"batch-0001": 3}
    assert (place.out / "batch-0001/annotations.jsonl").read_bytes() == before


@pytest.mark.parametrize("secret", ["", "guess"])
def test_a_stranger_is_turned_away(place: Studios, pushed: Pushed, secret: str) -> None:
    for path in ("webhook", "predict"):
        reply = httpx.post(f"{place.studio.backend}/{path}", json={}, headers={SECRET_HEADER: secret})
        assert reply.status_code == 400 and "secret" in reply.json()["error"]["message"]


def test_what_an_annotator_draws_comes_back_in_pixels(place: Studios, tasks: dict[str, Any]) -> None:
    """A polygon on the picture with the EXIF tag, a brush on a tall one, a choice on the third."""
    turned, hen, goose = (tasks[name] for name in (TURNED, "hen.png", "goose & co.jpg"))
    width, height = turned["data"]["width"], turned["data"]["height"]
    place.annotate(turned["id"], [polygon(np.array(SQUARE), "chicken", width, height)])
    mask = np.zeros((hen["data"]["height"], hen["data"]["width"]), bool)
    mask[40:140, 30:90] = True
    brush = {
        "id": "b", "type": "brushlabels", "from_name": "brush", "to_name": "image", "image_rotation": 0,
        "original_width": mask.shape[1], "original_height": mask.shape[0],
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["chicken"]},
    }  # fmt: skip
    place.annotate(hen["id"], [brush])
    none = {
        "id": "c",
        "type": "choices",
        "from_name": "picture",
        "to_name": "image",
        "value": {"choices": ["no chicken here"]},
    }
    place.annotate(goose["id"], [none])
    wait_for(lambda: len(rows(place)) == 4)
    folder = place.out / "batch-0001"
    label = json.loads((folder / f"labels/{Path(TURNED).stem}.json").read_text())
    assert np.abs(np.array(label["shapes"][0]["points"]) - SQUARE).max() < 0.05
    assert (label["imageHeight"], label["imageWidth"]) == read_image(folder / "images" / TURNED).shape[:2]
    drawn = np.array(json.loads((folder / "labels/hen.json").read_text())["shapes"][0]["points"])
    assert mask_iou(fill([drawn], *mask.shape)[None], mask[None])[0, 0] > 0.97
    assert json.loads((folder / "labels/goose & co.json").read_text())["shapes"] == []
    states = json.loads((folder / "batch.json").read_text())["states"]
    assert states == {"negative": 1, "positive": 3}


def test_a_correction_of_the_correction_replaces_it(place: Studios, tasks: dict[str, Any]) -> None:
    [held] = place.studio.call("GET", f"/api/tasks/{tasks['hen.png']['id']}/annotations/")
    ambiguous = {
        "id": "d",
        "type": "choices",
        "from_name": "picture",
        "to_name": "image",
        "value": {"choices": ["ambiguous"]},
    }
    place.studio.call("PATCH", f"/api/annotations/{held['id']}/", json={"result": [ambiguous]})
    wait_for(lambda: any(row["ambiguous"] for row in rows(place)))
    assert len(rows(place)) == 4
    assert not (place.out / "batch-0001/labels/hen.json").exists(), "what nobody can tell is not taught"
    place.studio.call("DELETE", f"/api/annotations/{held['id']}/")
    wait_for(lambda: len(rows(place)) == 3 or (pull(place.studio, place.out) and False))


def test_two_annotators_are_compared(place: Studios, tasks: dict[str, Any]) -> None:
    second = place.studio.call("POST", "/api/users/", json={"email": "second@example.org", "username": "second"})
    task = tasks[TURNED]
    width, height = task["data"]["width"], task["data"]["height"]
    moved = np.array(SQUARE) + np.array([60, 50])
    place.annotate(task["id"], [polygon(moved, "chicken", width, height)], completed_by=second["id"])
    wait_for(lambda: len(rows(place)) == 4)
    report = pull(place.studio, place.out)
    assert report.deliveries[0].states["disputed"] == 1 and report.deliveries[0].agreement == 0.0
    review = place.annotate(task["id"], [polygon(np.array(SQUARE), "chicken", width, height)], ground_truth=True)
    wait_for(lambda: any(row["reviewed"] for row in rows(place)))
    assert "disputed" not in pull(place.studio, place.out).deliveries[0].states and review["ground_truth"]


def test_a_click_gives_a_mask_through_label_studio(place: Studios, tasks: dict[str, Any]) -> None:
    """Asked as the page asks: Label Studio passes the click on to our backend and the region back."""
    task = tasks[TURNED]
    width, height = task["data"]["width"], task["data"]["height"]
    [backend] = place.studio.call("GET", "/api/ml", params={"project": task["project"]})
    wide, high = 0.65 * width, 0.58 * height
    turned = {"x": 100 * 60 / width + 65, "y": 100 * 70 / height, "width": 100 * high / width,
              "height": 100 * wide / height, "rotation": 90}  # fmt: skip
    for kind, name, value in (
        ("keypoint", "click", {"x": 100 * 170 / width, "y": 100 * 180 / height, "width": 0.3}),
        ("rectangle", "box", {"x": 100 * 60 / width, "y": 100 * 70 / height, "width": 65, "height": 58}),
        ("rectangle", "box", turned),  # the same, begun at its top right corner
    ):
        drawn = {
            "id": "p", "type": kind, "from_name": name, "to_name": "image",
            "original_width": width, "original_height": height, "value": value,
        }  # fmt: skip
        asked = {"task": task["id"], "context": {"result": [drawn]}}
        reply = place.studio.call("POST", f"/api/ml/{backend['id']}/interactive-annotating", json=asked)
        [region] = reply["data"]["result"]
        assert region["from_name"] in ("outline", "brush")
        mask = fill(outlines_of(region, width, height) or [], height, width)
        assert mask[180, 170] and 5_000 < mask.sum() < 70_000, f"{kind}: the rooster, not the picture"


def test_killed_it_has_everything_when_it_is_back(place: Studios, tasks: dict[str, Any]) -> None:
    held = rows(place)
    assert place.server.process is not None
    os.kill(place.server.process.pid, signal.SIGKILL)
    place.server.process.wait(10)
    place.studio = place.server.start()
    report = pull(place.studio, place.out)
    assert not report.changed and rows(place) == held
    assert push_batch(place.files / "batch-0001", place.studio).new == 0


def test_brushes_are_those_of_label_studios_own_library(place: Studios) -> None:
    mask = np.random.default_rng(0).random((23, 37)) > 0.6
    code = (
        "import sys, json, numpy as np\n"
        "from label_studio_sdk.converter.brush import decode_rle\n"
        "out = decode_rle(json.load(sys.stdin)).reshape(23, 37, 4)[..., 3]\n"
        "print(json.dumps((out > 0).tolist()))"
    )
    python = label_studio().with_name("python")
    done = subprocess.run([python, "-c", code], input=json.dumps(encode_brush(mask)), capture_output=True, text=True)
    assert json.loads(done.stdout) == mask.tolist(), done.stderr[-500:]
