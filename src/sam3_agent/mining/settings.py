"""What a mined batch is made with: every knob of `sam3-agent mine`, and what comes back. Defaults stand here only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sam3.errors import BadConfig

Strategy = Literal["value", "random"]
TO_ANNOTATE = Path("data/to_annotate")


@dataclass(frozen=True)
class MineSettings:
    """Every knob of a batch.

    Attributes:
        inbox: folder, .tar or fsspec address of unlabelled pictures.
        concept: what to look for.
        checkpoint: weights by name or folder, exported graphs, or (engine "triton") host:port of a server.
        second: another version of the model to hold it against; None: that signal is left out.
        engine: as `sam3.engines.load_engine` knows it.
        sessions: database of the agent's conversations, for thumbs-down; None: none is read.
        out: where batches go. work: where rows of looked-at pictures are kept, so that nothing is looked at twice.
        name: of the batch; None: the next number, or the one that an interrupted call left unfinished.
        budget: pictures of the batch at most.
        looks: pictures of the inbox to look at in this call, in shards of `pictures_each`; 0: all.
        strategy: "value" ranks; "random" draws, for comparison, from everything that was looked at.
        fill: add the best of the rest when fewer pictures are flagged than the budget allows.
        threshold: detections with a lower score are not looked at. prefill: those from here on become pre-labels.
        uncertain: presence between these two is flagged.
        stable, box_agreement: masks below are flagged. versions: disagreement above is flagged.
        seed: of clustering and drawing.
    """

    inbox: str
    concept: str
    checkpoint: str = "sam3-lite"
    second: str | None = None
    engine: str = "auto"
    sessions: str | None = None
    out: Path = TO_ANNOTATE
    work: Path = Path("outputs/mine")
    name: str | None = None
    budget: int = 100
    looks: int = 1000
    pictures_each: int = 1000
    strategy: Strategy = "value"
    fill: bool = False
    threshold: float = 0.3
    prefill: float = 0.5
    uncertain: tuple[float, float] = (0.4, 0.6)
    stable: float = 0.75
    box_agreement: float = 0.6
    versions: float = 0.34
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse what cannot work, in the words of the option."""
        for name, least in (("budget", 1), ("looks", 0), ("pictures_each", 1)):
            if getattr(self, name) < least:
                raise BadConfig(f"{name} {getattr(self, name)}: expected {least} or more.", field=name)
        if self.strategy not in ("value", "random"):
            raise BadConfig(f"strategy {self.strategy!r}: expected value or random.", field="strategy")
        if self.name is not None and (not self.name.strip(".") or set(self.name) & set("/\\\0") or len(self.name) > 80):
            raise BadConfig(f"name {self.name!r}: expected the name of a folder, at most 80 characters.", field="name")
        if not self.concept.strip():
            raise BadConfig("concept: expected a noun phrase.", field="concept")


@dataclass(frozen=True)
class MinedBatch:
    """A batch, whole, on disk.

    Attributes:
        name: of the batch. folder: `out`/name, with images/, manifest.jsonl, batch.json and contact_sheet.jpg.
        pictures: handed out with it. flagged: of them, those that a signal flagged.
        looked_at: pictures whose rows were ranked. new: whether this call made it.
        reasons: how often each signal flagged one.
    """

    name: str
    folder: Path
    pictures: int
    flagged: int = 0
    looked_at: int = 0
    new: bool = True
    reasons: dict[str, int] = field(default_factory=dict)
