"""`sam3-agent mine`: look at part of the inbox, choose what a person should correct, write the batch.

    sam3-agent mine --budget 50                        # 1,000 pictures looked at, at most 50 handed out
    sam3-agent mine --budget 50 --strategy random      # for comparison
    sam3-agent mine --second models/finetuned --looks 0

Looking is done in the shards of `mine-inbox`, each exactly once for a model; choosing and promising is one transaction
of the ledger. So it may be killed at any moment and called again: nothing is looked at twice, no picture is in two
batches, and the batch under way is the one that is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from sam3.errors import BadInput
from sam3.files import read_json, write_json
from sam3_agent.mining.batch import FACTS, SHEET, write_batch
from sam3_agent.mining.inbox import Part, inbox_parts, located
from sam3_agent.mining.ledger import Ledger
from sam3_agent.mining.plan import Plan, load_part, load_plan, make_plan
from sam3_agent.mining.rank import candidates, choose
from sam3_agent.mining.settings import MinedBatch, MineSettings

JUDGE = "doubts 1"  # changes when rows change their meaning: old ones are then not taken for new ones


def mine(
    inbox: Annotated[str | None, typer.Argument(help="Folder, .tar or fsspec address; from params.yaml.")] = None,
    concept: Annotated[str | None, typer.Option(help="What to look for; from params.yaml.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Weights, exported graphs, or host:port of Triton.")] = None,
    second: Annotated[str | None, typer.Option(help="Another version to hold the model against.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, torch, jax, onnx, tensorrt or triton.")] = None,
    sessions: Annotated[str | None, typer.Option(help="Database of conversations, for thumbs-down.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of batches.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder of what was looked at.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the batch; numbered when left out.")] = None,
    budget: Annotated[int | None, typer.Option(help="Pictures of the batch at most.")] = None,
    looks: Annotated[int | None, typer.Option(help="Pictures to look at in this call; 0: all.")] = None,
    strategy: Annotated[str | None, typer.Option(help="value, or random for comparison.")] = None,
    fill: Annotated[bool | None, typer.Option("--fill", help="Add the best of the rest up to the budget.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of clustering and drawing.")] = None,
) -> None:
    """Choose the pictures of the inbox that are worth a person's correction."""
    given = {key: value for key, value in locals().items() if value is not None}
    if inbox is None or concept is None:
        from sam3_agent.params import load_params

        params = load_params()
        given = {"inbox": params.data.inbox, "concept": params.concept} | given
    if sessions is None and Path("sessions.db").is_file():
        given["sessions"] = "sqlite:///sessions.db"
    batch = mine_batch(MineSettings(**given))
    why = ", ".join(f"{reason} {count}" for reason, count in sorted(batch.reasons.items())) or "none"
    print(
        f"{batch.folder}: {batch.pictures} pictures to correct of {batch.looked_at:,} looked at "
        f"({batch.flagged} flagged: {why}); {batch.folder / SHEET}"
    )


def mine_batch(settings: MineSettings) -> MinedBatch:
    """Make a batch, or finish the one that an interrupted call began; a batch that is there is only told about.

    Raises:
        BadInput: the inbox is empty, or nothing is left that may be handed out. Unavailable: a store, server or
            picture is gone.
    """
    ledger = Ledger(settings.out)
    try:
        waiting = ledger.unfinished()
        name = settings.name or (waiting[0] if waiting else None)
        if name is not None and ledger.facts(name) is not None:
            return _told(ledger, settings, name)
        name = _promise(ledger, settings, name)
        return _told(ledger, settings, name, new=True)
    finally:
        ledger.close()


def _promise(ledger: Ledger, settings: MineSettings, name: str | None) -> str:
    """Look, choose, and write the choice into the ledger; the name of the batch."""
    work = look(settings)
    rows = (row for row in looked_at(work, settings) if not ledger.has(row["sha256"]))
    held = candidates(rows, settings)
    with ledger.turn():
        # somebody may have been handed one of them while we looked
        free = [row for row in held.rows if not ledger.has(row["sha256"])]
        chosen = choose(free, ledger.hashes(), settings, held.seen_in / max(1, held.looked_at))
        if not chosen:
            raise BadInput(
                f"{settings.inbox}: nothing to hand out: {held.looked_at} pictures were looked at and are not in a batch yet, "
                "none is flagged. Look at more (--looks 0), or take the best of them (--fill)."
            )
        name = name or _next_name(ledger, settings.out)
        reasons: dict[str, int] = {}
        for row in chosen:
            for reason in row["reasons"]:
                reasons[reason] = reasons.get(reason, 0) + 1
        facts = {
            "name": name,
            "concept": settings.concept,
            "prefill": settings.prefill,
            "strategy": settings.strategy,
            "budget": settings.budget,
            "seed": settings.seed,
            "pictures": len(chosen),
            "flagged": sum(bool(row["reasons"]) for row in chosen),
            "looked_at": held.looked_at,
            "reasons": reasons,
            "model": {"checkpoint": settings.checkpoint, "sha256": load_plan(work).checkpoint_sha256},
        }
        ledger.add(name, facts, chosen)
    return name


def _told(ledger: Ledger, settings: MineSettings, name: str, new: bool = False) -> MinedBatch:
    """A promised batch, its folder made if it is not there."""
    facts = ledger.facts(name)
    assert facts is not None
    folder = settings.out / name
    if not facts.pop("done") or not (folder / FACTS).is_file():
        write_batch(folder, facts, ledger.rows(name))
        ledger.finished(name)
    numbers = {field.name for field in fields(MinedBatch)} & set(facts) - {"name", "folder", "new"}
    return MinedBatch(name=name, folder=folder, new=new, **{key: facts[key] for key in numbers})


def _next_name(ledger: Ledger, out: Path) -> str:
    taken = {*ledger.names(), *(path.name for path in out.iterdir())}
    return next(name for number in range(1, 1_000_000) if (name := f"batch-{number:04d}") not in taken)


def look(settings: MineSettings) -> Path:
    """Look at the next pictures of the inbox that this model has not seen; the folder with the rows of all it has.

    Raises:
        BadInput: an empty inbox. Unavailable: the store, a server or a shard fails.
    """
    from tqdm import tqdm

    from sam3_agent.mining.shard import manifest, run_shard

    plan, load = _planned(settings)
    work = settings.work / _key(plan, settings)
    plan = make_plan(plan, work)
    judge: Any = None
    wanted = settings.looks or float("inf")
    with tqdm(desc="looking", unit="picture") as bar:
        for shard in range(plan.shards):
            if wanted <= 0:
                break
            if manifest(work, shard) is None:
                judge = judge or load()
                done = run_shard(work, shard, plan, judge)
                wanted -= done["pictures"]
                bar.update(done["pictures"])
    _look_at_disliked(settings, work, plan, lambda: judge or load())
    return work


def _look_at_disliked(settings: MineSettings, work: Path, plan: Plan, judge: Any) -> None:
    """Rows of disliked pictures, beside the shards: they come and go, and are few."""
    from sam3_agent.mining.disliked import disliked_pictures
    from sam3_agent.mining.shard import rows

    if settings.sessions is None:
        return
    folder = (settings.work / "disliked").absolute()
    said = disliked_pictures(settings.sessions, folder)
    known = {path.stem for path in (work / "disliked").glob("*.json")}
    new = tuple(f"{digest}.png" for digest in sorted(set(said) - known))
    for row in rows(Part(str(folder), new), plan, judge()) if new else ():
        write_json(work / "disliked" / f"{row['sha256']}.json", {**row, "url": str(folder)})
    write_json(work / "disliked.json", said)


def looked_at(work: Path, settings: MineSettings) -> Iterator[dict[str, Any]]:
    """Rows of everything that was looked at and can be shown, the disliked first; `url` says where each lies."""
    from sam3_agent.mining.shard import manifest, read_rows

    if settings.sessions is not None and (work / "disliked.json").is_file():
        for digest, said in read_json(work / "disliked.json").items():
            row = read_json(work / "disliked" / f"{digest}.json")
            if "error" not in row:
                yield {**row, "feedback": said}
    for shard in range(load_plan(work).shards):
        if manifest(work, shard) is not None:
            url = load_part(work, shard).url
            for row in read_rows(work, shard):
                if "error" not in row:
                    yield {**row, "url": url}


def _planned(settings: MineSettings) -> tuple[Plan, Any]:
    """The plan, and what makes the judge of pictures."""
    from sam3_agent.mining.flag import Looker

    first, second = _identity(settings.engine, settings.checkpoint), ""
    if settings.second is not None:
        second = f", against {_identity('auto', settings.second)}"
    plan = Plan(
        located(settings.inbox), settings.concept, settings.checkpoint, first, settings.threshold, settings.pictures_each,
        judge=JUDGE + second,
    )  # fmt: skip

    def load() -> Looker:
        from sam3.engines import load_engine

        engine = load_engine(settings.engine, checkpoint=settings.checkpoint, threshold=settings.threshold)
        other = (
            load_engine("auto", checkpoint=settings.second, threshold=settings.threshold) if settings.second else None
        )
        return Looker(engine, settings.concept, other)

    return plan, load


def _identity(engine: str, checkpoint: str) -> str:
    """What tells the weights of one model from another's; of a server, its address and the version it serves."""
    from sam3_agent.mining.run import weights_identity

    if engine != "triton":
        return weights_identity(checkpoint)
    from sam3_agent.serving.control import Control

    served = Control(checkpoint if ":" in checkpoint else None)
    return f"triton {served.address} version {served.serving('sam3')}"


def _key(plan: Plan, settings: MineSettings) -> str:
    """Name of the folder of a plan: the model, the question, and what is in the inbox now."""
    digest = hashlib.sha256(json.dumps([*cast(Any, vars(plan)).values()]).encode())
    for part in inbox_parts(plan.inbox, settings.pictures_each):
        digest.update(json.dumps([part.url, part.names]).encode())
    return digest.hexdigest()[:16]
