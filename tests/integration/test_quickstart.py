"""The quickstart notebook, run from top to bottom in a real kernel with the starter weights."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path("notebooks/quickstart.ipynb")


def test_it_is_kept_without_outputs(repo_root: Path) -> None:
    import nbformat

    cells = [c for c in nbformat.read(repo_root / NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_it_shows_the_whole_agent(repo_root: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(repo_root / NOTEBOOK, as_version=4)
    place = {"metadata": {"path": repo_root / "notebooks"}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "[clarify]" in text and "[unsupported]" in text and "count the red cars left of the bus" in text
    assert "not judged" in text.lower() and "COCO rows" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
