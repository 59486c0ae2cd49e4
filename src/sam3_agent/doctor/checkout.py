"""The checkout itself: git, disk, folders that results go to, and the weights.

All but the published weights are needed by the demo.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sam3.checkpoint_files import weights_problem
from sam3_agent.checks import Check
from sam3_agent.doctor.reach import writable
from sam3_agent.hardware.disk import GB, nearest_folder
from sam3_agent.hardware.profiles import REQUIREMENTS

OUTPUTS = ("data", "models", "reports")


def check_git(root: Path) -> Check:
    """Reports name the commit they were made from, and DVC needs a repository."""
    if shutil.which("git") is None:
        return Check("git", "failed", "not installed", "Install git: DVC and the reports need it.")
    state = _git(root, "status", "--porcelain", "--untracked-files=no")
    if state is None:
        return Check("git", "failed", f"{root.absolute()} is no repository", "Work in a clone, or run git init.")
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if not commit:
        return Check("git", "warning", "no commit yet", "Commit, so that reports can name what made them.")
    changed = len(state.splitlines())
    if changed:
        advice = "Commit them, or reports name a commit that does not hold them."
        return Check("git", "warning", f"commit {commit} and {changed} changed files", advice)
    return Check("git", "ok", f"commit {commit}, nothing changed")


def check_disk(root: Path) -> Check:
    """Free space where data and models go."""
    free = shutil.disk_usage(nearest_folder(root)).free / GB
    demo, train = REQUIREMENTS["demo"].disk_gb, REQUIREMENTS["train"].disk_gb
    found = f"{free:.0f} GB free (the demo needs {demo:.0f}, real runs {train:.0f})"
    return Check("disk", "ok" if free >= demo else "failed", found, "" if free >= demo else "Free some space.")


def check_outputs(root: Path) -> Check:
    """Data, models and reports can be written."""
    problems = [problem for name in OUTPUTS if (problem := writable(root / name))]
    if problems:
        return Check("folders", "failed", "; ".join(problems), "Change their owner or rights, or mount them writable.")
    return Check("folders", "ok", f"{', '.join(OUTPUTS)} can be written")


def check_starter_weights(folder: Path | None = None) -> Check:
    """sam3-lite, which the demo starts from, is there and whole."""
    from sam3.checkpoint import STARTER, WEIGHTS

    folder = folder or WEIGHTS / STARTER
    problem = weights_problem(folder)
    if problem:
        return Check(
            "starter weights",
            "failed",
            problem,
            "Check them out again: git checkout -- sam3/weights",
        )
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    return Check("starter weights", "ok", f"{STARTER}, {size:.0f} MB")


def check_published_weights(root: Path) -> Check:
    """facebook/sam3: here already, or can be asked for."""
    from sam3.checkpoint import PUBLISHED

    name = f"{PUBLISHED} weights"
    folder = root / "models" / PUBLISHED.split("/")[-1]
    if folder.is_dir():
        problem = weights_problem(folder)
        advice = f"Fetch them again: sam3-agent download {PUBLISHED}"
        return Check(name, "warning", problem, advice) if problem else Check(name, "ok", f"in {folder}")
    token = bool(os.environ.get("HF_TOKEN")) or _hub_token_file().is_file()
    if token:
        return Check(name, "ok", f"not here; there is a hub token. Fetch them with: sam3-agent download {PUBLISHED}")
    advice = f"Only for the full model: ask for access at huggingface.co/{PUBLISHED}, then hf auth login."
    return Check(name, "warning", "not here, and no hub token", advice)


def _hub_token_file() -> Path:
    """Where `hf auth login` keeps the token."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or home / "token")


def _git(root: Path, *argv: str) -> str | None:
    """Output of a git command in `root`; None when it failed."""
    done = subprocess.run(["git", "-C", str(root), *argv], capture_output=True, text=True, timeout=10)
    return done.stdout.strip() if done.returncode == 0 else None
