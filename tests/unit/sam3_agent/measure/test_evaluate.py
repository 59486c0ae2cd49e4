"""`evaluate` from pictures to figures, with an engine that finds what is red."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from sam3.errors import BadCheckpoint, BadConfig, BadInput
from sam3.eval.settings import load_settings
from sam3_agent.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_a_perfect_engine_scores_nearly_one(world) -> None:
    assert run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments()) == 0
    report = world.report()
    assert report["cgF1"] > 0.99
    assert report["image_level_counts"] == {"IL_TP": 6, "IL_FP": 0, "IL_TN": 7, "IL_FN": 0}
    assert report["summary"]["cgF1_eval_segm_cgF1"] == report["cgF1"] == report["intervals"]["cgF1"]["value"]
    assert report["checkpoint"]["sha256"] and report["data"]["sha256"] and report["hardware"]
    assert {line["error"] for line in report["pairs"]} == {"ok"}
    assert report["calibration"]["mean_on_negatives"] == pytest.approx(0.02)
    assert len(report["sweep"]) == 19


def test_every_picture_is_encoded_once_and_its_phrases_go_together(world) -> None:
    run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments())
    assert world.engine.encoded == 12
    assert world.engine.batches == [9, 4]  # 8 pictures with 9 phrases, then the rest


def test_the_predictions_score_the_same_on_their_own(world, capsys) -> None:
    run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments())
    capsys.readouterr()
    masks = str(world.out.with_name("evaluate_predictions.json"))
    assert run("score", str(world.truth), "--pred", masks, "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["summary"] == world.report()["summary"]
    assert run("score", str(world.truth), "--pred", masks, "--json", "--iou", "bbox") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["cgF1_eval_bbox_cgF1"] > 0.99


def test_the_script_is_the_verb(world, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--checkpoint", str(world.checkpoint()), *world.arguments()])
    with pytest.raises(SystemExit) as end:
        runpy.run_path("sam3/eval/evaluate.py", run_name="__main__")
    assert not end.value.code
    assert "cgF1" in capsys.readouterr().out


def test_false_alarms_are_named(world) -> None:
    world.engine.fooled = True
    run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments())
    assert world.report()["errors"] == {"false alarm": 2}
    assert [p["file_name"] for p in world.report()["pairs"] if p["error"] != "ok"] == ["farm10.png", "farm11.png"]


def test_too_few_groups_are_mentioned(world, tmp_path) -> None:
    config = tmp_path / "eval.yaml"
    config.write_text(Path("configs/eval_chicken.yaml").read_text().replace("group_by: image", "group_by: source"))
    arguments = world.arguments("--config", str(config))
    run("evaluate", "--checkpoint", str(world.checkpoint()), *arguments)
    assert "only 6 groups" in world.report()["warnings"][0]


def test_a_limit_is_spread_over_the_file(world) -> None:
    run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments("--limit", "4"))
    assert [p["image_id"] for p in world.report()["pairs"]] == [0, 4, 8, 50]


def test_detections_below_the_threshold_are_kept_for_the_sweep_alone(world) -> None:
    world.engine.faint = True
    run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments())
    report = world.report()
    assert report["errors"] == {} and report["cgF1"] > 0.99
    assert {round(score, 3) for line in report["pairs"] for score in line["scores"]} == {0.9}
    assert report["sweep"][0]["detections"] == 9 + 13


def cut_jpeg(path: Path) -> None:
    """A JPEG whose header is whole and whose pixels are not: only decoding finds out."""
    Image.open(path).resize((80, 60)).save(path, "JPEG", quality=95)
    path.write_bytes(path.read_bytes()[:-300])


BAD_PICTURES = {
    "cut in its pixels": cut_jpeg,
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "text": lambda path: path.write_text("no picture"),
}


@pytest.mark.parametrize("damage", BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_bad_pictures_are_named_and_nothing_is_written(world, capsys, damage) -> None:
    damage(world.images / "farm3.png")
    damage(world.images / "farm7.png")
    assert run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments()) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "2 pictures" in line and "farm3.png" in line and "farm7.png" in line and "--skip-bad" in line
    assert not world.out.parent.exists()


def test_bad_pictures_can_be_left_out(world, capsys) -> None:
    (world.images / "farm3.png").unlink()
    assert run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments("--skip-bad")) == 0
    assert list(world.report()["data"]["skipped"]) == ["farm3.png"]
    assert world.report()["evaluated_pairs"] == 12
    assert "pictures left out: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("height", 61, "80 x 60 pixels, pair 0 says 80 x 61"),
        ("file_name", "../val.json", "not inside"),
        ("file_name", "/etc/passwd", "not inside"),
        ("text_input", "", "no text_input"),
    ],
)
def test_pairs_that_do_not_fit_their_pictures(world, capsys, key: str, value: object, said: str) -> None:
    content = json.loads(world.truth.read_text())
    content["images"][0][key] = value
    if key == "height":
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 0]
    world.truth.write_text(json.dumps(content))
    assert run("evaluate", "--checkpoint", str(world.checkpoint()), *world.arguments()) == 1
    assert said in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there(world) -> None:
    with pytest.raises(BadCheckpoint, match="nowhere"):
        from sam3.eval.evaluate import evaluate_checkpoint

        settings = load_settings("configs/eval_chicken.yaml")
        evaluate_checkpoint(settings, checkpoint="nowhere", truth_path=world.truth)


def test_the_shipped_settings_come_from_params(repo_root, monkeypatch) -> None:
    monkeypatch.chdir(repo_root)
    settings = load_settings("configs/eval_chicken.yaml")
    assert settings.images == "data/raw/images"
    assert (settings.score_threshold, settings.group_by, settings.concept) == (0.5, "image", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("images: a\n", "concept is missing"),
        ("speed: 3\n", "speed is not a known key"),
        ("- 1\n", "expected the keys"),
        ("a: [\n", "cannot be used"),
        ("{images: a, concept: null, score_threshold: 2, bootstrap: 1, seed: 1, group_by: pair, batch: 1}", "score_th"),
        ("{images: a, concept: null, score_threshold: 0.5, bootstrap: 0, seed: 1, group_by: pair, batch: 1}", "boot"),
        ("{images: a, concept: null, score_threshold: 0.5, bootstrap: 1, seed: 1, group_by: x, batch: 1}", "group_by"),
        ("images: ${params:data.cooked}\n", "data.cooked"),
    ],
)
def test_bad_settings_are_named(tmp_path, repo_root, monkeypatch, text: str, said: str) -> None:
    monkeypatch.chdir(repo_root)
    path = tmp_path / "eval.yaml"
    path.write_text(text)
    with pytest.raises(BadConfig, match=r"eval\.yaml") as error:
        load_settings(path)
    assert said in str(error.value)


def test_an_unknown_phrase_is_refused(world) -> None:
    from dataclasses import replace

    from sam3.eval.evaluate import evaluate_checkpoint

    settings = replace(load_settings("configs/eval_chicken.yaml"), concept="goose", images=str(world.images))
    with pytest.raises(BadInput, match='no pair asks for "goose"'):
        evaluate_checkpoint(settings, checkpoint=str(world.checkpoint()), truth_path=world.truth)
