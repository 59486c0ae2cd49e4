"""MLflow, W&B and Prefect: what is configured, and does it answer?

MLflow is needed (the gate registers candidates there); the other two are used only where they are configured.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sam3_agent.checks import Check
from sam3_agent.doctor.reach import TIMEOUT, answers, without_secrets, writable
from sam3_agent.services import mlflow_uri, prefect_url, wandb_mode, wandb_url


def check_mlflow(root: Path) -> Check:
    """The tracking store: an SQLite file or folder that can be written, or a server that answers."""
    uri = mlflow_uri()
    if uri.startswith("sqlite:///"):
        file = root / uri.removeprefix("sqlite:///")
        problem = sqlite_problem(file)
        advice = "Stop what holds it, mend its rights, or move it away and let it be made afresh."
    elif uri.startswith(("http://", "https://")):
        problem = answers(f"{uri.rstrip('/')}/health")
        advice = "Start the server, or unset MLFLOW_TRACKING_URI to use an SQLite file."
    elif "://" not in uri or uri.startswith("file:"):
        problem, advice = (
            writable(root / uri.removeprefix("file://").removeprefix("file:")),
            "Change its rights.",
        )
    else:
        return Check("MLflow", "warning", f"{uri.split('://')[0]} store, not looked at", "")
    return Check("MLflow", "failed", problem, advice) if problem else Check("MLflow", "ok", without_secrets(uri))


def sqlite_problem(file: Path) -> str:
    """Take and release the write lock of an SQLite file; "" when that worked or the file can be made."""
    if not file.exists():
        return writable(file.parent)
    try:
        connection = sqlite3.connect(file, timeout=TIMEOUT / 2, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        return f"{file}: {error}"
    return ""


def check_wandb() -> Check:
    """W&B gets a copy of every run when it is configured."""
    mode = wandb_mode()
    if mode == "disabled":
        return Check("W&B", "ok", "not configured; results go to MLflow only")
    if mode == "offline":
        return Check("W&B", "ok", "offline: runs are kept in wandb/ for a later wandb sync")
    problem = answers(f"{wandb_url()}/healthz")
    if problem:
        return Check("W&B", "warning", problem, "Set WANDB_MODE=offline and run wandb sync later.")
    return Check("W&B", "ok", f"online at {wandb_url()}")


def check_prefect() -> Check:
    """The flow runs with or without a server."""
    url = prefect_url()
    if url is None:
        return Check("Prefect", "ok", "no server configured; flows will run without a server")
    problem = answers(f"{url}/health")
    if problem:
        return Check("Prefect", "warning", problem, "Start it (prefect server start), or unset PREFECT_API_URL.")
    return Check("Prefect", "ok", f"server at {url}")
