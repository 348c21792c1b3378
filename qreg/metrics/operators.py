"""The operators of a forward pass, as dispatched by PyTorch."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from qreg.data.inputs import Inputs, Run
from qreg.records.numerics import OperatorCount

_OPERATOR = re.compile(r"\w+::\w+")


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # otherwise the first operator imports torch._dynamo, which takes two seconds
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def count_operators(
    run: Run, inputs: Inputs, *, compiled: bool = False
) -> tuple[OperatorCount, ...]:
    """Run once and count the operators, sorted by name.

    Args:
        compiled: whether `run` calls a compiled model, whose fused operators do not count.
    """
    if compiled:
        return _sorted(_profiled(run, inputs))
    with _Counting() as mode:
        run(inputs)
    return _sorted(mode.counts)


def _profiled(run: Run, inputs: Inputs) -> Counter[str]:
    """Count with the profiler: under a dispatch mode dynamo would run the uncompiled model."""
    # otherwise kineto reports on standard error that there is no GPU
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    run(inputs)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run(inputs)
    return Counter(event.name for event in profiler.events() if _OPERATOR.fullmatch(event.name))


def _sorted(counts: Counter[str]) -> tuple[OperatorCount, ...]:
    return tuple(OperatorCount(name, count) for name, count in sorted(counts.items()))
