"""Faults that take effect when the quantized model runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from qreg.faults.fault import DYNAMIC, NO_PLACE, Fault, after, patched
from qreg.faults.surgery import change_output
from qreg.quantization.engines import available_engines, use_engine

Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _on_logits(name: str, description: str, change: Change, *, family: str, size: str) -> Fault:
    def of_a_tensor(given: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if not isinstance(logits, torch.Tensor):
            raise TypeError(NO_PLACE)
        return change(given, logits)

    return Fault(
        name=name,
        family=family,
        description=description,
        inject=after(lambda model: change_output(model, of_a_tensor)),
        size=size,
    )


def _times(factor: float) -> Fault:
    return _on_logits(
        f"logits-x{factor:g}",
        f"logits are multiplied by {factor:g}",
        lambda _, logits: logits * factor,
        family="logits",
        size=f"x{factor:g}",
    )


def _noise(size: float) -> Fault:
    return _on_logits(
        f"noise-{size:g}",
        f"logits have random noise of {size:g}, another at every call",
        lambda _, logits: logits + size * torch.randn(logits.shape),
        family="noise",
        size=f"{size:g}",
    )


def _swapped(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    if logits.ndim < 2 or logits.shape[1] < 2:
        raise ValueError(NO_PLACE)
    return logits[:, [1, 0, *range(2, logits.shape[1])]]


def _alone(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return logits * 1.01 if len(logits) == 1 else logits


def _one_nan(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    found = logits.clone()
    found[(0,) * min(2, found.ndim)] = torch.nan
    return found


def _other_engine(model: nn.Module) -> None:
    """Load the state while another engine is set, which packs the weights for its kernels."""
    own = torch.backends.quantized.engine
    # fbgemm and x86 share their linear layers
    near = ("x86", "fbgemm")
    others = [e for e in available_engines() if e != own and not (own in near and e in near)]
    with use_engine(others[-1]):
        model.load_state_dict(model.state_dict())


def _warned(model: nn.Module) -> None:
    warnings.warn("this layer falls back to a slower kernel", UserWarning, stacklevel=1)


def _one_more(model: nn.Module) -> None:
    def added(_: nn.Module, __: Any, logits: Any) -> torch.Tensor:
        if not isinstance(logits, torch.Tensor):
            raise TypeError(NO_PLACE)
        return logits + 0.0

    model.register_forward_hook(added)


def _all_bits(self: Any, x: torch.Tensor) -> torch.Tensor:
    """torch's dynamic Linear.forward without its reduce_range."""
    packed = self._packed_params._packed_params
    out: torch.Tensor = torch.ops.quantized.linear_dynamic(x, packed, reduce_range=False)
    return out


RUNTIME = (
    *(_times(factor) for factor in (1.001, 1.01, 1.1)),
    *(_noise(size) for size in (1e-6, 1e-3, 1e-1)),
    _on_logits(
        "classes-swapped",
        "the first two logits are swapped",
        _swapped,
        family="logits",
        size="two swapped",
    ),
    _on_logits(
        "only-alone",
        "an image that is run alone has its logits times 1.01",
        _alone,
        family="batch size",
        size="1",
    ),
    _on_logits(
        "nan", "the first logit of every batch is NaN", _one_nan, family="logits", size="NaN"
    ),
    Fault(
        name="wrong-engine",
        family="engine",
        description="the saved weights were loaded while another engine was set",
        inject=after(_other_engine),
    ),
    Fault(
        name="warning-more",
        family="warning",
        description="one warning more",
        inject=after(_warned),
    ),
    Fault(
        name="operator-more",
        family="operator",
        description="one operator more: zero is added to the logits",
        inject=after(_one_more),
    ),
    Fault(
        name="dynamic-all-bits",
        family="reduce range",
        description="activations are quantized as they come in 8 bits instead of 7",
        inject=patched(("torch.ao.nn.quantized.dynamic.Linear.forward", _all_bits)),
        methods=DYNAMIC,
    ),
)
