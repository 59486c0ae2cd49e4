"""The page: one file, verdict first, the same for the same run, and honest about set-backs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import GOOD, PARAMS, WEAK, write_finished_run

from sam3.errors import BadInput
from sam3.eval.bootstrap import Interval
from sam3_agent.finished_run import FinishedRun, PairRow, read_run
from sam3_agent.report.advice import next_steps
from sam3_agent.report.page import render, report
from sam3_agent.report.selection import telling_changes, worst_pairs
from sam3_agent.report.summary import Figure, is_better, pass_rate, summary_json, summary_text, verdict


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """24 pairs; the candidate is good and passes the gate."""
    return read_run(write_finished_run(tmp_path_factory.mktemp("run"), pairs=24))


@pytest.fixture(scope="module")
def page(run: FinishedRun) -> str:
    return render(run)


class Links(HTMLParser):
    """Everything that a browser would fetch or follow, ids, and whether tags close."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs) -> None:  # type: ignore[no-untyped-def]
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs) -> None:  # type: ignore[no-untyped-def]
        if tag not in self.VOID:
            self.open.append(tag)
            self.handle_starttag("img", attrs)
            self.open.pop()
        else:
            self.handle_starttag(tag, attrs)


def test_the_page_is_one_file_that_fetches_nothing(page: str) -> None:
    found = Links()
    found.feed(page)
    assert not found.open
    assert {link.split(":")[0] for link in found.links if not link.startswith("#")} == {"data"}
    assert not re.search(r"url\((?!#)|@import|<script", page)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_the_verdict_comes_first(page: str, run: FinishedRun) -> None:
    order = [
        page.index(f'id="{section}"')
        for section in ("verdict", "figures", "pictures", "mistakes", "training", "data", "next")
    ]
    assert order == sorted(order)
    assert "Passed the gate" in page and f"{run.candidate.cgf1.value:.3f}" in page
    assert run.candidate.hardware in page and run.candidate.sha256[:12] in page


def test_charts_take_their_colours_from_the_page(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(charts) == 8
    assert all("var(--" in chart for chart in charts)
    assert not re.search(r"#[01]\d0203", page)  # no stand-in colour is left


def test_equal_runs_give_equal_bytes(page: str, run: FinishedRun) -> None:
    assert render(run) == page


def test_names_from_files_cannot_become_markup(run: FinishedRun) -> None:
    data = replace(run.data, etl=run.data.etl | {"other_classes": {"<b>duck": 3}})
    assert "<b>duck" not in render(replace(run, data=data))


def test_the_verb_writes_page_and_summaries(
    run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = run.places
    report(places.reports, places.splits, places.images, places.model, tmp_path / "report.html", PARAMS)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "summary.txt", "summary.json"}
    assert verdict(run)[:40] in (tmp_path / "summary.txt").read_text()


def test_missing_masks_name_their_stage(tmp_path: Path) -> None:
    places = write_finished_run(tmp_path, pairs=16)
    (places.reports / "baseline_predictions.json").unlink()
    with pytest.raises(BadInput, match="The stage baseline writes it"):
        render(read_run(places))


@pytest.mark.parametrize(("skill", "start"), [(GOOD, "The candidate may replace"), (WEAK, "The candidate is refused")])
def test_the_verdict_is_one_sentence_with_its_figures(tmp_path: Path, skill, start: str) -> None:
    made = read_run(write_finished_run(tmp_path, pairs=24, candidate=skill))
    assert verdict(made).startswith(start)
    assert f"{made.decision.gain.value:+.3f}" in verdict(made)
    assert summary_json(made)["passed"] is made.decision.passed
    assert "cgF1" in summary_text(made)


@pytest.mark.parametrize(
    ("before", "after", "up", "whole", "better"),
    [
        (0.4, 0.5, True, False, True),
        (0.4, 0.3, True, False, False),
        (0.4, 0.1, False, False, True),
        (7.0, 3.0, False, True, True),
        (7.0, 7.0, False, True, None),
        (None, 0.3, True, False, None),
        (Interval(0.2, 0.1, 0.3), Interval(0.2001, 0.1, 0.3), True, False, None),
    ],
)
def test_a_change_is_for_better_or_worse_or_neither(before, after, up: bool, whole: bool, better: bool | None) -> None:
    assert is_better(Figure("x", "", before, after, up=up, whole=whole)) is better


def test_all_clean_of_twenty_is_not_certainty(run: FinishedRun) -> None:
    rows = {n: PairRow(n, "", "", "TN", 0, 0, 0.1, 0.0, "ok", {}) for n in range(20)}
    rate = pass_rate(replace(run.candidate, pairs=rows))
    assert rate is not None
    assert (rate.value, rate.high) == (1.0, 1.0)
    assert rate.low == pytest.approx(0.8389, abs=1e-4)  # Wilson, 20 of 20
    assert pass_rate(replace(run.candidate, pairs={})) is None


def test_worst_pairs_show_every_kind_before_a_second_of_any(run: FinishedRun) -> None:
    kinds = [row.error for row in worst_pairs(run.candidate, limit=99)]
    distinct = len(set(kinds))
    assert len(set(kinds[:distinct])) == distinct and "ok" not in kinds
    assert len(worst_pairs(run.candidate, limit=3)) == 3


def test_set_backs_are_shown_beside_the_gains(run: FinishedRun) -> None:
    swapped = replace(run, baseline=run.candidate, candidate=run.baseline)
    assert {"a set-back", "new false alarm"} <= {change.story for change in telling_changes(swapped)}
    shown = [change.after.image_id for change in telling_changes(run)]
    assert len(shown) == len(set(shown)) <= 6


def test_advice_follows_the_figures(run: FinishedRun) -> None:
    def said(changed: FinishedRun) -> str:
        return " | ".join(f"{step.do} {step.because} {step.command}" for step in next_steps(changed, limit=99))

    assert "Export it" in said(run)
    loud = replace(run, negatives=replace(run.negatives, status="fail", advice="mean presence 0.7"))
    assert "Set loss.focal_loss_weight: 10" in said(loud)
    refused = replace(run, decision=replace(run.decision, passed=False, gain=Interval(0.01, -0.02, 0.04)))
    assert "Do not trust the gain" in said(refused) and "dvc repro" in said(refused) and "Export" not in said(refused)
    most = replace(run, candidate=replace(run.candidate, errors={"bleeding": 9, "missed": 2}))
    assert "most frequent mistake: bleeding" in said(most)
    assert len(next_steps(run)) <= 6


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_real_browser_shows_it_without_sideways_scrolling(page: str, tmp_path: Path, width: int, scheme: str) -> None:
    browser = Path("/usr/bin/chromium")
    if not browser.is_file():
        pytest.skip("needs Debian's chromium")
    (tmp_path / "page.html").write_text(page)
    done = subprocess.run([sys.executable, "-c", BROWSER, str(tmp_path / "page.html"), str(width), scheme],
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    scroll, blank, complaints = done.stdout.split()
    assert int(scroll) <= width and int(blank) == 0 and int(complaints) == 0


BROWSER = """
import sys
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as tools:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    browser = tools.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
    page = browser.new_page(viewport={"width": int(sys.argv[2]), "height": 900}, color_scheme=sys.argv[3])
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(Path(sys.argv[1]).as_uri())
    blank = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
    print(page.evaluate("document.documentElement.scrollWidth"), blank, len(said))
    browser.close()
"""
