"""configs/serving.yaml -> one frozen, typed `ServingSettings`; defaults stand in that file and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sam3_agent.params import Section
from sam3_agent.settings_file import read_settings

FILE = Path("configs/serving.yaml")
Positive = Annotated[int, Field(ge=1)]


class Queue(Section):
    """How requests wait: at most `limit`, for at most `timeout_ms`, and `delay_us` for company of `preferred` size."""

    preferred: list[Positive]
    delay_us: Annotated[int, Field(ge=0)]
    limit: Positive
    timeout_ms: Positive
    priorities: Positive


class ServingSettings(Section):
    """Every knob of a packaged version.

    Attributes:
        batch: most rows of one batch.
        threads: CPU threads of a graph, 0 for all.
        instances: copies of each graph on a GPU.
        own_parts_mb: on a CPU, `sam3` and `sam3_video` run graphs that are smaller than this together in their own
            processes: a copy of the weights each.
        image_cache_mb, text_cache_mb, response_cache_mb: embeddings and answers remembered by the whole model.
        idle_seconds: after which a silent video stream is forgotten; streams: open at a time.
    """

    batch: Positive
    threads: Annotated[int, Field(ge=0)]
    instances: Positive
    own_parts_mb: Annotated[int, Field(ge=0)]
    queue: Queue
    image_cache_mb: Positive
    text_cache_mb: Positive
    response_cache_mb: Annotated[int, Field(ge=0)]
    idle_seconds: Positive
    streams: Positive


def load_settings(path: Path = FILE) -> ServingSettings:
    """Read the settings.

    Raises:
        BadConfig: no such file, not YAML, or a key that is missing, unknown or out of range.
    """
    return read_settings(path, ServingSettings)
