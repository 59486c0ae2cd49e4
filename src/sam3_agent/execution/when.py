"""When things of a clip appear and leave, and for how long they show. Called by `answers.py`."""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.execution import replies
from sam3_agent.execution.outcome import Outcome
from sam3_agent.execution.tracks import Track
from sam3_agent.execution.views import ClipView, View
from sam3_agent.understanding.plan import When
from sam3_agent.understanding.wording import name


def when(action: When, views: Sequence[View]) -> Outcome:
    """The answer is in seconds from the start of the clip; None where there is no clip or no such thing."""
    clips = [one for one in views if isinstance(one, ClipView)]
    if not clips:
        return Outcome("clarify", "That is a question about a clip, and I have only pictures. Please send the clip.")
    clip = clips[0]
    tracks = clip.find(action.target)
    if not tracks:
        return Outcome("empty", replies.nothing(action.target, clip.missing), None, [clip.result([], [action.target])])
    thing = name(action.target, many=False)
    if action.moment == "shows":
        seconds = clip.shown(tracks)
        text = f"The {name(action.target, many=len(tracks) != 1)} can be seen for {seconds:.1f} s of the clip."
        return Outcome("ok", text, seconds, [clip.result(tracks, [action.target])])
    appears = action.moment == "appears"
    ordered = sorted(tracks, key=lambda track: min(track.things) if appears else max(track.things))
    chosen = ordered[-1] if action.last else ordered[0]
    at = min(chosen.things) if appears else max(chosen.things)
    seconds = clip.time(at)
    which = "" if len(tracks) == 1 else ("last " if action.last else "first ")
    text = f"The {which}{thing} {'appears' if appears else 'was last seen'} at {clock(seconds)}{_rest(clip, chosen, at, appears)}."
    return Outcome("ok", text, seconds, [clip.result([chosen], [action.target])])


def _rest(clip: ClipView, track: Track, at: int, appears: bool) -> str:
    """What the bare time would leave open: there from the start, or there to the end."""
    if appears and at == 0:
        return " (it is there from the start)"
    if not appears and max(track.things) == len(clip.medium.frames) - 1:
        return " (it is still there at the end)"
    return ""


def clock(seconds: float) -> str:
    """ "0:07.2"."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
