"""Which outside services are configured: one place that reads their environment variables and files.

Nothing is contacted here; `doctor` does that. A service that is not configured is left alone by the pipeline:
MLflow then writes to an SQLite file beside params.yaml, W&B gets nothing, Prefect runs without a server.
"""

from __future__ import annotations

import netrc
import os
import tomllib
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

MLFLOW_DEFAULT = "sqlite:///mlflow.db"
WANDB_DEFAULT = "https://api.wandb.ai"

WandbMode = Literal["online", "offline", "disabled"]


def mlflow_uri() -> str:
    """Where runs and the model registry live: MLFLOW_TRACKING_URI, or the SQLite file of this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or MLFLOW_DEFAULT


def wandb_url() -> str:
    """The W&B server: WANDB_BASE_URL, or the public one."""
    return os.environ.get("WANDB_BASE_URL") or WANDB_DEFAULT


def wandb_mode() -> WandbMode:
    """What W&B should get: WANDB_MODE when set; else online with an API key and "disabled" without one."""
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        return "disabled"
    return "online" if _wandb_key() else "disabled"


def prefect_url() -> str | None:
    """The Prefect API: PREFECT_API_URL, or that of the active profile; None when there is no server."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url.rstrip("/")
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    try:
        content = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
        profile = content["profiles"][os.environ.get("PREFECT_PROFILE") or content["active"]]
        return str(profile["PREFECT_API_URL"]).rstrip("/")
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _wandb_key() -> str | None:
    """The API key from the environment or from where `wandb login` writes it."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    try:
        entry = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(_host(wandb_url()))
    except (OSError, netrc.NetrcParseError):
        return None
    return entry[2] if entry else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
