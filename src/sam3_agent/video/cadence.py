"""When the detector looks: every N frames or every so many seconds, at once when the picture changes, and less often
where frames would come too late.

    Cadence(every=5), Cadence(seconds=1.0), Cadence(seconds=1.0, budget_ms=50)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sam3.errors import BadInput

CUT = 0.12  # mean change of brightness between two frames that means another scene
SMOOTHING = 0.2
SLOWEST = 3600.0  # seconds from look to look, at most
LONGEST = 300  # frames that things are carried at most


@dataclass
class Cadence:
    """Decides frame by frame. Costs are learned from what frames took.

    Args:
        every: frames from one look to the next; None to go by time.
        seconds: from one look to the next, where `every` is None.
        budget_ms: what a frame may cost on average; N grows until it holds. None: no budget.
        on_change: look at once after a cut.
    """

    every: int | None = None
    seconds: float = 1.0
    budget_ms: float | None = None
    on_change: bool = True
    _number: int = field(default=-1, init=False)
    _time: float = field(default=-math.inf, init=False)
    _latest: float = field(default=-math.inf, init=False)
    _look_ms: float | None = field(default=None, init=False)
    _carry_ms: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise BadInput(f"every {self.every}: expected a number of frames, 1 or more.", field="every")
        if not 0 <= self.seconds <= SLOWEST:
            raise BadInput(f"every {self.seconds} s: expected seconds, 0 to {SLOWEST:.0f}.", field="every")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise BadInput(f"budget of {self.budget_ms} ms: expected more than 0.", field="budget_ms")

    @property
    def least(self) -> int:
        """Frames from look to look that the latency budget asks for.

        With a look costing D and a carried frame C milliseconds, N frames cost D + (N - 1) C; this is the smallest N
        with a mean within the budget.
        """
        if self.budget_ms is None or self._look_ms is None:
            return 1
        carry = self._carry_ms or 0.0
        if carry >= self.budget_ms:
            return LONGEST
        return max(1, min(LONGEST, math.ceil((self._look_ms - carry) / (self.budget_ms - carry))))

    def due(self, number: int, time: float, change: float) -> bool:
        """Whether the detector looks at this frame.

        Args:
            number, time: of the frame. change: mean change of brightness since the last one, 0..1.
        """
        passed, backwards, self._latest = number - self._number, time < self._latest, time
        if self._number < 0 or backwards or (self.on_change and change > CUT):
            return True
        if passed < self.least:
            return False
        return passed >= self.every if self.every is not None else time - self._time >= self.seconds - 1e-6

    def looked(self, number: int, time: float) -> None:
        """The detector has looked at this frame."""
        self._number, self._time = number, time

    def spent(self, milliseconds: float, *, looked: bool) -> None:
        """What a frame cost altogether."""
        name = "_look_ms" if looked else "_carry_ms"
        known = getattr(self, name)
        # the first look loads and compiles: it says little about the second
        setattr(self, name, milliseconds if known is None else known + SMOOTHING * (milliseconds - known))
