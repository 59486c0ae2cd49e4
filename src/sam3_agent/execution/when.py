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
    if action.moment in ("most", "fewest"):
        return _peak(action, clip, tracks)
    if action.count is not None:
        return _so_many(action, action.count, clip, tracks)
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


def _peak(action: When, clip: ClipView, tracks: Sequence[Track]) -> Outcome:
    """When the most (fewest) show at once: the first such moment, and the things it shows."""
    fewest = action.moment == "fewest"
    at, shown = clip.peak(tracks, fewest=fewest)
    seconds = clip.time(at)
    many = replies.amount(len(shown), action.target)
    text = f"The {action.moment} at once: {many}, first at {clock(seconds)}."
    return Outcome("ok", text, seconds, [clip.result(shown, [action.target])])


def _so_many(action: When, count: int, clip: ClipView, tracks: Sequence[Track]) -> Outcome:
    """The first moment that shows at least so many of them."""
    for at in range(len(clip.medium.frames)):
        shown = [track for track in tracks if at in track.things]
        if len(shown) >= count:
            text = f"{replies.amount(len(shown), action.target).capitalize()} are first seen at once at {clock(clip.time(at))}."
            return Outcome("ok", text, clip.time(at), [clip.result(shown, [action.target])])
    most = len(clip.peak(tracks)[1])
    return Outcome("empty", f"Never: at most {replies.amount(most, action.target)} {'is' if most == 1 else 'are'} seen at once.",
                   None, [clip.result([], [action.target])])  # fmt: skip


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
