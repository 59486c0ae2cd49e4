"""baseline, negatives and compare: from checkpoints to a decision."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from sam3_agent.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def measure(world, verb: str, name: str, checkpoint: str) -> int:
    out = str(world.folder / "reports" / f"{name}.json")
    return run(verb, "--checkpoint", str(world.checkpoint(checkpoint)), *world.arguments(), "--out", out)


def decide(world, *more: str) -> int:
    reports = world.folder / "reports"
    paths = ["--baseline", "baseline", "--candidate", "evaluate", "--negatives", "negatives", "--out", "compare"]
    return run("compare", *(p if p.startswith("--") else str(reports / f"{p}.json") for p in paths), *more)


def test_the_baseline_shows_its_false_positives(world, capsys) -> None:
    world.engine.fooled = True
    assert measure(world, "baseline", "baseline", "old") == 0
    assert "2 negatives with false positives" in capsys.readouterr().out
    sheet = Image.open(world.folder / "reports" / "baseline_negatives.jpg")
    assert sheet.width > 600 and sheet.height > 300
    assert (world.folder / "reports" / "baseline_predictions.json").is_file()


def test_a_clean_baseline_still_has_a_sheet(world, capsys) -> None:
    measure(world, "baseline", "baseline", "old")
    assert "0 negatives with false positives" in capsys.readouterr().out
    assert Image.open(world.folder / "reports" / "baseline_negatives.jpg").height < 300


@pytest.mark.parametrize(
    ("fooled", "presence", "status", "said"),
    [
        (False, 0.02, "pass", "all is well"),
        (False, 0.3, "doubtful", "hesitates"),
        (True, 0.02, "fail", "add pictures like them"),
        (False, 0.7, "fail", "Raise loss.focal_loss_weight"),
    ],
)
def test_the_verdict_on_negatives(world, capsys, fooled: bool, presence: float, status: str, said: str) -> None:
    world.engine.fooled, world.engine.presence_on_nothing = fooled, presence
    assert measure(world, "negatives", "negatives", "new") == 0
    verdict = world.report("negatives.json")
    assert (verdict["status"], verdict["passed"]) == (status, status == "pass")
    assert said in capsys.readouterr().out
    assert verdict["offenders"] == ([10, 11] if fooled else [])


def test_a_better_candidate_passes_the_gate(world, capsys) -> None:
    world.engine.fooled = True
    measure(world, "baseline", "baseline", "old")
    world.engine.fooled = False
    measure(world, "evaluate", "evaluate", "new")
    measure(world, "negatives", "negatives", "new")
    capsys.readouterr()
    assert decide(world) == 0
    assert "passed" in capsys.readouterr().out
    decision = world.report("compare.json")
    assert decision["gate"]["passed"] and len(decision["gate"]["reasons"]) == 2
    assert decision["candidate"]["sha256"] != decision["baseline"]["sha256"]
    assert decision["candidate_cgF1"] > decision["baseline_cgF1"]


def test_no_better_than_the_baseline_is_refused_in_words(world, capsys) -> None:
    measure(world, "baseline", "baseline", "old")
    measure(world, "evaluate", "evaluate", "new")
    measure(world, "negatives", "negatives", "new")
    assert decide(world) == 0  # a refusal is a result, not a failure
    assert "refused" in capsys.readouterr().out
    assert not world.report("compare.json")["gate"]["passed"]


def test_a_verdict_about_other_weights_is_refused(world, capsys) -> None:
    measure(world, "baseline", "baseline", "old")
    measure(world, "evaluate", "evaluate", "new")
    measure(world, "negatives", "negatives", "old")
    assert decide(world) == 1
    assert "is about other weights" in capsys.readouterr().err
    assert not (world.folder / "reports" / "compare.json").exists()


def test_different_pairs_are_not_compared(world, capsys) -> None:
    measure(world, "baseline", "baseline", "old")
    content = json.loads(world.truth.read_text())
    content["images"].pop()
    world.truth.write_text(json.dumps(content))
    measure(world, "evaluate", "evaluate", "new")
    measure(world, "negatives", "negatives", "new")
    assert decide(world) == 1
    assert "e.g. 50 in" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "text"), [("evaluate", "[]"), ("negatives", '{"pairs": 1}'), ("baseline", "{")])
def test_a_file_that_is_no_report_is_named(world, capsys, name: str, text: str) -> None:
    for verb, file, checkpoint in (
        ("baseline", "baseline", "old"),
        ("evaluate", "evaluate", "new"),
        ("negatives", "negatives", "new"),
    ):
        measure(world, verb, file, checkpoint)
    (world.folder / "reports" / f"{name}.json").write_text(text)
    assert decide(world) == 1
    assert f"{name}.json" in capsys.readouterr().err
