"""A `Record` in MLflow: one run, and one version in the registry, however often it is asked for.

The store is MLFLOW_TRACKING_URI or the SQLite file mlflow.db; a run is known by its weights and its data, a
version by its weights.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.errors import Unavailable
from sam3_agent.services import mlflow_uri
from sam3_agent.tracking.record import Record
from sam3_agent.tracking.sqlite_file import prepare

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "sam3-agent"
ALIAS = "candidate"
AUTOFLUSH = "(raised as a result of"  # SQLAlchemy says when before it says what
AT_ONCE = 1000  # metrics, and
SETTINGS_AT_ONCE = 100  # params that MLflow takes in one call


class Store:
    """The tracking store and registry. Every method raises `Unavailable` when MLflow does not answer."""

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or mlflow_uri()
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        logging.getLogger("alembic").setLevel(logging.WARNING)  # migrations of a new file are nobody's news
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it traces is raised, and said once
        with self._answering():
            from mlflow.tracking import MlflowClient

            prepare(self.uri)
            self.client: MlflowClient = MlflowClient(self.uri)

    def log(self, record: Record) -> str:
        """Log a run, or find it when the same weights were logged on the same data before. Returns its id."""
        with self._answering():
            experiment = self._experiment()
            known = self.client.search_runs([experiment], _same_run(record, "FINISHED"), max_results=1)
            if known:
                for key, value in record.tags.items():  # the gate may have decided anew
                    self.client.set_tag(known[0].info.run_id, key, value)
                return str(known[0].info.run_id)
            for begun in self.client.search_runs([experiment], _same_run(record, "RUNNING")):
                self.client.set_terminated(begun.info.run_id, "KILLED")  # nobody goes on with it
            run_id = str(self.client.create_run(experiment, run_name=record.name, tags=record.tags).info.run_id)
            state = "FAILED"
            try:
                self._fill(run_id, record)
                state = "FINISHED"
            finally:
                self.client.set_terminated(run_id, state)
            return run_id

    def attach(self, run_id: str, file: Path) -> None:
        """Add a report to a run that was logged before, in place of an earlier one."""
        with self._answering():
            self.client.log_artifact(run_id, str(file), "reports")

    def register(self, record: Record, run_id: str, name: str) -> int:
        """Make the weights a version of the registered model `name`, alias `candidate`; returns its number."""
        with self._answering():
            if not self.client.search_registered_models(f"name = '{name}'"):
                self.client.create_registered_model(name, tags={"concept": record.tags["concept"]})
            weights = record.tags["checkpoint_sha256"]
            known = self.client.search_model_versions(f"name = '{name}' and tags.checkpoint_sha256 = '{weights}'")
            version = known[0] if known else self._new_version(record, run_id, name)
            self.client.set_registered_model_alias(name, ALIAS, version.version)
            return int(version.version)

    def _new_version(self, record: Record, run_id: str, name: str) -> Any:
        source = f"{self.client.get_run(run_id).info.artifact_uri}/checkpoint"
        settings = json.dumps(record.settings, ensure_ascii=False, sort_keys=True)
        figures = {key.replace("/", "."): f"{value:.6g}" for key, value in record.metrics.items()}
        tags = record.tags | figures | {"config": settings}
        return self.client.create_model_version(name, source, run_id, tags=tags)

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        return str(found.experiment_id) if found else str(self.client.create_experiment(EXPERIMENT))

    def _fill(self, run_id: str, record: Record) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        settings = [Param(key, value[:6000]) for key, value in record.settings.items()]
        for start in range(0, len(settings), SETTINGS_AT_ONCE):
            self.client.log_batch(run_id, params=settings[start : start + SETTINGS_AT_ONCE])
        metrics = [Metric(name, value, now, 0) for name, value in record.metrics.items()]
        for name, curve in record.curves.items():
            metrics += [Metric(name, float(v), now, int(s)) for s, v in zip(curve.steps, curve.values, strict=True)]
        for start in range(0, len(metrics), AT_ONCE):
            self.client.log_batch(run_id, metrics=metrics[start : start + AT_ONCE])
        for folder, paths in record.files.items():
            for path in paths:
                self.client.log_artifact(run_id, str(path), folder)
        self.client.log_artifacts(run_id, str(record.checkpoint), "checkpoint")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Whatever MLflow or its database raises, as one line."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            said = [line for line in str(error).splitlines() if line.strip() and not line.startswith(AUTOFLUSH)]
            reason = (said or [type(error).__name__])[0].strip()[:200]
            where = self.uri.rsplit("@", 1)[-1]  # never a password
            raise Unavailable(f"MLflow at {where}: {reason}. Look with: sam3-agent doctor", field="mlflow") from error


def _same_run(record: Record, status: str) -> str:
    keys = ("checkpoint_sha256", "validation_sha256")
    same = " and ".join(f"tags.{key} = '{record.tags[key]}'" for key in keys)
    return f"{same} and attributes.status = '{status}'"
