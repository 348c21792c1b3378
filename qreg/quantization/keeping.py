"""Names of methods that leave some layers in float: ``static-keep:conv1+fc3``.

Only the standard library may be imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEEP = "-keep:"
_LAYERS = re.compile(r"[\w.]+(?:[+,][\w.]+)*")


def kept_layers(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The method and the layers that a name says; None for a name that says no layers."""
    base, keep, layers = name.partition(_KEEP)
    if not keep or not base or _LAYERS.fullmatch(layers) is None:
        return None
    return base, tuple(dict.fromkeys(re.split("[+,]", layers)))


def keeping_name(method: str, layers: Iterable[str]) -> str:
    """The name of the method with these layers in float; of `method` itself without any.

    The layers are separated by ``+``, because commas separate names on command lines.
    """
    chosen = "+".join(layers)
    return f"{method}{_KEEP}{chosen}" if chosen else method


def canonical(name: str) -> str:
    """The same name, with ``+`` for the ``,`` that a table in TOML may have."""
    found = kept_layers(name)
    return name if found is None else keeping_name(*found)
