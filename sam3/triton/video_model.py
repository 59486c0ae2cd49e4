"""`sam3_video`: a frame in, detections with stable ids out; one state per stream.

The server's sequence batcher keeps the frames of a stream in order and lets frames of different streams go through
as one batch. Phrases come with the first frame. A stream that is not ended is forgotten after a minute of silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sam3.errors import BadInput
from sam3.triton.grounding import Embedding
from sam3.triton.query import Query, read_query
from sam3.triton.streams import Streams
from sam3.triton.whole_model import Array, parameter
from sam3.triton.whole_model import TritonPythonModel as Whole
from sam3.types import Detections


@dataclass(frozen=True, eq=False)
class Frame(Query):
    """A query that belongs to a stream; `last` ends it."""

    stream: str = ""
    last: bool = False


class TritonPythonModel(Whole):
    """What the Python backend calls: `sam3` on each frame, then who is who."""

    def initialize(self, args: dict[str, str]) -> None:
        """As `sam3`, with streams."""
        super().initialize(args)
        self.streams = Streams(int(parameter(args, "streams")), float(parameter(args, "idle")))
        self.meters.set("sam3_streams", 0)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer one frame of each of several streams."""
        answers = super().execute(requests)
        self.meters.set("sam3_streams", len(self.streams))
        return answers

    def read(self, request: Any) -> Frame:
        """One frame; its phrases are those of the stream's first."""
        given, wanted = self.inputs_of(request), frozenset(request.requested_output_names())
        key, first, last = (self._control(request, name) for name in ("CORRID", "START", "END"))
        name = str(key)
        try:
            if first:
                query = read_query(given, wanted)
                self.streams.start(name, query.prompts)
            else:
                stream = self.streams.get(name)
                if stream is None:
                    raise BadInput(f"stream {name}: not open here (any more). Begin it again.", field="CORRID")
                query = replace(read_query(given, frozenset({"image_key"})), prompts=stream.prompts, wanted=wanted)
        except Exception:
            if last:
                self.streams.end(name)
            raise
        return Frame(**vars(query), stream=name, last=bool(last))

    def tensors(self, query: Query, embedding: Embedding, found: list[Detections]) -> dict[str, Array]:
        """As `sam3`, and whose box each is."""
        assert isinstance(query, Frame)
        out = super().tensors(query, embedding, found)
        stream = self.streams.get(query.stream)
        if stream is None:  # more streams than are kept began in this very batch
            raise BadInput(f"stream {query.stream}: had to make room for newer ones. Begin it again.", field="CORRID")
        numbers = stream.follow(found, embedding.level)
        if "track_ids" in query.wanted:
            out["track_ids"] = np.array(numbers, np.int64)[None]
        if query.last:
            self.streams.end(query.stream)
        return out

    def _control(self, request: Any, name: str) -> Any:
        return self.backend.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]
