"""The YAML file of an evaluation -> one checked `EvalSettings`.

`${params:key}` in the file is a key of params.yaml in the working folder, so that a default stands in one
place and `dvc exp run -S evaluate.seed=1` reaches the evaluation. See `configs/eval_chicken.yaml`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from sam3.errors import BadConfig

GroupBy = Literal["source", "image", "pair"]


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How to measure.

    Attributes:
        images: folder that `file_name` is relative to.
        concept: only pairs of this phrase; None for all.
        score_threshold: detections from here on count, in (0, 1).
        bootstrap: resamples behind each interval, at least 1.
        group_by: which pairs are resampled together.
        batch: pictures encoded at a time.
    """

    images: str
    concept: str | None
    score_threshold: float
    bootstrap: int
    seed: int
    group_by: GroupBy
    batch: int

    def __post_init__(self) -> None:
        checks = {
            "images": (isinstance(self.images, str) and bool(self.images), "a folder"),
            "concept": (self.concept is None or isinstance(self.concept, str), "a phrase or null"),
            "score_threshold": (_is_number(self.score_threshold, 0.0, 1.0), "a number from 0 to 1"),
            "bootstrap": (type(self.bootstrap) is int and self.bootstrap >= 1, "a whole number from 1 on"),
            "seed": (type(self.seed) is int and self.seed >= 0, "a whole number from 0 on"),
            "group_by": (self.group_by in get_args(GroupBy), f"one of {', '.join(get_args(GroupBy))}"),
            "batch": (type(self.batch) is int and self.batch >= 1, "a whole number from 1 on"),
        }
        for key, (fine, expected) in checks.items():
            if not fine:
                raise BadConfig(f"{key} is {getattr(self, key)!r}; expected {expected}.", field=key)


def load_settings(path: str | os.PathLike[str]) -> EvalSettings:
    """Read an evaluation's YAML file.

    Raises:
        BadConfig: missing, not YAML, an unknown or missing key, a value that cannot be used, or a
            `${params:key}` that params.yaml does not have.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    OmegaConf.register_new_resolver("params", _params_key, replace=True)
    try:
        loaded = OmegaConf.load(Path(path))
        values: Any = OmegaConf.to_container(loaded, resolve=True) if isinstance(loaded, DictConfig) else None
    except FileNotFoundError as error:
        raise BadConfig(f"{path}: not found. Give an evaluation file, e.g. configs/eval_chicken.yaml.") from error
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        cause = error.__cause__ or error
        raise BadConfig(f"{path}: cannot be used: {str(cause).splitlines()[0]}") from error
    names = [field.name for field in fields(EvalSettings)]
    if not isinstance(values, dict):
        raise BadConfig(f"{path}: expected the keys {', '.join(names)}.")
    for key in [*values, *names]:
        if key not in names:
            raise BadConfig(f"{path}: {key} is not a known key. Known: {', '.join(names)}.", field=str(key))
        if key not in values:
            raise BadConfig(f"{path}: {key} is missing.", field=key)
    try:
        return EvalSettings(**values)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}", field=error.field) from error


def _params_key(key: str) -> Any:
    """The value of a dotted key of params.yaml."""
    from omegaconf import OmegaConf

    if not Path("params.yaml").is_file():
        raise BadConfig("params.yaml: not found. Run from the top of the repository.")
    value = OmegaConf.select(OmegaConf.load("params.yaml"), key)
    if value is None:
        raise BadConfig(f"params.yaml: {key} is missing.", field=key)
    return value


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high
