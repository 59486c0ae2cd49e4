"""Settings in YAML files that a flow turns, as a person would in an editor: comments and order stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam3.errors import BadConfig
from sam3.files import atomic_write

Knob = str | float
PARAMS = Path("params.yaml")


def turn_to(values: Mapping[str, Knob], file: Path = PARAMS) -> bool:
    """Set knobs ("canary.every") of a file; returns whether that changed anything.

    Raises:
        BadConfig: the file has no such line.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096  # lines stay as long as they are
    settings = yaml.load(file)
    changed = False
    for name, value in values.items():
        section, key = name.split(".")
        if section not in settings or key not in settings[section]:
            raise BadConfig(f"{file}: no line {name} to set to {value!r}. Set it by hand.", field=name)
        changed |= settings[section][key] != value
        settings[section][key] = value
    if changed:
        with atomic_write(file) as stream:
            yaml.dump(settings, stream)
    return changed
