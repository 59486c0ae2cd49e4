"""Measure champion and candidate on one SA-Co file, each once: a measurement is kept under its weights and data.

outputs/promotion/<data>-<weights>.json         killed in between, the next call measures only what is missing
"""

from __future__ import annotations

from pathlib import Path

from sam3.errors import BadInput
from sam3.eval.measurement import Report, read_report
from sam3.eval.settings import EvalSettings
from sam3.files import write_json
from sam3_agent.promotion.gate import Trial

KEPT = Path("outputs/promotion")


def run_trial(
    name: str,
    truth: Path,
    champion: str,
    candidate: str,
    settings: EvalSettings,
    kept: Path = KEPT,
    engine: str = "auto",
) -> Trial:
    """Both models on one file.

    Args:
        champion, candidate: checkpoint names or folders, or folders of exported graphs.

    Raises:
        BadInput: the file or a picture cannot be used. BadCheckpoint: no such weights.
    """
    old, new = (measured(truth, checkpoint, settings, kept, engine) for checkpoint in (champion, candidate))
    return Trial(name, old.score, new.score, old.groups, presence_shift(old, new))


def presence_shift(old: Report, new: Report) -> float | None:
    """Largest difference between the distribution functions of presence (two-sample Kolmogorov-Smirnov statistic).

    Returns:
        A number in [0, 1]; None where one of the two does not say its presence.
    """
    import numpy as np
    from scipy.stats import ks_2samp

    before, after = (list(report.presence.values()) for report in (old, new))
    if not before or not after or not np.isfinite([*before, *after]).all():
        return None
    return float(ks_2samp(before, after).statistic)


def measured(truth: Path, checkpoint: str, settings: EvalSettings, kept: Path = KEPT, engine: str = "auto") -> Report:
    """A checkpoint on a file, from an earlier measurement of the same weights on the same data if there is one."""
    from sam3.eval.evaluate import evaluate_checkpoint
    from sam3.eval.provenance import checkpoint_line
    from sam3.files import file_sha256

    weights, data = checkpoint_line(checkpoint)["sha256"], file_sha256(truth)
    how = f"{settings.score_threshold:g}" + ("" if settings.concept is None else f"-{settings.concept}")
    place = kept / f"{data[:16]}-{weights[:16]}-{how}.json"
    if place.is_file():
        try:
            report = read_report(place)
            if report.checkpoint["sha256"] == weights and report.data_sha256 == data:
                return report
        except BadInput:
            pass  # of another version of this program: measure anew
    outcome = evaluate_checkpoint(settings, checkpoint=checkpoint, truth_path=truth, engine=engine)
    write_json(place, outcome.to_json(), indent=None)
    return read_report(place)
