"""`sam3-agent`: one verb for each thing a person or a pipeline stage does.

A verb is a plain typed function in its own room, listed in `VERBS` and imported only when it is called, so
that `sam3-agent --help` answers at once. Errors a person can mend are one line; `--debug` shows the trace.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from sam3.errors import Sam3AgentError
from sam3.files import disk_trouble

# verb -> (module:function, one line for --help), in the order of the pipeline
VERBS: dict[str, tuple[str, str]] = {
    "check-hardware": ("sam3_agent.hardware.check:check_hardware", "Hold this machine against a profile."),
    "doctor": ("sam3_agent.doctor.check:doctor", "Check the services and files the pipeline leans on."),
    "download": ("sam3_agent.download:download", "Fetch weights from the hub, or take local ones."),
    "barnyard": ("sam3_agent.barnyard.generate:barnyard", "Compose the built-in data: farms and an inbox."),
    "etl": ("sam3_agent.etl.convert:etl", "Raw pictures and labels -> SA-Co pairs."),
    "validate": ("sam3_agent.etl.validate:validate", "Check the pairs; name the rows that are wrong."),
    "split": ("sam3_agent.etl.split:split", "Training and validation sides that share no source."),
    "baseline": ("sam3_agent.measure.baseline:baseline", "Measure the base checkpoint, untouched."),
    "train": ("sam3_agent.model:train", "Fine-tune a checkpoint on the concept."),
    "evaluate": ("sam3.eval.evaluate:evaluate", "Measure a checkpoint on an SA-Co file."),
    "negatives": (
        "sam3_agent.measure.negatives:negatives",
        "Judge a checkpoint where there is nothing to find.",
    ),
    "compare": ("sam3_agent.measure.compare:compare", "Fine-tuned against baseline: may it replace it?"),
    "export": ("sam3_agent.model:export", "ONNX graphs, held against PyTorch."),
    "verify": ("sam3_agent.verify:verify", "Do two engines say the same? The gate before registration."),
    "pretrain": ("sam3_agent.model:pretrain", "Make the starter weights sam3-lite from their parts."),
    "register": ("sam3_agent.tracking.register:register", "Log the run; register the candidate if the gate lets it."),
    "promote": ("sam3_agent.promotion.promote:promote", "Candidate against champion; the registry's aliases."),
    "package": ("sam3_agent.serving.package:package", "A registered model -> a Triton model repository."),
    "deploy": ("sam3_agent.serving.deploy:deploy", "Prove a packaged version and let it take the traffic."),
    "rollback": ("sam3_agent.serving.deploy:rollback", "Back to the version that served before."),
    "triton": ("sam3_agent.serving.up:triton", "up: serve the deployed version with Triton."),
    "drift": ("sam3_agent.monitoring.drift:drift", "Do today's pictures look like those of training?"),
    "ab-report": ("sam3_agent.monitoring.ab:ab_report", "Which of two versions do people like better?"),
    "report": ("sam3_agent.report.page:report", "One HTML page about a finished run."),
    "predict": ("sam3_agent.predict:predict", "The exported model on a few validation pictures."),
    "ask": ("sam3_agent.ask:ask", "Ask about pictures in plain words."),
    "chat": ("sam3_agent.chat:chat", "Talk about pictures at the terminal."),
    "batch": ("sam3_agent.batch.run:batch", "One question about many pictures; COCO and CSV."),
    "serve": ("sam3_agent.service.serve:serve", "The agent over HTTP, WebSocket and MCP, and the page."),
    "mcp": ("sam3_agent.service.serve:mcp", "The agent as MCP tools over stdio."),
    "track": ("sam3_agent.video.track:track", "Follow things through a video."),
    "stream": ("sam3_agent.video.live.verb:stream", "Watch a camera live: things, events, numbers."),
    "mine-inbox": ("sam3_agent.mining.run:mine_inbox", "Find the concept in an inbox of any size, in shards."),
    "mine": ("sam3_agent.mining.mine:mine", "Choose the pictures that are worth a person's correction."),
    "annotate": ("sam3_agent.annotation.up:annotate", "Label Studio: up, push a batch, pull corrections."),
    "merge": ("sam3_agent.dataset_versions.merge:merge", "Corrected pictures into the data set, checked."),
    "dataset": ("sam3_agent.dataset_versions.version:dataset", "version: DVC and a git tag; diff: two versions."),
    "segment": ("sam3_agent.segment:segment", "Find and outline a thing in pictures."),
    "count": ("sam3_agent.segment:count", "Count a thing in pictures."),
    "demo": ("sam3_agent.demo:demo", "The summary, and three questions about bundled pictures."),
    "build-pack": ("sam3_agent.barnyard.build_pack:build_pack", "Remake the pack of cut-outs from packages."),
    "score": ("sam3_agent.measure.score:score", "cgF1 of a prediction file."),
}
INTERRUPTED = 130  # 128 + SIGINT, as shells do


class LazyVerbs(TyperGroup):
    """A command group that imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Every verb, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: typer.Context, name: str) -> TyperCommand | None:  # type: ignore[override]
        """The verb as a command; a usage error that names the nearest verb when there is none."""
        if name not in VERBS:
            near = difflib.get_close_matches(name, VERBS, n=1)
            ctx.fail(f"no verb {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        module, function = VERBS[name][0].split(":")
        verb = typer.Typer(add_completion=False, rich_markup_mode=None)
        verb.command(name=name)(getattr(importlib.import_module(module), function))
        return get_command(verb)  # type: ignore[return-value]  # one function makes a command, never a group

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """List the verbs from the table, so that --help imports none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


app = typer.Typer(
    cls=LazyVerbs,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("sam3-agent"))
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show the stack trace of an error."),
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version and leave."),
) -> None:
    """Ask about pictures in plain words; measure, retrain and ship the model behind the answers."""
    if debug:
        os.environ["SAM3_AGENT_DEBUG"] = "1"


def main(argv: list[str] | None = None) -> Any:
    """Run a verb. A mendable error is one line and exit status 1, a wrong option one line and 2."""
    try:
        return app(args=argv, prog_name="sam3-agent")
    except Sam3AgentError as error:
        if os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        mendable = disk_trouble(error)
        if mendable is None or os.environ.get("SAM3_AGENT_DEBUG"):
            raise
        print(f"error: {mendable}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:  # typer turns Ctrl-C into SystemExit(130)
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
