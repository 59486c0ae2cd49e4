"""The notebook, run from top to bottom in a real kernel on a small finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import write_finished_run

NOTEBOOK = Path("notebooks/error_analysis.ipynb")


def test_it_is_kept_without_outputs(repo_root: Path) -> None:
    import nbformat

    cells = [c for c in nbformat.read(repo_root / NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_it_walks_through_a_finished_run(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    write_finished_run(tmp_path, pairs=24)
    monkeypatch.setenv("SAM3_AGENT_RUN", str(tmp_path))
    notebook = nbformat.read(repo_root / NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert "cgF1" in text and "bleeding" in text
    assert len(pictures) >= 4  # two charts and the worst pairs
    assert any("text/html" in output.get("data", {}) for output in outputs)
