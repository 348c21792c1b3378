"""A model that a project defines in its ``[tool.qreg]`` table.

Only the standard library and names may be imported here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qreg.artifacts.names import is_file_name

_NAME = re.compile(r"\w[\w.:=+-]{0,119}")


@dataclass(frozen=True)
class ModelSource:
    """A factory with its arguments and weights, and the name that cases give it.

    Attributes:
        name: as in cases and file names.
        factory: ``package.module:factory``, ``torchvision:NAME``, ``timm:NAME`` or a shipped name.
        arguments: keyword arguments of the factory.
        weights: a safetensors file or a saved state dict; None where the factory brings them.
        files: the methods of this model alone, ``file:exports/net_int8.onnx``.

    Raises:
        ValueError: the name cannot be part of a case's name.
    """

    name: str
    factory: str
    arguments: tuple[tuple[str, Any], ...] = ()
    weights: Path | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) and not is_file_name(self.name):
            raise ValueError(f"'{self.name}': a name is of letters, digits and . : = + - _")


def source_name(factory: str, arguments: dict[str, Any]) -> str:
    """The name of a definition that gives none: ``net-width=32`` for ``nets:net``."""
    if not arguments:
        return factory
    object_name = factory.rpartition(":")[2]
    parts = (f"{name}={_short(value)}" for name, value in sorted(arguments.items()))
    return "-".join((object_name, *parts))


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text)
