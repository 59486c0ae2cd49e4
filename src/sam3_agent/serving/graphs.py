"""What somebody wants to serve -> a folder of exported graphs.

Exported graphs are taken as they are; a checkpoint is exported first, unless `models/export` holds its graphs
already; `models:/NAME@ALIAS` or `models:/NAME/VERSION` comes from the MLflow registry.
"""

from __future__ import annotations

from pathlib import Path

from sam3.errors import BadInput, Unavailable
from sam3.files import read_json
from sam3_agent.services import mlflow_uri

EXPORTED = Path("models/export")


def graphs_of(model: str, work: Path) -> Path:
    """A folder with the three graphs, tokenizer.json and export.json.

    Args:
        work: where a download or an export may go.

    Raises:
        BadInput, BadCheckpoint, Unavailable: there is no such model, or it cannot be exported.
    """
    place = from_registry(model, work) if model.startswith("models:/") else Path(model)
    if (place / "export.json").is_file():
        return place
    from sam3.checkpoint import load_checkpoint
    from sam3.export.export_onnx import export

    loaded = load_checkpoint(str(place))
    held = EXPORTED / "export.json"
    if held.is_file() and read_json(held).get("sha256") == loaded.sha256:
        return EXPORTED
    del loaded
    export(str(place), work / "graphs")
    return work / "graphs"


def from_registry(uri: str, work: Path) -> Path:
    """The checkpoint of a registered model, as a folder.

    Raises:
        BadInput: the registry has no such model. Unavailable: MLflow does not answer.
    """
    import os

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    name, _, which = uri.removeprefix("models:/").partition("@")
    try:
        client = MlflowClient(mlflow_uri())
        if which:
            found = client.get_model_version_by_alias(name, which)
        else:
            name, _, number = name.rpartition("/")
            found = client.get_model_version(name, number)
        folder = download_artifacts(artifact_uri=str(found.source), dst_path=str(work / "registry"))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise BadInput(
                f"{uri}: the registry has no such model. Register one (sam3-agent register), or name a checkpoint: "
                "sam3-agent package --model sam3-lite",
                field="model",
            ) from error
        raise Unavailable(f"MLflow: {str(error).splitlines()[0][:200]}", field="mlflow") from error
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"MLflow: {str(error).splitlines()[0][:200]}", field="mlflow") from error
    return Path(folder)
