"""params.yaml is checked at the door, and says which key is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sam3.errors import BadConfig
from sam3_agent.params import load_params


@pytest.fixture
def content(repo_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repo_root / "params.yaml").read_text())


def written(folder: Path, content: Any) -> Path:
    path = folder / "params.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_repositorys_own_file_is_valid(repo_root: Path) -> None:
    params = load_params(repo_root / "params.yaml")
    assert params.barnyard.image_size == (480, 360)
    assert params.split.val_share == 0.2


def test_params_cannot_be_changed(repo_root: Path) -> None:
    params = load_params(repo_root / "params.yaml")
    with pytest.raises(Exception, match="frozen"):
        params.concept = "cow"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("split", "val_share", 2, "split.val_share is 2; expected a number between 0 and 1"),
        ("split", "val_share", "much", "split.val_share is 'much'; expected a number between 0 and 1"),
        ("split", "seed", 1.5, "split.seed is 1.5; expected a whole number, 0 or more"),
        ("split", "seed", True, "split.seed is True; expected a whole number"),
        (
            "split",
            "group_regex",
            "farm",
            "split.group_regex is 'farm'; expected a regular expression with a group",
        ),
        ("split", "group_regex", "(", "split.group_regex is '('; expected a regular expression"),
        (
            "evaluate",
            "score_threshold",
            float("nan"),
            "evaluate.score_threshold is nan; expected a number between 0 and 1",
        ),
        ("etl", "ambiguous", "unknown bird", "etl.ambiguous is 'unknown bird'; expected a valid list"),
        (
            "etl",
            "min_areas",
            3,
            "etl.min_areas is not a known key. Known here: synonyms, ambiguous, min_area.",
        ),
        ("barnyard", "image_size", [480], "barnyard.image_size"),
        ("hardware", "profile", "big", "hardware.profile is 'big'; expected 'demo', 'train' or 'serve'"),
        ("gate", "max_mean_presence", 0.9, "gate cannot be used; expected max_mean_presence to be at most"),
    ],
)
def test_a_wrong_value_names_its_key(
    tmp_path: Path, content: dict[str, Any], section: str, key: str, value: Any, message: str
) -> None:
    content[section][key] = value
    with pytest.raises(BadConfig) as error:
        load_params(written(tmp_path, content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.field is not None and error.value.field.startswith(section)


def test_a_missing_key_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    del content["split"]["seed"]
    with pytest.raises(BadConfig, match=r"split\.seed is missing"):
        load_params(written(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys"),
        ("- a\n", "expected keys"),
        ("a: [1\n", "line 2: not valid YAML"),
        ("concept: [}", "line 1"),
    ],
)
def test_a_file_that_is_no_params_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        load_params(written(tmp_path, text))


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"not found\. Run from the top of the repository"):
        load_params(tmp_path / "params.yaml")


def test_names_of_the_concept_are_the_concept_and_its_synonyms(tmp_path: Path, content: dict[str, Any]) -> None:
    content["concept"] = "Duck"
    params = load_params(written(tmp_path, content))
    assert params.names_of_concept() == ("duck", "drake", "duckling", "mallard")
    assert params.names_of_concept("goose") == ("goose",)
