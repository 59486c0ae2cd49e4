"""The verbs that make and ship weights: `train`, `export`, `pretrain`.

Each hands over to the room in `sam3/` that does the work, with defaults from params.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam3_agent.params import load_params


def train(
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides: key=value or group=choice.")] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="A file in configs/; from params.yaml.")] = None,
    num_gpus: Annotated[int, typer.Option(help="GPUs to use, as far as there are any.")] = 1,
    fresh: Annotated[bool, typer.Option(help="Forget an unfinished run.")] = False,
) -> None:
    """Fine-tune a checkpoint on the concept; a killed run goes on where it stopped."""
    from sam3.train.config import compose
    from sam3.train.launch import Launch
    from sam3.train.train import train as run

    params = load_params()
    chosen = config or Path(str(params.train["config"]))
    concept = [f"concept='{params.concept}'", f"train.max_epochs={params.train['epochs']}", *(overrides or [])]
    print(f"checkpoint: {run(compose(chosen, concept), Launch(gpus=num_gpus, fresh=fresh))}")


def export(
    checkpoint: Annotated[
        str, typer.Option(help="A checkpoint folder, sam3-lite or facebook/sam3.")
    ] = "models/finetuned",
    output: Annotated[Path, typer.Option(help="Folder for the graphs.")] = Path("models/export"),
    component: Annotated[str, typer.Option(help="encoder, text, decoder or all.")] = "all",
    report: Annotated[Path, typer.Option(help="Where to note the differences from PyTorch.")] = Path(
        "reports/export.json"
    ),
) -> None:
    """Write image encoder, text encoder and decoder as ONNX graphs, each held against PyTorch."""
    from sam3.export.export_onnx import export as run
    from sam3.files import write_json

    record = run(checkpoint, output, component)
    write_json(report, record)
    for name, difference in record["max_difference"].items():
        print(f"{output}/{name}.onnx: largest difference from PyTorch {difference:.1e}")


def pretrain(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. detect.steps=100.")] = None,
    config: Annotated[Path, typer.Option("-c", "--config", help="The recipe.")] = Path("configs/pretrain.yaml"),
    install: Annotated[bool, typer.Option(help="Make the result the starter weights of this checkout.")] = False,
) -> None:
    """Make the starter weights sam3-lite from their parts; a killed run goes on where it stopped."""
    from sam3.checkpoint import STARTER, WEIGHTS
    from sam3.pretrain.pretrain import install as put
    from sam3.pretrain.pretrain import load_config
    from sam3.pretrain.pretrain import pretrain as run

    folder = run(load_config(config, overrides or []))
    if install:
        put(folder, WEIGHTS / STARTER)
    print(f"checkpoint: {folder}")
