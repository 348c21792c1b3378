"""A call into torch as text, so that a failing one can be run without this project.

What is tested is the text that is printed: there is no second spelling of a call that could
differ from the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_NAMES = "inf, nan = float('inf'), float('nan')"


@dataclass(frozen=True)
class Snippet:
    """Statements that prepare, named inputs as source, and an expression for a tensor."""

    expression: str
    inputs: tuple[tuple[str, str], ...] = ()
    prepare: tuple[str, ...] = ()

    def statements(self) -> list[str]:
        return [*self.prepare, *(f"{name} = {source}" for name, source in self.inputs)]

    def value(self) -> Any:
        """What the expression gives."""
        scope: dict[str, Any] = {"torch": torch}
        exec("\n".join([_NAMES, *self.statements()]), scope)
        return eval(self.expression, scope)

    def array(self) -> npt.NDArray[Any]:
        """The expression's tensor: int64 for integers, float32 as it is."""
        found: npt.NDArray[Any] = self.value().detach().numpy()
        return found if found.dtype == np.float32 else found.astype(np.int64)

    def one_line(self, expected: str) -> str:
        """A shell command that prints what torch gives, and what is expected."""
        show = f"print(({self.expression}).tolist())"
        code = "; ".join(["import torch", _NAMES, *self.statements(), show])
        assert '"' not in code, "the command is quoted with these"
        return f'python -W ignore -c "{code}"  # expected {expected}'


def snippet(expression: str, *, prepare: tuple[str, ...] = (), **inputs: Any) -> Snippet:
    """A snippet; inputs that are not source text already are written as literals."""
    named = tuple((name, source_of(value)) for name, value in inputs.items())
    return Snippet(expression, named, prepare)


def source_of(value: Any) -> str:
    """Source text that makes `value`: text as it is, arrays as tensors, the rest by repr."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return tensor_source(value)
    return repr(value.item() if isinstance(value, np.generic) else value)


def tensor_source(values: npt.NDArray[Any]) -> str:
    """Source of a contiguous tensor with these values."""
    flat = [value.item() for value in values.reshape(-1)]
    made = f"torch.tensor({flat}, dtype=torch.{values.dtype})"
    return made if values.ndim == 1 else f"{made}.reshape({tuple(values.shape)})"


def expect_equal(call: Snippet, expected: npt.ArrayLike) -> npt.NDArray[Any]:
    """Fail unless the call gives just `expected`, shape and every value."""
    return expect_between(call, expected, expected)


def expect_between(
    call: Snippet, lowest: npt.ArrayLike, highest: npt.ArrayLike
) -> npt.NDArray[Any]:
    """Fail unless the call's values lie between the two, ends included, in their shape."""
    low, high = np.asarray(lowest), np.asarray(highest)
    actual = call.array()
    if actual.shape == low.shape and bool(np.all((low <= actual) & (actual <= high))):
        return actual
    raise AssertionError(_difference(call, actual, low, high))


def _difference(
    call: Snippet, actual: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> str:
    expected = f"{low.tolist()}"
    if not np.array_equal(low, high):
        expected = f"between {low.tolist()} and {high.tolist()}"
    lines = [f"torch {torch.__version__} differs; to see it without this project:"]
    lines.append(call.one_line(expected))
    if actual.shape != low.shape:
        lines.append(f"observed shape {actual.shape}, expected {low.shape}")
    else:
        wrong = np.argwhere(~((low <= actual) & (actual <= high)))
        first = tuple(int(i) for i in wrong[0])
        lines.append(f"{len(wrong)} of {actual.size} values differ, the first at {first}:")
        lines.append(f"observed {actual[first]}, expected {low[first]} .. {high[first]}")
    return "\n".join(lines)
