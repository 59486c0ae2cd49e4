"""Plain values -> typed configuration: every YAML of `configs/` comes in through here."""

from __future__ import annotations

from typing import Any, TypeVar

from sam3.errors import BadConfig

Schema = TypeVar("Schema")


def typed(schema: type[Schema], values: Any, where: str) -> Schema:
    """An instance of a (nested) dataclass, its defaults overlaid with `values`.

    Args:
        values: a mapping or OmegaConf config. where: the file they came from, for the error.

    Raises:
        BadConfig: an unknown key or a value of the wrong type; names the key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    base = OmegaConf.structured(schema)
    _unlock(base)
    try:
        return OmegaConf.to_object(OmegaConf.merge(base, values))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise BadConfig(f"{where}: {key or ''} {str(error).splitlines()[0]}", field=key) from error


def _unlock(node: Any) -> None:
    """OmegaConf makes the nodes of frozen dataclasses read-only, which would refuse the overlay too."""
    from omegaconf import OmegaConf

    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if OmegaConf.is_dict(child) and not OmegaConf.is_missing(node, key):
            _unlock(child)
