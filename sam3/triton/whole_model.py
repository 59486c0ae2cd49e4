"""`sam3`: pictures and phrases in, instances out, over the composing models.

All requests of a batch are answered together: each distinct picture is encoded once (or not at all when its
embedding is remembered), each distinct phrase once, and all pairs go through the decoder together. A bad request is
answered with its own error and leaves its neighbours alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam3.files import read_json
from sam3.tokenizer import Tokenizer
from sam3.triton.answer import output_tensors
from sam3.triton.bls import Parts, error_response
from sam3.triton.grounding import GRAPHS, Embedding, Grounder, Pair, check_boxes, unknown_key
from sam3.triton.manifest import verify
from sam3.triton.meters import Clock, Meters, server
from sam3.triton.own_parts import OwnParts, small_enough
from sam3.triton.query import Query, read_query
from sam3.triton.recent import Recent
from sam3.types import Detections, UInt8Array

Array = np.ndarray[Any, Any]
Outcome = tuple[Embedding, list[Detections]]


def grounder_of(args: dict[str, str], clock: Clock) -> Grounder:
    """A `Grounder` over the composing models, from what the server says about the model being loaded.

    Raises:
        BadCheckpoint: a file of this version, or of a composing model's, is missing or damaged.
    """
    root = Path(args["model_repository"])
    folder = root / args["model_version"]
    verify(folder)
    names = {graph: parameter(args, graph) for graph in GRAPHS}
    for name in names.values():
        verify(root.parent / name / args["model_version"])
    files = {graph: root.parent / name / args["model_version"] / "model.onnx" for graph, name in names.items()}
    own = small_enough(files, int(parameter(args, "own_parts_mb")))
    record = read_json(folder / "export.json")
    return Grounder(
        OwnParts(files, int(parameter(args, "threads"))) if own else Parts(names, int(args["model_version"])),
        Tokenizer.load(folder),
        image_size=int(record["image_size"]),
        levels=int(parameter(args, "levels")),
        image_bytes=int(parameter(args, "image_cache_bytes")),
        text_bytes=int(parameter(args, "text_cache_bytes")),
        batch=int(parameter(args, "batch")),
        clock=clock,
    )


def parameter(args: dict[str, str], name: str) -> str:
    """A parameter of config.pbtxt."""
    return str(json.loads(args["model_config"])["parameters"][name]["string_value"])


class TritonPythonModel:
    """What the Python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Check the files, build the pipeline and the counters."""
        self.backend, self.clock = server(), Clock()
        self.grounder = grounder_of(args, self.clock)
        self.inputs = [item["name"] for item in json.loads(args["model_config"])["input"]]
        self.meters = Meters(args["model_name"], args["model_version"])
        # Triton 2.51's own response cache keeps error responses, and hands them out as empty successes
        self.answers: Recent[dict[str, Array]] = Recent(int(parameter(args, "response_cache_bytes")))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests."""
        read = [attempt(self.read, request) for request in requests]
        known = [self.answers.get(item.fingerprint()) if isinstance(item, Query) else None for item in read]
        fresh = [item for item, held in zip(read, known, strict=True) if isinstance(item, Query) and held is None]
        outcomes = iter(self.answer(fresh))
        answers = []
        with self.clock("pack"):
            for item, held in zip(read, known, strict=True):
                if held is not None:
                    said: dict[str, Array] | Exception = held
                else:  # or what was wrong with the request
                    said = self._finish(item, next(outcomes)) if isinstance(item, Query) else item
                answers.append(error_response(said) if isinstance(said, Exception) else self._respond(said))
        self._count()
        return answers

    def finalize(self) -> None:
        """The model is unloaded."""
        self.meters.close()

    def read(self, request: Any) -> Query:
        """One request's tensors as a `Query`."""
        return read_query(self.inputs_of(request), frozenset(request.requested_output_names()))

    def answer(self, queries: Sequence[Query]) -> list[Outcome | Exception]:
        """The embedding and the detections (one per phrase) of each query, or what went wrong with it."""
        embedded = self._embed(queries)
        held = [(query, item) for query, item in zip(queries, embedded, strict=True) if isinstance(item, Embedding)]
        pairs = [Pair(item, prompt, query.threshold) for query, item in held for prompt in query.prompts]
        found = attempt(self.grounder.ground, pairs) if pairs else []
        if not isinstance(found, Exception):
            for item in found:
                self.meters.presence(item.presence)
        out: list[Outcome | Exception] = []
        start = 0
        for query, embedding in zip(queries, embedded, strict=True):
            if isinstance(embedding, Exception):
                out.append(embedding)
            elif isinstance(found, Exception) and query.prompts:
                out.append(found)
            else:
                out.append((embedding, found[start : start + len(query.prompts)]))
                start += len(query.prompts)
        return out

    def tensors(self, query: Query, embedding: Embedding, found: list[Detections]) -> dict[str, Array]:
        """The output tensors of one answer."""
        return output_tensors(found, embedding.size, query.key, query.wanted)

    def inputs_of(self, request: Any) -> dict[str, Array]:
        """The tensors that came, without the batch axis."""
        given = {name: self.backend.get_input_tensor_by_name(request, name) for name in self.inputs}
        return {name: tensor.as_numpy()[0] for name, tensor in given.items() if tensor is not None}

    def _embed(self, queries: Sequence[Query]) -> list[Embedding | Exception]:
        """The embedding of each query's picture; pictures not remembered are decoded and encoded together."""
        held: dict[str, Embedding | Exception] = {}
        for query in queries:
            if query.key not in held and (known := self.grounder.known(query.key)) is not None:
                held[query.key] = known
        fresh = {query.key: query for query in queries if query.key not in held}
        with self.clock("decode_image"):
            decoded = dict(zip(fresh, self.grounder.each(self._picture, list(fresh.values())), strict=True))
        held |= {key: item for key, item in decoded.items() if isinstance(item, Exception)}
        pictures = {key: item for key, item in decoded.items() if not isinstance(item, Exception)}
        try:
            held |= self.grounder.embed(pictures) if pictures else {}
        except Exception as error:
            held |= dict.fromkeys(pictures, error)
        return [self._boxes_fit(held[query.key], query) for query in queries]

    def _picture(self, query: Query) -> UInt8Array | Exception:
        found = attempt(query.picture)
        return unknown_key(query.key) if found is None else found

    def _boxes_fit(self, item: Embedding | Exception, query: Query) -> Embedding | Exception:
        if isinstance(item, Exception):
            return item
        refused = attempt(check_boxes, item.size, query.prompts)
        return refused if isinstance(refused, Exception) else item

    def _finish(self, query: Query, outcome: Outcome | Exception) -> dict[str, Array] | Exception:
        """The tensors of an answer, which is remembered; or what went wrong, which is not."""
        tensors = outcome if isinstance(outcome, Exception) else attempt(self.tensors, query, *outcome)
        if not isinstance(tensors, Exception):
            # object arrays count their pointers only; they are short but for the run lengths
            size = sum(
                value.nbytes + (sum(map(len, value.flat)) if value.dtype == object else 0) for value in tensors.values()
            )
            self.answers.put(query.fingerprint(), tensors, size + 512)
        return tensors  # type: ignore[no-any-return]

    def _respond(self, tensors: dict[str, Array]) -> Any:
        return self.backend.InferenceResponse(
            output_tensors=[self.backend.Tensor(name, value) for name, value in tensors.items()]
        )

    def _count(self) -> None:
        self.meters.stages(self.clock)
        held: dict[str, Recent[Any]] = {
            "image": self.grounder.images,
            "text": self.grounder.words,
            "response": self.answers,
        }
        for kind, cache in held.items():
            self.meters.add("sam3_cache_total", cache.hits, kind=kind, outcome="hit")
            self.meters.add("sam3_cache_total", cache.misses, kind=kind, outcome="miss")
            cache.hits = cache.misses = 0


def attempt(function: Any, *args: Any) -> Any:
    """The result, or the exception as a value: one request's fault must not end the batch."""
    try:
        return function(*args)
    except Exception as error:
        return error
