"""`sam3-agent promote`: the candidate against the champion, and if it passes, the registry's aliases.

Without a champion the starter weights are what it must beat. A refusal is a result, not an error: it is printed with
its reasons and written to reports/promotion.json. Called by the flow `retrain`; measurements are kept, so a repeated
call measures nothing twice.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadInput
from sam3.files import made_by, read_json, write_json
from sam3_agent.loop_settings import FILE, LoopSettings, load_loop
from sam3_agent.promotion.aliases import SHIFT, crown, standing
from sam3_agent.promotion.apart import check_apart
from sam3_agent.promotion.gate import Decision, decide
from sam3_agent.promotion.slices import slices_of
from sam3_agent.promotion.trials import KEPT, run_trial

STARTER = "sam3-lite"
OUT = Path("reports/promotion.json")
CHAMPIONS = Path("outputs/champions")  # weights that a training begins with


def promote(
    candidate: Annotated[str, typer.Option(help="Checkpoint folder of the candidate.")] = "models/finetuned",
    champion: Annotated[str, typer.Option(help="What it must beat; the registry's champion when left out.")] = "",
    val: Annotated[Path, typer.Option(help="Validation pairs.")] = Path("data/splits/val.json"),
    hard: Annotated[
        Path | None, typer.Option(help="New hard cases, not trained on; pictures beside it in images/.")
    ] = None,
    train: Annotated[Path, typer.Option(help="Training pairs, which must not hold frozen pictures.")] = Path(
        "data/splits/train.json"
    ),
    config: Annotated[Path, typer.Option(help="How to measure.")] = Path("configs/eval_chicken.yaml"),
    rules: Annotated[Path, typer.Option(help="What decides: the section promotion.")] = FILE,
    out: Annotated[Path, typer.Option(help="Where the decision goes.")] = OUT,
    latency: Annotated[int, typer.Option(help="Pictures on which latency is compared; 0: not.")] = 8,
    decide_only: Annotated[bool, typer.Option("--decide-only", help="Leave the registry's aliases alone.")] = False,
    despite: Annotated[
        str | None,
        typer.Option(help="Promote a registered version even if it is refused, for this reason; the version keeps it."),
    ] = None,
) -> None:
    """Hold the candidate against the champion and promote it if it passes; the decision is in the file."""
    reason = None if despite is None else _reason(despite, decide_only)
    settings = load_loop(rules)
    outcome = weigh(settings, candidate, champion, val=val, hard=hard, train=train, config=config, latency=latency)
    write_json(out, outcome)
    if (outcome["passed"] or reason) and not decide_only:
        outcome |= install(settings, outcome, reason)
        write_json(out, outcome)
    show(outcome)


def weigh(
    settings: LoopSettings,
    candidate: str,
    champion: str = "",
    *,
    val: Path,
    hard: Path | None,
    train: Path,
    config: Path,
    latency: int = 8,
    kept: Path = KEPT,
) -> dict[str, Any]:
    """The decision as reports/promotion.json has it; nothing in the registry changes.

    Raises:
        BadInput: what is measured on was trained on, or files cannot be used.
    """
    from sam3.eval.provenance import checkpoint_line
    from sam3.eval.settings import load_settings

    measuring = replace(load_settings(config), bootstrap=1)  # intervals are of the gain, computed in the gate
    for needed in filter(None, (val, hard)):
        if not needed.is_file():
            raise BadInput(f"{needed}: no such file.{made_by(needed)}", field="val" if needed == val else "hard")
    images = Path(measuring.images)
    hard_images = hard.parent / "images" if hard else images
    for measured_on, pictures in ((val, images), (hard, hard_images)):
        if measured_on is not None and train.is_file():
            check_apart(measured_on, pictures, train, images)
    with tempfile.TemporaryDirectory() as work:
        weights, origin = champion_weights(settings.promotion.name, champion, Path(work))
        rules = settings.promotion
        trial = run_trial("validation", val, weights, candidate, measuring, kept)
        hard_trial = None
        if hard:
            there = replace(measuring, images=str(hard_images))
            hard_trial = run_trial("hard cases", hard, weights, candidate, there, kept)
        speed = _latency(weights, candidate, val, images, latency) if latency else None
        decision = decide(trial, rules, slices=slices_of(val), hard=hard_trial, latency=speed)
        about = {"champion": {**checkpoint_line(weights), "name": origin}, "candidate": checkpoint_line(candidate)}
    return {**decision.to_json(), **about, "val": str(val), "hard": str(hard) if hard else None}


def install(settings: LoopSettings, outcome: dict[str, Any], despite: str | None = None) -> dict[str, Any]:
    """Make the version with the candidate's weights the champion; says who is what afterwards.

    The champion itself keeps its tags: they say how it became champion.

    Args:
        despite: a person's reason to promote what was refused.

    Raises:
        BadInput: the registry has no version of these weights, or the decision was a refusal and nobody gave a reason.
    """
    from sam3_agent.tracking.mlflow_store import Store

    if not outcome["passed"] and not despite:
        raise BadInput("reports/promotion.json: the candidate was refused. Nothing was promoted.", field="passed")
    store, name, weights = Store(), settings.promotion.name, outcome["candidate"]["sha256"]
    with store._answering():
        known = store.client.search_model_versions(f"name = '{name}' and tags.checkpoint_sha256 = '{weights}'")
    if not known:
        raise BadInput(f"{name}: the registry has no version of these weights. Run: sam3-agent register", field="model")
    version = int(known[0].version)
    after, overruled = standing(store, name), dict[str, str]()
    if after.champion != version:
        overruled = {"despite": despite} if despite and not outcome["passed"] else {}
        if outcome["passed"] and "despite" in known[0].tags:  # forced before, and now by right
            with store._answering():
                store.client.delete_model_version_tag(name, str(version), "despite")
        told = " ".join(outcome["reasons"])[:5000]
        tags = {**overruled, "promotion": told, SHIFT: f"{outcome.get('presence_shift') or 0.0:.4f}"}
        after = crown(store, name, version, tags)
    return {**overruled, "promoted": after.champion, "previous": after.previous}


def _reason(despite: str, decide_only: bool) -> str:
    """A person's reason as a registry can hold it: one printable line, not empty."""
    said = "".join(letter if letter.isprintable() else " " for letter in despite).strip()[:5000]
    if not said:
        raise BadInput("--despite: expected a reason, which the version keeps.", field="despite")
    if decide_only:
        raise BadInput("--despite promotes and --decide-only does not: leave one of them out.", field="despite")
    return said


def champion_weights(name: str, asked: str, work: Path) -> tuple[str, str]:
    """Checkpoint of what must be beaten, and where it is from: as asked, the registry's champion, or the starter."""
    if asked and not asked.startswith("models:/"):
        return asked, asked
    asked = asked or _champion(name)
    if not asked:
        return STARTER, STARTER
    from sam3_agent.serving.graphs import from_registry

    return str(from_registry(asked, work)), asked


def kept_champion(name: str, place: Path = CHAMPIONS) -> Path | None:
    """The weights of the registry's champion as a folder of their own, which stays; None without a champion.

    Raises:
        Unavailable: MLflow does not answer.
    """
    from sam3_agent.serving.graphs import from_registry

    champion = _champion(name)
    if not champion:
        return None
    folder = place / champion.removeprefix("models:/").replace("/", "-")
    if not folder.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as part:
            from_registry(champion, Path(part)).rename(folder)
    return folder


def _champion(name: str) -> str:
    """The registry's address of the champion, "" without one."""
    from sam3_agent.tracking.mlflow_store import Store

    number = standing(Store(), name).champion
    return "" if number is None else f"models:/{name}/{number}"


def show(outcome: dict[str, Any]) -> None:
    """The verdict and its reasons."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    promoted = f" to champion, version {outcome['promoted']}" if "promoted" in outcome else ""
    verdict = f"[bold green]passed[/]{promoted}" if outcome["passed"] else "[bold red]refused[/]: the champion stays"
    if "despite" in outcome:
        verdict = f"[bold red]refused[/], and promoted{promoted} by hand: {escape(outcome['despite'])}"
    console.print(verdict)
    for line in (*outcome["reasons"], *outcome["notes"]):
        console.print(f"  {line}", highlight=False)


def _latency(champion: str, candidate: str, truth: Path, images: Path, count: int) -> Any:
    """Both in PyTorch, on the first pictures of the set, in one run."""
    from sam3.engines import load_engine
    from sam3.images import read_image
    from sam3_agent.promotion.latency import compare_latency

    rows = read_json(truth)["images"]
    names = list(dict.fromkeys(row["file_name"] for row in rows))[: max(count, 4)]
    if len(names) < 4:
        return None
    pictures = [read_image(images / name) for name in names]
    old, new = (load_engine("torch", checkpoint=one) for one in (champion, candidate))
    return compare_latency(old, new, pictures, str(rows[0]["text_input"]), rounds=2)


__all__ = ["Decision", "champion_weights", "install", "promote", "show", "weigh"]
