"""One package of one set of weights: packaging again finds the version that there is.

Used by the flow `deploy`, which may be killed between packaging and remembering that it did.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sam3.errors import Sam3AgentError
from sam3.files import read_json
from sam3.triton.manifest import verify
from sam3_agent.serving.graphs import graphs_of
from sam3_agent.serving.package import choose_backend, versions_in, write_package
from sam3_agent.serving.settings import load_settings


def package_once(model: str, out: Path, backend: str = "auto") -> int:
    """The version whose weights and backend are those of `model`; written now if there is none.

    Args:
        model: as `sam3-agent package --model` takes it.
    """
    chosen = choose_backend(backend)
    with tempfile.TemporaryDirectory() as work:
        graphs = graphs_of(model, Path(work))
        weights = str(read_json(graphs / "export.json")["sha256"])
        for number in reversed(versions_in(out)):
            if _is(out / str(number), weights, chosen):
                return number
        return int(write_package(graphs, out, chosen, load_settings(), source=model).name)


def _is(package: Path, weights: str, backend: str) -> bool:
    try:
        facts = verify(package)
    except Sam3AgentError:  # damaged: not it
        return False
    return facts.get("checkpoint_sha256") == weights and facts.get("backend") == backend
