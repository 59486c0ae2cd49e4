"""`sam3-agent baseline`: the base checkpoint on validation, untouched.

What every fine-tuning is held against. Writes the same files as `evaluate`, and a contact sheet of what the
untrained model wrongly sees in the negatives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3.checkpoint import STARTER
from sam3.eval import evaluate as options
from sam3.eval.evaluate import evaluate_checkpoint, print_headline
from sam3.files import write_json
from sam3_agent.measure.contact_sheet import write_false_positives


def baseline(
    checkpoint: Annotated[str, typer.Option(help="The checkpoint that training starts from.")] = STARTER,
    json_path: options.TruthFile = options.VALIDATION,
    config: options.ConfigFile = options.CONFIG,
    images: options.Pictures = None,
    out: Annotated[Path, typer.Option(help="Where the figures go; masks and sheet beside it.")] = Path(
        "reports/baseline.json"
    ),
    engine: options.EngineName = "auto",
    limit: options.Limit = None,
    skip_bad: options.SkipBad = False,
) -> None:
    """Measure the base checkpoint and show its false positives."""
    settings = options.settings_of(config, images)
    result = evaluate_checkpoint(
        settings, checkpoint=checkpoint, truth_path=json_path, engine=engine, limit=limit, skip_bad=skip_bad
    )
    sheet = out.with_name(f"{out.stem}_negatives.jpg")
    write_json(out.with_name(f"{out.stem}_predictions.json"), result.predictions, indent=None)
    alarms = write_false_positives(result, Path(settings.images), sheet)
    write_json(out, result.to_json())
    print_headline(result, out)
    print(f"{alarms} negatives with false positives, shown in {sheet}")
