"""`sam3-agent mine-inbox`: an inbox of any size through the model, shard by shard, here or as a SLURM array.

    sam3-agent mine-inbox data/inbox --out outputs/mining                     # plan, run, merge; killed, it goes on
    sam3-agent mine-inbox data/inbox --out outputs/mining --tasks 64          # the same shards as an array of 64
    sam3-agent mine-inbox --out outputs/mining --shards 7,12-14               # these alone

The code that does a shard is the same in both cases. Array element i takes shards i, i + tasks, i + 2 tasks, ...: an
array of any length the cluster allows does any number of shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadInput, Unavailable
from sam3.types import Engine
from sam3_agent.mining.inbox import located
from sam3_agent.mining.plan import PLAN, Plan, load_plan, make_plan, plan_age, shard_numbers


def mine_inbox(
    inbox: Annotated[str | None, typer.Argument(help="Folder, .tar or fsspec address; from params.yaml.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for plan and results; shared, if several machines take part.")
    ] = Path("outputs/mining"),
    concept: Annotated[str | None, typer.Option(help="What to look for; from params.yaml.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Weights: a name or a folder, exported graphs too.")] = "sam3-lite",
    threshold: Annotated[float, typer.Option(help="Detections with a lower score are left out.")] = 0.3,
    pictures: Annotated[int, typer.Option(help="Pictures of a shard, where the inbox is no tar.")] = 1000,
    shards: Annotated[str | None, typer.Option(help="Only these: 3,7-9. No merging.")] = None,
    tasks: Annotated[int, typer.Option(help="Run as a SLURM array of so many elements; 0: here.")] = 0,
    partition: Annotated[str | None, typer.Option(help="SLURM partition of the array.")] = None,
    gpus: Annotated[int, typer.Option(help="GPUs of an array element.")] = 0,
    time: Annotated[str, typer.Option(help="Time limit of an array element, as sbatch takes it.")] = "4:00:00",
) -> None:
    """Look for the concept in every picture of an inbox, exactly once each, however often it is interrupted."""
    for name, value in (("tasks", tasks), ("gpus", gpus)):
        if value < 0:
            raise BadInput(f"--{name} {value}: expected 0 or more.", field=name)
    known = plan_age(out)
    plan = _plan(inbox, out, concept, checkpoint, threshold, pictures)
    if known:
        print(f"going on with the plan of {known}: pictures that came later are not in it (another --out has them)")
    chosen = shard_numbers(shards, plan.shards) if shards is not None else list(range(plan.shards))
    if tasks:
        from sam3_agent.mining.array import run_array

        run_array(out, chosen, tasks, partition=partition, gpus=gpus, time=time)
    else:
        run_shards(out, chosen)
    if shards is None:
        from sam3_agent.mining.merge import MERGED, merge

        row = merge(out)
        print(
            f"{row['pictures']:,} pictures ({row['bytes'] / 1e6:,.0f} MB), {row['found']:,} with a {plan.concept}, "
            f"{row['repeated']:,} repeated, {row['failed']:,} unreadable: {out / MERGED}"
        )


def run_shards(out: Path, shards: Sequence[int], load: Callable[[Plan], Engine] | None = None) -> dict[str, int]:
    """Do shards in this process.

    Args:
        load: makes the engine; once, and only if there is something to do.

    Returns:
        new: shards done in this call. pictures: in all of them.

    Raises:
        Unavailable: after all shards were tried, names those whose store or tar failed.
    """
    from tqdm import tqdm

    from sam3_agent.mining.shard import manifest, run_shard

    plan, engine, counts, failed = load_plan(out), None, {"new": 0, "pictures": 0}, []
    for shard in tqdm(shards, desc="mining", unit="shard"):
        row: dict[str, Any] | None = manifest(out, shard)
        if row is None:
            engine = engine or (load or _engine)(plan)
            try:
                row = run_shard(out, shard, plan, engine)
            except Unavailable as error:
                failed.append(f"{shard} ({error})")
                continue
            counts["new"] += 1
        counts["pictures"] += row["pictures"]
    if failed:
        raise Unavailable(f"{len(failed)} of {len(shards)} shards failed: {failed[0]}")
    return counts


def _plan(inbox: str | None, out: Path, concept: str | None, checkpoint: str, threshold: float, pictures: int) -> Plan:
    """The plan of the folder, or a new one."""
    if inbox is None and (out / PLAN).is_file():
        return load_plan(out)
    if inbox is None or concept is None:
        from sam3_agent.params import load_params

        params = load_params()
        inbox = params.data.inbox if inbox is None else inbox
        concept = concept or params.concept
    if pictures < 1:
        raise BadInput(f"--pictures {pictures}: expected 1 or more.", field="pictures")
    return make_plan(
        Plan(located(inbox), concept, _absolute(checkpoint), weights_identity(checkpoint), threshold, pictures), out
    )


def _absolute(checkpoint: str) -> str:
    """A folder keeps its meaning on another node; a name stays a name."""
    return str(Path(checkpoint).absolute()) if Path(checkpoint).is_dir() else checkpoint


def weights_identity(checkpoint: str) -> str:
    """Identity of the weights, of a checkpoint or of exported graphs."""
    import hashlib

    from sam3.checkpoint import checkpoint_folder, weights_sha256

    graphs = sorted(Path(checkpoint).glob("*.onnx*")) if Path(checkpoint).is_dir() else []
    if not graphs:
        return weights_sha256(checkpoint_folder(checkpoint))
    digest = hashlib.sha256()
    for path in graphs:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _engine(plan: Plan) -> Engine:
    from sam3.engines import load_engine

    return load_engine("auto", checkpoint=plan.checkpoint, threshold=plan.threshold)


def share(shards: Sequence[int], element: int, tasks: int) -> list[int]:
    """The shards of one array element."""
    return list(shards[element::tasks])


def element_work(out: str, shards: Sequence[int], element: int, tasks: int) -> dict[str, int]:
    """What one element of a SLURM array does."""
    return run_shards(Path(out), share(shards, element, tasks))


def element_calls(out: Path, shards: Sequence[int], tasks: int) -> list[partial[dict[str, int]]]:
    """One call for each element that has something to do."""
    count = min(tasks, len(shards))
    return [partial(element_work, str(out.absolute()), list(shards), element, count) for element in range(count)]
