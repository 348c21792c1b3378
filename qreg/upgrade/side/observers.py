"""Recording the inputs and results of observers, to tell the two apart as causes."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

_ASKED = "calculate_qparams"


@dataclass(eq=False)
class _Entry:
    module: nn.Module
    name: str
    inputs: int = 0
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()


@dataclass(eq=False)
class Log:
    """Observers in the order in which they first ran."""

    entries: dict[int, _Entry] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    classes: dict[type, Any] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Fields of `qreg.upgrade.records.ObserverRecord`, as plain values."""
        return [
            {
                "name": entry.name,
                "kind": type(entry.module).__name__,
                "inputs": f"{entry.inputs:08x}",
                "scales": entry.scales,
                "zero_points": entry.zero_points,
            }
            for entry in self.entries.values()
        ]


@contextmanager
def recorded_observers() -> Iterator[Log]:
    """Record every observer that runs in this context, of any method."""
    log = Log()
    handle = nn.modules.module.register_module_forward_pre_hook(functools.partial(_see, log))
    try:
        yield log
    finally:
        handle.remove()
        for kind, before in log.classes.items():
            setattr(kind, _ASKED, before)


def _see(log: Log, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if id(module) not in log.names:
        for name, inner in module.named_modules():
            log.names.setdefault(id(inner), name)
    if not hasattr(module, _ASKED) or not inputs or not isinstance(inputs[0], torch.Tensor):
        return
    _listen(log, type(module))
    entry = log.entries.setdefault(id(module), _Entry(module, log.names.get(id(module), "")))
    entry.inputs = zlib.crc32(_bytes(inputs[0].detach()), entry.inputs)


def _bytes(tensor: torch.Tensor) -> Any:
    """The values in one order, whatever the layout."""
    if tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    return tensor.contiguous().numpy().data


def _listen(log: Log, kind: type) -> None:
    """Note what observers of a class say when they are asked."""
    owner = next(one for one in kind.__mro__ if _ASKED in vars(one))
    if owner in log.classes:
        return
    log.classes[owner] = before = vars(owner)[_ASKED]

    @functools.wraps(before)
    def asked(self: Any, *args: Any, **more: Any) -> Any:
        said = before(self, *args, **more)
        if id(self) in log.entries:
            entry = log.entries[id(self)]
            entry.scales = tuple(said[0].flatten().tolist())
            entry.zero_points = tuple(said[1].flatten().int().tolist())
        return said

    setattr(owner, _ASKED, asked)
