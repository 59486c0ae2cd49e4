"""`make loop-demo`: two turns of the whole loop against real servers, with an annotator who knows the generator's truth.

    python -m flows.loop_demo --size small          # a hundred pictures: to see it turn
    python -m flows.loop_demo --size small --kill   # and every server and the training are killed once
    python -m flows.loop_demo --size middle         # 600 pictures, most of them to measure on, batches of 40, a short canary
    python -m flows.loop_demo                       # as params.yaml has it; hours on two cores

Everything lies in outputs/loop-demo: a clone of this checkout in which the loop runs, the servers' data and logs, and
summary.json. Interrupted, the same command goes on; `rm -r outputs/loop-demo` starts over.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.demo_site import Site, post
from flows.journal import Journal, alone
from flows.knobs import Knob, turn_to
from flows.misfortune import Misfortune
from sam3.errors import Sam3AgentError, Unavailable
from sam3.files import read_json, write_json

Size = Literal["small", "middle", "full"]
Knobs = dict[str, dict[str, Knob]]  # by file
FULL: Knobs = {
    # Something to find that training has not seen, and what validation asks about is in the stream.
    "params.yaml": {"barnyard.inbox_photographs": 1, "barnyard.inbox_visitors": True},
    "configs/loop.yaml": {"triggers.annotations": 1_000_000},  # a turn's figures are of that turn's labels alone
}
QUICK: Knobs = {"configs/loop.yaml": FULL["configs/loop.yaml"] | {
    "canary.share": 0.3, "canary.seconds": 40, "canary.every": 1, "canary.min_requests": 10, "promotion.resamples": 200,
}}  # fmt: skip
SIZES: dict[Size, Knobs] = {
    # Minutes: too little to tell a gain from chance by, and gates that let any gain through, so that every step is seen.
    "small": {
        "configs/loop.yaml": QUICK["configs/loop.yaml"] | {
            "promotion.confidence": 0.01, "promotion.min_slice_pairs": 1000,
        },
        "params.yaml": FULL["params.yaml"] | {
            "barnyard.pictures": 96, "barnyard.inbox": 160, "split.val_share": 0.8, "train.epochs": 8,
            "evaluate.bootstrap": 50, "gate.min_relative_gain": -2, "gate.min_pass_rate": 0,
        },
    },
    # Two labelled farms, as somebody begins, and four to measure on; batches so small that each can be seen to help.
    "middle": QUICK | {"params.yaml": FULL["params.yaml"] | {
        "barnyard.pictures": 600, "barnyard.inbox": 600, "split.val_share": 0.6, "evaluate.bootstrap": 200,
        "gate.min_pass_rate": 0.8,
    }},
    "full": FULL,
}  # fmt: skip
BUDGETS: dict[Size, int] = {"small": 40, "middle": 40, "full": 100}  # pictures to annotate a turn
BESIDE = ("mine", "monitor", "retrain")  # deployments that would join in by the clock
FIRST = "the first model of this concept: something has to be in use"
SERVERS = ("redis", "prefect", "mlflow", "label-studio")


def demo(place: Path, turns: int, size: Size, budget: int, looks: int, kill: bool = False) -> dict[str, Any]:
    """Turn the loop; returns the summary. With `kill`, every participant is killed once meanwhile (flows.misfortune).

    Raises:
        Unavailable: a server or a step failed; says which and where its log is.
    """
    place = place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    with alone("loop-demo", locks=place):
        journal = Journal(place / "demo.json")
        project = place / "project"
        journal.once("project", lambda: make_project(project, size))
        site = Site(place, project)
        try:
            tell("starting Redis, Prefect, MLflow and Label Studio")
            site.start(*SERVERS)
            journal.once("first model", lambda: first_model(site))
            tell("starting Triton, the agent and the worker")
            site.start("triton", "agent")
            journal.once("deployments", lambda: deployments(site))
            site.start("worker")
            run = journal.once("run", lambda: order(site, turns, budget, looks))
            follow(site, run, Misfortune(site, tell) if kill else None)
        finally:
            site.stop()
    summary = {"size": size, "turns": [row for row in turns_of(project)]}
    write_json(place / "summary.json", summary)
    return summary


def make_project(project: Path, size: Size) -> bool:
    """A clone of the committed tree, its knobs turned to the size.

    Raises:
        Unavailable: git cannot make it.
    """
    source = Path(__file__).resolve().parents[1]
    if left := git("status", "--porcelain", cwd=source):
        tell(f"what is not committed takes no part: {len(left.splitlines())} files")
    if not project.is_dir():
        part = tempfile.mkdtemp(prefix=".part-", dir=project.parent)  # a clone that a kill cut off is none
        git("clone", "--quiet", f"file://{source}", part, cwd=project.parent)
        Path(part).rename(project)
    for file, values in SIZES[size].items():
        turn_to(values, project / file)
    for name, value in (("user.name", "the loop"), ("user.email", "loop@example.com"), ("commit.gpgsign", "false")):
        git("config", name, value, cwd=project)
    git("commit", "--quiet", "--allow-empty", "-am", f"loop demo, {size}", cwd=project)
    return True


def git(*words: str, cwd: Path) -> str:
    """What a git command prints.

    Raises:
        Unavailable: it failed, with what it said.
    """
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"git {words[0]} in {cwd}: {done.stderr.strip()[-300:]}")
    return done.stdout


def first_model(site: Site) -> bool:
    """The pipeline once and its model in use, or the starter weights where it is not even registered; packaged.

    Somebody who begins takes a first model that finds the concept over one that is silent about it, whatever the gate
    says of pictures without it; from then on the gate decides.
    """
    tell("the pipeline, for the first champion")
    site.call(sys.executable, "-m", "flows.retrain", "--no-merge", quiet=False)
    registered = bool(read_json(site.project / "reports/register.json")["registered"])
    if registered and not read_json(site.project / "reports/promotion.json")["passed"]:
        site.call("sam3-agent", "promote", "--despite", FIRST, quiet=False)
    site.call("sam3-agent", "package", "--model", "models/export" if registered else "sam3-lite")
    return registered


def deployments(site: Site) -> bool:
    """The work pool and the deployments of prefect.yaml; those that would change the turns' data do not run by the clock."""
    import httpx

    site.call("prefect", "work-pool", "create", "sam3-agent", "--type", "process", "--overwrite")
    site.call("prefect", "--no-prompt", "deploy", "--all")
    api = site.environment["PREFECT_API_URL"]
    for name in BESIDE:
        found = httpx.get(f"{api}/deployments/name/{name}/{name}", timeout=60).json()
        httpx.patch(f"{api}/deployments/{found['id']}", json={"paused": True}, timeout=60).raise_for_status()
    return True


def order(site: Site, turns: int, budget: int, looks: int) -> str:
    """A run of the deployment `loop`; its id."""
    import httpx

    api = site.environment["PREFECT_API_URL"]
    found = httpx.get(f"{api}/deployments/name/loop/loop", timeout=60).json()
    parameters = {"turns": turns, "budget": budget, "looks": looks, "poll_seconds": 2.0}
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "tags": ["sam3-agent"]}
    return str(post(f"{api}/deployments/{found['id']}/create_flow_run", body)["id"])


def follow(site: Site, run: str, misfortune: Misfortune | None) -> None:
    """Until the run is over: annotate, ask the agent, keep the servers up."""
    import httpx

    stop = threading.Event()
    helpers = [threading.Thread(target=work, args=(site, stop), daemon=True) for work in (annotator, visitors)]
    for helper in helpers:
        helper.start()
    api, said = site.environment["PREFECT_API_URL"], ""
    try:
        while True:
            if misfortune is not None:
                misfortune.look()
            for name in site.keep_up():
                tell(f"{name} had died; started again")
            try:
                state = httpx.get(f"{api}/flow_runs/{run}", timeout=30).json()["state"]
            except (httpx.HTTPError, KeyError, ValueError):
                time.sleep(2)
                continue
            line = f"{state['type'].lower()}; {progress(site.project)}"
            if line != said:
                tell(said := line)
            if state["type"] in ("COMPLETED", "FAILED", "CANCELLED"):
                break
            time.sleep(0.5)
    finally:
        stop.set()
        for helper in helpers:
            helper.join(30)
    if state["type"] != "COMPLETED":
        raise Unavailable(f"the loop ended {state['type'].lower()}: {str(state.get('message'))[:300]}")


def annotator(site: Site, stop: threading.Event) -> None:
    """Answers every open task from what the generator drew, through Label Studio's API."""
    from sam3_agent.annotation.studio import HOME, Studio
    from sam3_agent.barnyard.annotator import answer_tasks, read_truth

    truth = read_truth(site.project / "data/inbox_truth.json")
    while not stop.wait(2):
        try:
            studio = Studio.load(site.project / HOME)
            for project in list(studio.projects()):
                if done := answer_tasks(studio, project["batch"], truth):
                    tell(f"the annotator answered {done} tasks of {project['batch']}")
        except (Sam3AgentError, OSError, KeyError) as error:
            tell(f"annotator: {error}")


def visitors(site: Site, stop: threading.Event) -> None:
    """People who ask the agent about pictures of their own, so that a new version has traffic to be judged by."""
    import base64

    import httpx

    truth, rng = read_json(site.project / "data/inbox_truth.json"), random.Random()
    names = [site.project / "data/inbox" / name for name in sorted(truth["pictures"])]
    address = f"http://127.0.0.1:{site.ports['agent']}/v1/segment"
    while not stop.wait(0.5):
        try:
            data = base64.b64encode(taken_again(rng.choice(names), rng)).decode()
            httpx.post(address, json={"image": data, "concept": truth["concept"], "masks": "none"}, timeout=60)
        except (httpx.HTTPError, OSError):
            stop.wait(2)


def taken_again(path: Path, rng: random.Random) -> bytes:
    """A picture as somebody else would have taken it, a little nearer: a JPEG that no cache has met."""
    from io import BytesIO

    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = (round(side * rng.uniform(0.85, 0.99)) for side in picture.size)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    out = BytesIO()
    picture.crop((left, top, left + width, top + height)).save(out, "JPEG", quality=90)
    return out.getvalue()


def progress(project: Path) -> str:
    """The turn and the steps that are done."""
    files = sorted((project / "outputs/loop").glob("turn-*.json"))
    return f"{files[-1].stem}: {', '.join(read_json(files[-1]))}" if files else "first turn"


def turns_of(project: Path) -> list[dict[str, Any]]:
    """Figures of each turn."""
    rows = []
    for path in sorted((project / "outputs/loop").glob("turn-*.json")):
        steps = read_json(path)
        rows.append({name: steps.get(name) for name in ("mine", "merge", "retrain", "promote", "deploy")}
                    | {"turn": path.stem})  # fmt: skip
    return rows


def tell(line: str) -> None:
    """One line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main(
    place: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("outputs/loop-demo"),
    turns: Annotated[int, typer.Option(min=1, help="Turns of the loop.")] = 2,
    size: Annotated[Size, typer.Option(help="How much to draw and to train.")] = "full",
    budget: Annotated[
        int, typer.Option(min=0, help="Pictures to annotate a turn; 0: 40, or 100 where it is `full`.")
    ] = 0,
    looks: Annotated[int, typer.Option(help="Pictures of the inbox to look at a turn; 0: all.")] = 500,
    kill: Annotated[bool, typer.Option("--kill", help="Kill -9 every participant once, at work.")] = False,
) -> None:
    """Turn the loop for real."""
    try:
        summary = demo(place, turns, size, budget or BUDGETS[size], looks, kill)
    except Sam3AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    for row in summary["turns"]:
        weighed = row["retrain"] or {}
        print(
            row["turn"],
            weighed.get("cgF1"),
            "promoted" if row["promote"] else "the champion stays",
            row["deploy"] and row["deploy"]["state"],
        )


if __name__ == "__main__":
    typer.run(main)
