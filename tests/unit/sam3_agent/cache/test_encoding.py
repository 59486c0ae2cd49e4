"""What is written to a cache comes back the same; whatever else is there is nothing."""

from __future__ import annotations

import pickle

import msgpack
import numpy as np
import pytest

from sam3.types import Detections
from sam3_agent.cache.embeddings import packed, unpacked
from sam3_agent.cache.encoding import pack_outcome, unpack_outcome
from sam3_agent.execution.outcome import Outcome, Result


def outcome(number: int = 2) -> Outcome:
    random = np.random.default_rng(3)
    masks = random.random((number, 40, 60)) > 0.6
    boxes = random.random((number, 4)).astype(np.float32) * 40
    scores = random.random(number).astype(np.float32)
    found = Detections(boxes, scores, masks, 0.7, ["red car"] * number, ("a warning",))
    results = [Result(3, found, original=(400, 600), doubtful=(1,) if number > 1 else ())]
    return Outcome("ok", "Zwei Autos ✓", number, results, True)


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_an_outcome_comes_back_the_same(number: int) -> None:
    sent = outcome(number)
    back = unpack_outcome(pack_outcome(sent))
    assert (back.status, back.text, back.answer, back.uncertain) == (sent.status, sent.text, sent.answer, True)
    [one], [other] = back.results, sent.results
    assert (one.media, one.original, one.doubtful) == (other.media, other.original, other.doubtful)
    for name in ("boxes", "scores", "masks"):
        ours, theirs = getattr(one.seen, name), getattr(other.seen, name)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert (one.seen.labels, one.seen.warnings) == (other.seen.labels, other.seen.warnings)


class Bomb:
    """Runs when it is unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (explode, ())


def explode() -> None:
    Bomb.exploded = True


def changed(**values: object) -> bytes:
    content = msgpack.unpackb(pack_outcome(outcome()))
    content["results"][0].update({k: v for k, v in values.items() if k in content["results"][0]})
    content.update({k: v for k, v in values.items() if k in content})
    return bytes(msgpack.packb(content))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Bomb()),
        b"",
        b"\x80\x04",
        b"null",
        pack_outcome(outcome())[:-20],
        bytes(msgpack.packb({"form": "outcome/0"})),
        changed(status="root"),
        changed(size=[1 << 20, 1 << 20]),
        changed(masks=["x" * 9, 5]),
        changed(masks=[]),
        changed(masks=["PPPPPPPPPP", "PPPPPPPPPP"]),
        changed(boxes=b"123"),
        changed(answer=[1, 2]),
    ],
)
def test_whatever_else_is_there_is_refused_and_never_run(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an outcome"):
        unpack_outcome(data)
    assert not Bomb.exploded


def test_an_onnx_embedding_comes_back_the_same_and_a_pickle_is_none() -> None:
    from sam3.engines.onnx_engine import Embedding

    half = np.zeros((1, 4, 4, 4), np.float16)
    sent = Embedding(trunk=np.ones((1, 4, 8, 8), np.float32), level=half, started=half[0], size=(300, 400))
    back = unpacked("onnx", packed("onnx", sent))
    assert back.size == (300, 400) and np.array_equal(back.trunk, sent.trunk) and back.fine is None
    assert back.level.dtype == np.float16 and back.nbytes == sent.nbytes
    assert unpacked("onnx", pickle.dumps(Bomb())) is None and not Bomb.exploded
