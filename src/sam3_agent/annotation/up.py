"""`sam3-agent annotate`: Label Studio with the model beside it; batches out, corrections back.

sam3-agent annotate up                                    # both servers, until Ctrl-C; says where and how to log in
sam3-agent annotate push data/to_annotate/batch-0001
sam3-agent annotate pull                                  # the webhook does the same as people finish
sam3-agent annotate accept corrected/ --batch batch-0001 --annotator ann      # LabelMe folder, or COCO from CVAT
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from sam3.errors import BadConfig, Unavailable
from sam3_agent.annotation.annotated import Delivery
from sam3_agent.annotation.pull import ANNOTATED, pull
from sam3_agent.annotation.push import push_batch
from sam3_agent.annotation.studio import HOME, Studio
from sam3_agent.mining.settings import TO_ANNOTATE

ACTIONS = ("up", "push", "pull", "accept", "backend", "setup")
EVERY = 2.0  # seconds between two looks at the servers


def annotate(
    action: Annotated[str, typer.Argument(help=f"One of {', '.join(ACTIONS)}.")],
    target: Annotated[
        Path | None, typer.Argument(help="push: a batch. accept: a LabelMe folder or a COCO file.")
    ] = None,
    home: Annotated[Path, typer.Option(help="Label Studio's database and secrets.")] = HOME,
    files: Annotated[Path, typer.Option(help="The folder of batches that it may show.")] = TO_ANNOTATE,
    out: Annotated[Path, typer.Option(help="Folder of annotated batches.")] = ANNOTATED,
    port: Annotated[int, typer.Option(help="Label Studio's port.")] = 8080,
    backend_port: Annotated[int, typer.Option(help="The model's port.")] = 9090,
    checkpoint: Annotated[str, typer.Option(help="Weights for pre-labels and clicks.")] = "sam3-lite",
    batch: Annotated[str | None, typer.Option(help="pull: only this one. accept: which one it is about.")] = None,
    annotator: Annotated[str, typer.Option(help="accept: whose work it is.")] = "unknown",
    annotators: Annotated[int, typer.Option(help="push: people who look at each picture.")] = 1,
    renew: Annotated[
        bool, typer.Option("--renew", help="push: give a project of an older version today's tools and instructions.")
    ] = False,
    empty_is_none: Annotated[
        bool, typer.Option("--empty-is-none", help="accept, COCO: a picture without outlines was looked at.")
    ] = False,
) -> None:
    """Have people correct mined batches."""
    if action == "up":
        _up(home, files, out, port, backend_port, checkpoint)
    elif action == "setup":
        from sam3_agent.annotation.environment import label_studio

        print(f"{label_studio()}: ready")
    elif action == "backend":
        _serve(lambda: Studio.load(home), out, "0.0.0.0" if os.environ.get("SAM3_ANNOTATION_SECRET") else "127.0.0.1",
               backend_port, checkpoint).run()  # fmt: skip
    elif action == "push" and target is not None:
        pushed = push_batch(target, Studio.load(home), annotators=annotators, renew=renew)
        print(f"{pushed.url}: {pushed.tasks} pictures, {pushed.new} of them new")
    elif action == "pull":
        report = pull(Studio.load(home), out, batch=batch)
        for one in report.deliveries:
            print(f"{_told(one)}; {report.waiting.get(one.batch, 0)} pictures wait")
        if not report.deliveries:
            print("Label Studio has no batch of ours. Push one: sam3-agent annotate push data/to_annotate/<batch>")
    elif action == "accept" and target is not None and batch is not None:
        from sam3_agent.annotation.accept import accept

        print(_told(accept(target, files / batch, out, annotator=annotator, empty_is_none=empty_is_none)))
    else:
        raise BadConfig(
            f"annotate {action}: expected up, push BATCH, pull, accept PATH --batch NAME, backend or setup.",
            field="action",
        )


def _told(one: Delivery) -> str:
    states = ", ".join(f"{count} {state}" for state, count in one.states.items()) or "nothing yet"
    agreed = "" if one.agreement is None else f"; {one.twice} by two people, agreement {one.agreement:.2f}"
    for problem in one.refused:
        print(f"not taken: {problem}")
    return (
        f"{one.folder}: {one.new} new, {one.updated} updated, {one.unchanged} known, {one.withdrawn} withdrawn: "
        f"{states}{agreed}"
    )


def _up(home: Path, files: Path, out: Path, port: int, backend_port: int, checkpoint: str) -> None:
    """Both servers in the foreground; Label Studio is started again when it dies."""
    from sam3_agent.annotation.server import StudioServer

    signal.signal(signal.SIGTERM, _as_interrupt)
    server = StudioServer(home, files, port, backend=f"http://127.0.0.1:{backend_port}")
    backend: Any = None
    try:
        studio = server.start()
        backend = _serve(lambda: studio, out, "127.0.0.1", backend_port, checkpoint)
        thread = threading.Thread(target=backend.run, daemon=True)
        thread.start()
        user, password = server.password()
        print(f"{studio.url} ready: log in as {user} with {password}; model at {studio.backend}", flush=True)
        while True:
            time.sleep(EVERY)
            if not thread.is_alive():
                raise Unavailable(f"the model's server ended; is port {backend_port} in use? Take --backend-port.")
            if server.process is not None and server.process.poll() is not None:
                print("Label Studio ended by itself; starting it again", flush=True)
                server.start()
    except KeyboardInterrupt:
        print("ending", flush=True)
    finally:
        if backend is not None:
            backend.should_exit = True
        server.stop()


def _serve(studio: Any, out: Path, host: str, port: int, checkpoint: str) -> Any:
    """A uvicorn server of the backend; the model is loaded at the first question."""
    import uvicorn

    from sam3_agent.annotation.backend import create_app
    from sam3_agent.annotation.prompting import Prompter, load_prompter

    loaded: list[Prompter] = []
    turn = threading.Lock()

    def prompter() -> Prompter:
        with turn:
            if not loaded:
                loaded.append(load_prompter(checkpoint))
        return loaded[0]

    return uvicorn.Server(uvicorn.Config(create_app(prompter, studio, out), host=host, port=port, log_level="warning"))


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt
