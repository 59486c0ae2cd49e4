"""One medium as the answers see it: a picture of things, or a clip of tracks, behind the same few questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sam3.types import Detections
from sam3_agent.execution.media import Medium, Picture
from sam3_agent.execution.outcome import Result, TrackedDetections
from sam3_agent.execution.pool import Thing
from sam3_agent.execution.seeing import Eyes
from sam3_agent.execution.select import Selector, needed
from sam3_agent.execution.tracks import Track, follow
from sam3_agent.understanding.concepts import positive_phrases, ranked
from sam3_agent.understanding.plan import AnyOf, Concept, Phrase

UNSURE = (0.4, 0.6)  # a presence between these is said to be unsure


class ImageView:
    """A picture.

    Args:
        number: index of the medium in the conversation.
        medium: an image.
        eyes: what the conversation has seen; the phrases of the plan are known already.
    """

    def __init__(self, number: int, medium: Medium, eyes: Eyes) -> None:
        self.number = number
        self.original = medium.frames[0].original
        self.selector = _selector(medium.frames[0], eyes)
        self.pool = self.selector.pool

    @property
    def missing(self) -> list[str]:
        """Landmarks that were asked for and not found."""
        return self.selector.missing

    def find(self, concept: Concept) -> list[Thing]:
        """The things an expression means."""
        return self.selector.choose(concept)

    def count(self, concept: Concept) -> int:
        """How many there are."""
        return len(self.find(concept))

    def at_once(self, things: Sequence[Thing], *, fewest: bool = False) -> list[Thing]:
        """What shows in one moment; a picture is one moment."""
        del fewest
        return list(things)

    def share(self, things: Sequence[Any]) -> float:
        """The share of the picture that the things cover together, 0..1."""
        if not things:
            return 0.0
        covered = things[0].mask if len(things) == 1 else np.logical_or.reduce([thing.mask for thing in things])
        return float(np.count_nonzero(covered)) / (self.pool.height * self.pool.width)

    def unsure(self, concepts: Sequence[Concept]) -> list[str]:
        """The phrases whose presence is neither clear nor clearly not."""
        return _unsure([self.pool.presence], concepts)

    def result(self, things: Sequence[Thing], concepts: Sequence[Concept]) -> Result:
        """The things as detections, each once."""
        numbers = list(dict.fromkeys(thing.number for thing in things))
        presence = _presence([self.pool.presence], concepts)
        found = self.pool.detections(numbers, presence, self.selector.labels)
        return Result(self.number, found, original=self.original)

    def place(self, thing: Thing) -> str:
        """Where a thing is, in words."""
        across = ("left", "middle", "right")[min(int(3 * thing.cx / self.pool.width), 2)]
        down = ("top", "middle", "bottom")[min(int(3 * thing.cy / self.pool.height), 2)]
        if across == down:
            return "in the middle"
        return f"{down} {across}" if down != "middle" else across


class ClipView:
    """A clip: things are tracks.

    Args:
        medium: the part of the clip that is asked about. whole: all of it, where that is more.
        frame: restricts the questions to one frame of the part.
    """

    def __init__(
        self, number: int, medium: Medium, eyes: Eyes, frame: int | None = None, whole: Medium | None = None
    ) -> None:
        self.number = number
        self.medium, self.whole = medium, whole or medium
        self.first = self.whole.frames.index(medium.frames[0])
        self.frame = None if frame is None else min(frame % len(medium.frames), len(medium.frames) - 1)
        self.selectors = [_selector(picture, eyes) for picture in medium.frames]
        self._tracks: dict[tuple[str, ...], list[Track]] = {}

    @property
    def missing(self) -> list[str]:
        """Landmarks that were found in no frame."""
        if not all(selector.missing for selector in self.selectors):
            return []
        return self.selectors[0].missing

    def find(self, concept: Concept) -> list[Track]:
        """The tracks an expression means: in most of the frames that show the thing, it is chosen."""
        phrases = positive_phrases(concept)
        tracks = self._followed(phrases)
        if self.frame is not None:
            chosen = {thing.number for thing in self.selectors[self.frame].choose(concept)}
            return [t for t in tracks if self.frame in t.things and t.things[self.frame].number in chosen]
        if isinstance(concept, Phrase) or (
            isinstance(concept, AnyOf) and all(isinstance(p, Phrase) for p in concept.parts)
        ):
            return tracks
        chosen_in = [{thing.number for thing in selector.choose(concept)} for selector in self.selectors]
        votes = {
            track.number: float(np.mean([thing.number in chosen_in[at] for at, thing in track.things.items()]))
            for track in tracks
        }
        if ranked(concept):
            places = max((len(chosen) for chosen in chosen_in), default=0)
            best = sorted((t for t in tracks if votes[t.number] > 0), key=lambda t: -votes[t.number] * len(t.things))
            return best[:places]
        return [track for track in tracks if votes[track.number] >= 0.5]

    def _followed(self, phrases: Sequence[Phrase]) -> list[Track]:
        key = tuple(sorted({phrase.text for phrase in phrases}))
        if key not in self._tracks:
            frames = [_once([t for phrase in phrases for t in selector.choose(phrase)]) for selector in self.selectors]
            self._tracks[key] = follow(frames, [picture.pixels for picture in self.medium.frames])
        return self._tracks[key]

    def count(self, concept: Concept) -> int:
        """How many distinct things appear."""
        return len(self.find(concept))

    def at_once(self, tracks: Sequence[Track], *, fewest: bool = False) -> list[Track]:
        """Those of the tracks that the frame with the most (fewest) of them shows."""
        return self.peak(tracks, fewest=fewest)[1]

    def peak(self, tracks: Sequence[Track], *, fewest: bool = False) -> tuple[int, list[Track]]:
        """The first frame that shows the most (fewest) of the tracks, and those it shows."""
        frames = range(len(self.selectors)) if self.frame is None else (self.frame,)
        shown = {at: [track for track in tracks if at in track.things] for at in frames}
        at = (min if fewest else max)(shown, key=lambda frame: len(shown[frame]))
        return at, shown[at]

    def share(self, tracks: Sequence[Any]) -> float:
        """The mean share of a frame that the tracked things cover."""
        total = 0.0
        for at, _selector in enumerate(self.selectors):
            masks = [track.things[at].mask for track in tracks if at in track.things]
            if masks:
                total += float(np.count_nonzero(np.logical_or.reduce(masks))) / masks[0].size
        return total / len(self.selectors)

    def unsure(self, concepts: Sequence[Concept]) -> list[str]:
        """Phrases that are unsure in the frame where they are surest."""
        return _unsure([selector.pool.presence for selector in self.selectors], concepts)

    def result(self, tracks: Sequence[Track], concepts: Sequence[Concept]) -> Result:
        """One set of detections for each frame of the whole clip, with stable track ids."""
        tracks = list({track.number: track for track in tracks}.values())
        pool = self.selectors[0].pool
        frames = [_nothing(pool.height, pool.width) for _ in self.whole.frames]
        for at, selector in enumerate(self.selectors):
            shown = [track for track in tracks if at in track.things and self.frame in (None, at)]
            presence = _presence([selector.pool.presence], concepts)
            one = selector.pool.detections([t.things[at].number for t in shown], presence, selector.labels)
            ids = np.array([track.number for track in shown], int)
            frames[self.first + at] = TrackedDetections(
                one.boxes, one.scores, one.masks, one.presence, one.labels, track_ids=ids
            )
        best: Detections = max(frames, key=len)
        return Result(self.number, best, frames)

    def time(self, at: int) -> float:
        """Seconds of a frame; its number where the clip does not say."""
        return self.medium.times[at] if self.medium.times else float(at)

    def shown(self, tracks: Sequence[Track]) -> float:
        """Seconds in which any of the tracks can be seen (frames where the clip does not say)."""
        ends = [self.time(at) for at in range(len(self.medium.frames))]
        last = ends[-1] - ends[-2] if len(ends) > 1 else 1.0
        lengths = [after - before for before, after in zip(ends, [*ends[1:], ends[-1] + last], strict=True)]
        return sum(lengths[at] for at in {at for track in tracks for at in track.things})

    def place(self, track: Track) -> str:
        """When a thing is seen, in words."""
        first, last = min(track.things), max(track.things)
        if not self.medium.times:
            return f"track {track.number} in frames {first + 1} to {last + 1}"
        return f"track {track.number} from {self.time(first):.1f} to {self.time(last):.1f} s"


View = ImageView | ClipView


def view(number: int, medium: Medium, eyes: Eyes, frame: int | None, whole: Medium | None = None) -> View:
    """The view that fits a medium, or the part of a clip that is asked about."""
    return ClipView(number, medium, eyes, frame, whole) if medium.is_clip else ImageView(number, medium, eyes)


def _nothing(height: int, width: int) -> TrackedDetections:
    """A frame that nobody asked about."""
    empty = Detections.empty(height, width)
    return TrackedDetections(empty.boxes, empty.scores, empty.masks, empty.presence, empty.labels)


def _selector(picture: Picture, eyes: Eyes) -> Selector:
    return Selector(eyes.pool(picture), lambda text: eyes.look([picture], [text]))


def _once(things: Sequence[Thing]) -> list[Thing]:
    return list({thing.number: thing for thing in things}.values())


def _presence(known: Sequence[dict[str, float]], concepts: Sequence[Concept]) -> float:
    texts = [text for concept in concepts for text in needed(concept)]
    return max((presence[text] for presence in known for text in texts if text in presence), default=0.0)


def _unsure(known: Sequence[dict[str, float]], concepts: Sequence[Concept]) -> list[str]:
    """Phrases whose highest presence is between the bounds of `UNSURE`."""
    unsure = []
    for text in dict.fromkeys(text for concept in concepts for text in needed(concept)):
        values = [presence[text] for presence in known if text in presence]
        if values and UNSURE[0] <= max(values) <= UNSURE[1]:
            unsure.append(text)
    return unsure
