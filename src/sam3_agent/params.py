"""params.yaml -> one frozen, typed `Params`.

The first thing every stage does. A misspelt key or a value out of range stops the stage at the door with the
key, what stands there and what was expected; defaults stand in params.yaml and nowhere else.
Try it: `python -c "from sam3_agent.params import load_params; print(load_params())"`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from sam3.errors import BadConfig

Profile = Literal["demo", "train", "serve"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _one_group(pattern: str) -> str:
    """Accept a regular expression with at least one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"expected a regular expression ({error})") from error
    if groups < 1:
        raise ValueError("expected a regular expression with a group in round brackets that names the source")
    return pattern


class Section(BaseModel):
    """What all sections share: no unknown keys, no quiet conversions, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Data(Section):
    """Where pictures come from."""

    raw: Name
    inbox: Name


class Barnyard(Section):
    """Built-in data: labelled `pictures`, unlabelled `inbox`; `image_size` is width, height in pixels.

    `inbox_photographs`: how many photographed individuals of the concept only the inbox shows. `inbox_share`: share of the
    inbox that shows the concept at all. `inbox_visitors`: whether it shows the labelled farms' animals, too.
    """

    seed: Count
    pictures: Annotated[int, Field(ge=1)]
    inbox: Count
    image_size: Annotated[tuple[int, int], Field(strict=False)]
    inbox_photographs: Count = 0
    inbox_share: Share = 0.5
    inbox_visitors: bool = False

    @model_validator(mode="after")
    def _drawable(self) -> Barnyard:
        if min(self.image_size) < 32 or max(self.image_size) > 4096:
            raise ValueError("expected image_size: [width, height], each from 32 to 4096 pixels")
        return self


class Etl(Section):
    """How label names and shapes become annotations; `min_area` in square pixels."""

    synonyms: dict[str, list[Name]]
    ambiguous: list[Name]
    min_area: Annotated[float, Field(ge=0)]


class Split(Section):
    """Training and validation sides; group 1 of `group_regex` on the file name is its source."""

    val_share: Annotated[float, Field(gt=0, lt=1)]
    seed: Count
    group_regex: Annotated[str, AfterValidator(_one_group)]


class Evaluate(Section):
    """Scoring of predictions; `bootstrap` is the number of resamples."""

    score_threshold: Share
    bootstrap: Count
    seed: Count


class Gate(Section):
    """What a candidate must reach; gain of cgF1 relative to the baseline, the rest on negatives."""

    min_relative_gain: float
    min_pass_rate: Share
    max_mean_presence: Share
    fail_mean_presence: Share

    @model_validator(mode="after")
    def _ordered(self) -> Gate:
        if self.max_mean_presence > self.fail_mean_presence:
            raise ValueError("expected max_mean_presence to be at most fail_mean_presence")
        return self


class Hardware(Section):
    """The profile check-hardware holds the machine against."""

    profile: Profile


class Params(Section):
    """All of params.yaml."""

    concept: Name
    data: Data
    barnyard: Barnyard
    etl: Etl
    split: Split
    evaluate: Evaluate
    gate: Gate
    hardware: Hardware
    train: dict[str, Any] = {}  # the training recipe itself lives in configs/
    export: dict[str, Any] = {}

    def names_of_concept(self, concept: str | None = None) -> tuple[str, ...]:
        """The concept (or another one) and its synonyms, lower case, without doubles, the concept first."""
        asked = (concept or self.concept).casefold()
        synonyms = [n for key, names in self.etl.synonyms.items() if key.casefold() == asked for n in names]
        return tuple(dict.fromkeys([asked, *(name.casefold() for name in synonyms)]))


def load_params(path: str | os.PathLike[str] = "params.yaml") -> Params:
    """Read and check a params file.

    Raises:
        BadConfig: the file is missing or not YAML, or a key is unknown, missing, or has a value that cannot
            be used; the message names the first such key, `field` as well ("split.val_share").
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadConfig(f"{path}: not found. Run from the top of the repository, or give its path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise BadConfig(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)}).") from error
    if not isinstance(content, dict):
        raise BadConfig(f"{path}: expected keys ({', '.join(Params.model_fields)}), found {_brief(content)}.")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadConfig(f"{path}: {key} {_complaint(dict(first))}", field=key) from error


def _complaint(error: dict[str, Any]) -> str:
    """What is wrong with the key of one pydantic error, as the rest of a sentence."""
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"is not a known key. Known here: {', '.join(_keys_beside(error['loc']))}."
    if kind == "missing":
        return "is missing. Add it; the keys and their defaults are in the repository's params.yaml."
    expected = _bounds(error["loc"]) or error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not expected.startswith("expected"):
        expected = f"expected {expected}"
    if isinstance(error["input"], dict):
        return f"cannot be used; {expected}."
    return f"is {_brief(error['input'])}; {expected}."


def _field(loc: tuple[Any, ...]) -> tuple[type[BaseModel], str]:
    """The model and field name where a key path ends (list positions and free keys are ignored)."""
    model: type[BaseModel] = Params
    for part in loc[:-1]:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model, str(loc[-1])


def _keys_beside(loc: tuple[Any, ...]) -> list[str]:
    return list(_field(loc)[0].model_fields)


def _bounds(loc: tuple[Any, ...]) -> str:
    """ "a number between 0 and 1" for a numeric field with limits, "" for everything else."""
    model, name = _field(loc)
    info = model.model_fields.get(name)
    if info is None or info.annotation not in (int, float):
        return ""
    noun = "a whole number" if info.annotation is int else "a number"
    limits = {
        type(m).__name__: getattr(m, type(m).__name__.lower())
        for m in info.metadata
        if type(m).__name__ in ("Ge", "Le", "Gt", "Lt")
    }
    low, high = limits.get("Ge", limits.get("Gt")), limits.get("Le", limits.get("Lt"))
    if low is not None and high is not None:
        ends = "" if "Ge" in limits else ", both ends left out"
        return f"{noun} between {low} and {high}{ends}"
    return f"{noun}, {low} or more" if low is not None else noun


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
