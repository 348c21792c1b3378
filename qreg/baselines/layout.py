"""JSON text that a person can compare: keys sorted, a line for each thing that changes alone."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

# An object in one of these lists is a line, however long: one layer, one line of a diff.
_ROWS = ("layers", "tensors")
_SHORT = 88


def plain(value: Any) -> Any:
    """The value as JSON has it: lists for tuples, the value of an enum."""
    return json.loads(json.dumps(value, default=_enum, allow_nan=False))


def _enum(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is not for JSON")


def canonical(value: Any) -> bytes:
    """The one spelling of a plain value, for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def layout(value: Any, *, indent: int = 0, row: bool = False) -> str:
    """Indented JSON text of a plain value."""
    line = json.dumps(value, sort_keys=True, allow_nan=False)
    if row or len(line) <= _SHORT or not isinstance(value, dict | list) or _numbers(value):
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [
            f"{json.dumps(key)}: {_member(key, value[key], indent=indent + 1)}"
            for key in sorted(value)
        ]
    else:
        parts = [layout(item, indent=indent + 1) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{pad}" + f",\n{pad}".join(parts) + f"\n{' ' * indent}{closing}"


def _member(key: str, value: Any, *, indent: int) -> str:
    if key not in _ROWS or not value:
        return layout(value, indent=indent)
    pad = " " * (indent + 1)
    rows = f",\n{pad}".join(layout(item, row=True) for item in value)
    return f"[\n{pad}{rows}\n{' ' * indent}]"


def _numbers(value: Any) -> bool:
    """Whether it is a list of numbers, or of such lists."""
    if isinstance(value, list):
        return all(_numbers(item) for item in value)
    return isinstance(value, int | float)
