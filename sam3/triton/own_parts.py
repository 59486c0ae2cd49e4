"""The composing models' graphs in the process of `sam3` itself, where asking them costs more than running them.

On a laptop every part is a process of the Python backend, and a question to one passes through the server and back:
1.4 ms each, beside 6 ms of work for sam3-lite. Small parts are therefore opened here once more, by `sam3` and by
`sam3_video`: with the parts themselves, which stay in the repository as models of their own for everybody who asks them
directly, that is three copies of the weights, and six while a version is tried. On a GPU host parts are always asked
(`sam3.triton.bls`): there a question costs little, and further copies of the weights would cost GPU memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam3.triton.graph_model import open_session

Array = np.ndarray[Any, Any]
KINDS = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


class OwnParts:
    """The graphs as a `sam3.triton.grounding.Call`.

    Args:
        files: graph -> its ONNX file.
        threads: CPU threads of a graph, 0 for all.

    Raises:
        BadCheckpoint: a file that ONNX Runtime cannot load.
    """

    def __init__(self, files: Mapping[str, Path], threads: int) -> None:
        self.sessions = {graph: open_session(path, threads) for graph, path in files.items()}
        for session in self.sessions.values():
            warm_up(session)

    def __call__(self, graph: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run one graph on a batch."""
        values = self.sessions[graph].run(list(outputs), dict(inputs))
        return dict(zip(outputs, values, strict=True))


def warm_up(session: Any) -> None:
    """Run a graph once on zeros: the warm-up picture of `sam3` may show nothing to draw, and `sam3_video` has none."""
    shapes = {
        item.name: [1, *(size if isinstance(size, int) else 7 for size in item.shape[1:])]
        for item in session.get_inputs()
    }
    kinds = {item.name: KINDS[item.type] for item in session.get_inputs()}
    session.run(None, {name: np.zeros(shape, kinds[name]) for name, shape in shapes.items()})


def small_enough(files: Mapping[str, Path], megabytes: int) -> bool:
    """Whether the graphs, together, may be held once more; never with 0, where the files need not be there."""
    return megabytes > 0 and sum(path.stat().st_size for path in files.values()) <= megabytes * 1_000_000
