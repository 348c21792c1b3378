"""JSON text for readable diffs: sorted keys, and one line per independently changing value."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

# Objects in these lists take one line each, however long: one layer, one line of a diff.
_ROWS = ("layers", "tensors")
_SHORT = 88
_DENSE = (",", ":")


def plain(value: Any) -> Any:
    """A record as JSON values: a dictionary without fields that have their default."""
    if is_dataclass(value):
        found = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: plain(one) for field, one in found if one != field.default}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def canonical(value: Any) -> bytes:
    """The canonical form of a plain value, for digests."""
    return json.dumps(value, sort_keys=True, separators=_DENSE, allow_nan=False).encode()


def layout(value: Any, *, indent: int = 0) -> str:
    """Indented JSON text of a plain value."""
    line = json.dumps(value, sort_keys=True, allow_nan=False)
    if len(line) <= _SHORT or not isinstance(value, dict | list) or _numbers(value):
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
    rows = f",\n{pad}".join(canonical(item).decode() for item in value)
    return f"[\n{pad}{rows}\n{' ' * indent}]"


def _numbers(value: Any) -> bool:
    """Whether a value is a number, or a list of numbers or such lists."""
    if isinstance(value, list):
        return all(_numbers(item) for item in value)
    return isinstance(value, int | float)
