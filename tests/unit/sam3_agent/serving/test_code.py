"""The code that a packaged version carries is complete, small and free of heavy libraries."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sam3_agent.serving.package import CODE
from sam3_agent.serving.server import first_error


def imported(file: Path) -> set[str]:
    """What a module imports when it is imported."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", CODE)
def test_what_a_module_imports_is_packaged_or_given(repo_root: Path, name: str) -> None:
    for module in imported(repo_root / "sam3" / name):
        if module.split(".")[0] == "sam3":
            path = "/".join(module.split(".")[1:])
            assert {f"{path}.py", f"{path}/__init__.py"} & set(CODE), f"{name} imports {module}, which is not packaged"
        else:
            assert module.split(".")[0] not in {"torch", "transformers", "tritonclient", "scipy"}, module


def test_the_log_line_that_tells_most_is_found() -> None:
    lines = [
        "I all is well",
        "E \"failed to load 'sam3' version 1: BadCheckpoint: tokenizer.json: missing\"",
        "I ending",
    ]
    assert "tokenizer.json: missing" in first_error(lines)
    assert first_error(lines[:1]) == ""
