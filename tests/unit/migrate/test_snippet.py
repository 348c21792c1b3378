from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import pytest

from qreg.migrate.snippet import call, snippet
from qreg.names import split_names
from qreg.registry import is_object_path


def area(radius: float) -> float:
    """Of a circle."""
    return math.pi * squared(radius)


def squared(number: float) -> float:
    return number * number


def total(radii: Iterable[float], *, factor: float = 1.0) -> float:
    return factor * sum(area(radius) for radius in radii)


def test_a_snippet_runs_by_itself() -> None:
    text = snippet((total,))
    names: dict[str, object] = {}
    exec(compile(text, "shown", "exec"), names)
    assert names["total"]([1.0], factor=2.0) == total([1.0], factor=2.0)  # type: ignore[operator]


def test_imports_come_first_and_then_what_is_called() -> None:
    lines = snippet((total,)).splitlines()
    assert lines[:2] == ["import math", "from collections.abc import Iterable"]
    defined = [line.partition("(")[0] for line in lines if line.startswith("def ")]
    assert defined == ["def squared", "def area", "def total"]


def test_what_is_given_twice_stands_there_once() -> None:
    text = snippet((area, squared, area))
    assert text.count("def area") == text.count("def squared") == 1


def test_what_is_of_this_package_is_brought_along() -> None:
    text = snippet((_uses_another_module,))
    assert "import qreg" not in text
    assert "from qreg" not in text
    assert "def split_names" in text


def _uses_another_module(name: str) -> bool:
    return bool(name) and bool(split_names(name))


def test_what_is_no_function_cannot_be_copied() -> None:
    with pytest.raises(ValueError, match="is not a function"):
        snippet((partial(squared, 2.0),))
    with pytest.raises(ValueError, match="is not a function"):
        snippet((is_object_path,))  # it uses a constant


def test_a_call_shows_the_names_of_what_is_given() -> None:
    assert call(total) == "total(radii, factor)"
