"""configs/loop.yaml -> one frozen, typed `LoopSettings`; defaults stand in that file and nowhere else.

Read by `promote`, `deploy --canary`, `drift`, `ab-report` and the flows. Try it:
`python -c "from sam3_agent.loop_settings import load_loop; print(load_loop())"`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sam3_agent.params import Count, Name, Section, Share
from sam3_agent.settings_file import read_settings

FILE = Path("configs/loop.yaml")
Positive = Annotated[int, Field(ge=1)]
Above = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(ge=1)]
Alpha = Annotated[float, Field(gt=0, lt=1)]


class Promotion(Section):
    """What a candidate must show; gains and losses are differences of figures in [0, 1]."""

    name: Name
    margin: Share
    max_slice_loss: Share
    min_slice_pairs: Positive
    max_latency_ratio: Ratio
    resamples: Positive
    confidence: Alpha
    seed: Count
    hold_out: Annotated[float, Field(ge=0, lt=1)]


class Retraining(Section):
    """What a training of the loop begins with: the champion's weights, or those of its config."""

    start: Literal["champion", "config"]


class Approval(Section):
    """Whether a person decides, and for how many hours they are waited for."""

    required: bool
    hours: Above


class CanaryLimits(Section):
    """How much of the traffic a new version gets, and what sends it back; see configs/loop.yaml."""

    share: Share
    seconds: Annotated[float, Field(ge=0)]
    every: Above
    min_requests: Positive
    max_error_gain: Share
    max_latency_ratio: Ratio
    max_presence_shift: Share
    alpha: Alpha

    def chosen(self, share: float | None, seconds: float | None, expected_shift: float = 0.0) -> CanaryLimits:
        """These limits for one trial.

        Args:
            share, seconds: in place of the file's, unless None.
            expected_shift: of presence, as promotion measured it, in [0, 1]: a model that finds more than the one before
                is not sent back for it.
        """
        asked = {"share": share, "seconds": seconds}
        given = {name: value for name, value in asked.items() if value is not None}
        shift = min(1.0, self.max_presence_shift + expected_shift)
        return self.model_copy(update={**given, "max_presence_shift": shift})


class Triggers(Section):
    """What starts a flow: finished annotations, or thumbs down within `hours`."""

    annotations: Positive
    thumbs_down: Positive
    hours: Above


class Monitoring(Section):
    """What raises an alarm, and what an A/B test is to find."""

    alpha: Alpha
    min_effect: Share
    min_pictures: Annotated[int, Field(ge=5)]
    sample: Positive
    power: Alpha
    min_difference: Annotated[float, Field(gt=0, le=1)]


class LoopSettings(Section):
    """All of configs/loop.yaml."""

    promotion: Promotion
    retraining: Retraining
    approval: Approval
    canary: CanaryLimits
    triggers: Triggers
    monitoring: Monitoring


def load_loop(path: Path = FILE) -> LoopSettings:
    """Read the settings.

    Raises:
        BadConfig: no such file, not YAML, or a key that is missing, unknown or out of range.
    """
    return read_settings(path, LoopSettings)
