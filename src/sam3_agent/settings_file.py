"""A YAML file of settings, read into the model that says what may stand in it: one way for every room.

settings = read_settings(Path("configs/loop.yaml"), LoopSettings)
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sam3.errors import BadConfig

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, model: type[Settings]) -> Settings:
    """The settings in a file.

    Raises:
        BadConfig: no such file, not YAML, or a key that is missing, unknown or out of range.
    """
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read ({error.strerror}). Run in the top folder of the checkout.") from error
    except yaml.YAMLError as error:
        raise BadConfig(f"{path}: not YAML ({error}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadConfig(f"{path}: {where}: {first['msg']}; found {first['input']!r:.60}.", field=where) from error
