"""The DVC remote: which one is configured, what it needs installed, and whether it can be reached.

A folder (local or a mounted network drive) is tried by writing; for S3, Google Drive and the like the host is
asked for a connection, because only `dvc push` knows the credentials.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sam3_agent.checks import Check
from sam3_agent.doctor.reach import connects, without_secrets, writable

# scheme -> (module that DVC needs, what to install, host and port that answer for it)
KINDS: dict[str, tuple[str, str, str, int]] = {
    "s3": ("dvc_s3", "dvc[s3]", "s3.amazonaws.com", 443),
    "gdrive": ("dvc_gdrive", "dvc[gdrive]", "www.googleapis.com", 443),
    "gs": ("dvc_gs", "dvc[gs]", "storage.googleapis.com", 443),
    "azure": ("dvc_azure", "dvc[azure]", "blob.core.windows.net", 443),
    "oss": ("dvc_oss", "dvc[oss]", "oss.aliyuncs.com", 443),
    "ssh": ("dvc_ssh", "dvc[ssh]", "", 22),
    "hdfs": ("dvc_hdfs", "dvc[hdfs]", "", 8020),
    "webdav": ("dvc_webdav", "dvc[webdav]", "", 80),
    "webdavs": ("dvc_webdav", "dvc[webdav]", "", 443),
    "http": ("dvc_http", "dvc", "", 80),
    "https": ("dvc_http", "dvc", "", 443),
}


def check_dvc(root: Path) -> Check:
    """The pipeline runs under DVC: it must be set up here."""
    if not (root / ".dvc").is_dir():
        return Check("DVC", "failed", f"no .dvc folder in {root.absolute()}", "Run dvc init there, or go to the clone.")
    if not (root / "dvc.yaml").is_file():
        return Check("DVC", "failed", f"no dvc.yaml in {root.absolute()}", "Go to the top of the repository.")
    return Check("DVC", "ok", "set up")


def check_remote(root: Path) -> Check:
    """The default remote of the repository at `root`."""
    name = "DVC remote"
    if not (root / ".dvc").is_dir():
        return Check(name, "warning", "DVC is not set up", "See the row above.")
    try:
        default, settings = _default_remote(root)
    except Exception as error:  # DVC's own errors for a broken config file
        return Check(name, "failed", f".dvc/config cannot be read ({error})", "Mend that file.")
    if settings is None and default:
        return Check(name, "failed", f"{default!r} has no section in .dvc/config", f"dvc remote add {default} <url>")
    if settings is None:
        advice = "To share data: dvc remote add -d store <folder, s3://..., gdrive://...>"
        return Check(name, "warning", "none configured; data stays on this machine", advice)
    url = str(settings["url"])
    found = f"{default} -> {without_secrets(url)}"
    problem, advice = remote_problem(url, settings)
    if problem:
        return Check(name, "failed", f"{found}: {problem}", advice)
    kind = "can be written" if _is_folder(url) else "reachable; dvc push will tell about the rights"
    return Check(name, "ok", f"{found}, {kind}")


def remote_problem(url: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """What stands in the way of a remote and what to do; two empty texts when nothing does.

    Args:
        url: a folder or "scheme://...".
        settings: the remote's section of the DVC config (`endpointurl`, `port`, `account_name` are used).
    """
    if _is_folder(url):
        return writable(Path(url)), "Mount it, or change its rights."
    parts = urlsplit(url)
    if parts.scheme not in KINDS:
        return f"unknown kind {parts.scheme!r}", f"Known: a folder, {', '.join(KINDS)}."
    module, package, host, port = KINDS[parts.scheme]
    if importlib.util.find_spec(module) is None:
        return f"{package} is not installed", f'pip install "{package}"'
    if endpoint := settings.get("endpointurl") or settings.get("oss_endpoint"):
        end = urlsplit(str(endpoint))
        host, port = end.hostname or host, end.port or (80 if end.scheme == "http" else 443)
    elif account := settings.get("account_name"):
        host = f"{account}.{host}"
    elif not host:
        host, port = parts.hostname or "", int(settings.get("port") or parts.port or port)
    return connects(host, port), "Check the network, the VPN and the address in .dvc/config."


def _default_remote(root: Path) -> tuple[str | None, Mapping[str, Any] | None]:
    """Name and section of the default remote; (None, None) without one."""
    from dvc.config import Config

    config = Config(str(root / ".dvc"))
    name = config["core"].get("remote")
    return name, config["remote"].get(name) if name else None


def _is_folder(url: str) -> bool:
    return "://" not in url
