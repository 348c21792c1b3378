"""Making a user's model one that can be copied: a copy that runs the original's layers is none.

Quantizing works on copies, PyTorch's own functions too. Two things of a constructor break them:
a function that refers to the model's modules (``self.mlpf = lambda x: m.c_proj(m.c_fc(x))``),
which `copy.deepcopy` takes over as it is, so that the copy runs the original's layers; and
a tensor computed of parameters (the weight under `torch.nn.utils.weight_norm`), which it refuses.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import Any

import torch
from torch import nn


def made_copyable(model: nn.Module) -> nn.Module:
    """The same model, with such functions and tensors replaced by ones that are copied rightly."""
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()  # computed again whenever the layer runs
            elif isinstance(value, FunctionType) and _refers(value):
                vars(module)[name] = Following(value)
    return model


class Following:
    """A function whose copy refers to the copied modules."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self.function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Following:
        own = self.function
        cells = tuple(_copied_cell(cell, memo) for cell in own.__closure__ or ())
        defaults = own.__defaults__ and tuple(_copied(one, memo) for one in own.__defaults__)
        made = FunctionType(own.__code__, own.__globals__, own.__name__, defaults, cells)
        named = own.__kwdefaults__
        made.__kwdefaults__ = named and {key: _copied(one, memo) for key, one in named.items()}
        return Following(made)


def _copied_cell(cell: CellType, memo: dict[int, Any]) -> CellType:
    return CellType(_copied(cell.cell_contents, memo)) if _of_model(_content(cell)) else cell


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    return copy.deepcopy(value, memo) if _of_model(value) else value


def _refers(function: FunctionType) -> bool:
    return any(_of_model(one) for one in _held(function))


def _held(function: FunctionType) -> Iterator[Any]:
    yield from (_content(cell) for cell in function.__closure__ or ())
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned yet
        return None


def _of_model(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_of_model(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(_of_model(one) for one in value)
    method = getattr(value, "__self__", None)  # a bound method of a module
    return isinstance(value, (nn.Module, torch.Tensor)) or isinstance(method, nn.Module)


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model of somebody else's, which is left as it is; it can be copied itself."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    made = copy.deepcopy(model, memo)
    for module in made.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and _refers(value):
                vars(module)[name] = copy.deepcopy(Following(value), memo)
    return made


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Take back what a model's own code assigns to its modules while it is traced.

    A tracer runs `forward`, which may say ``self.running = 0.9 * self.running + ...``: the module's
    buffer would then be a proxy. Tensors that are new stay: the tracer's constants.
    """
    before = [(module, dict(vars(module)), _tables(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes, tables in before:
            now = vars(module)
            constants = {
                name: value
                for name, value in now.items()
                if name not in attributes and isinstance(value, torch.Tensor)
            }
            now.clear()
            now.update({**attributes, **constants})
            for name, table in tables.items():
                attributes[name].clear()
                attributes[name].update(table)


def _tables(module: nn.Module) -> dict[str, dict[str, Any]]:
    names = ("_buffers", "_parameters", "_modules")
    found = {name: vars(module).get(name) for name in names}
    return {name: dict(table) for name, table in found.items() if isinstance(table, dict)}
