"""Fake quantization and its training, in plain tensor operations: what torch's is judged by.

A module of PyTorch that observes and fake-quantizes has a counterpart here that does both by their
definitions, without PyTorch's operators for them. Sources: Jacob et al., "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2018), arXiv:1712.05877,
section 3 and equation 12; Bengio, Leonard and Courville, "Estimating or Propagating Gradients
Through Stochastic Neurons" (2013), arXiv:1308.3432, for the straight-through gradient, which is 1
inside the range and 0 outside; FBGEMM, ``QuantUtils.cc``, ``ChooseQuantizationParams``, for how the
fused operator gets a scale from a range.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

#: Fake-quantizers by the name of their class: whether they observe by a moving average themselves.
KINDS = {"FusedMovingAvgObsFakeQuantize": True, "FakeQuantize": False}
# FBGEMM: a smaller scale is raised to this
_SMALLEST_SCALE = 6.1e-5


class _StraightThrough(torch.autograd.Function):
    """``(clamp(round(x / scale) + zero_point) - zero_point) * scale``, its gradient a mask."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, ends: Any
    ) -> Any:
        # as kernels do it: by the float32 reciprocal
        codes = torch.round(x * (1.0 / scale)) + zero
        ctx.save_for_backward((codes >= ends[0]) & (codes <= ends[1]))
        return (codes.clamp(*ends) - zero) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


class PlainFakeQuantize(nn.Module):
    """The counterpart of a fake-quantizer, with its state.

    Args:
        fake: a `FakeQuantize` or `FusedMovingAvgObsFakeQuantize` of torch.ao or torchao.
    """

    def __init__(self, fake: Any) -> None:
        super().__init__()
        observer = fake.activation_post_process
        self.fused = KINDS[type(fake).__name__]
        self.ends = (int(observer.quant_min), int(observer.quant_max))
        self.axis = int(fake.ch_axis) if fake.is_per_channel else None
        self.symmetric = "symmetric" in str(fake.qscheme)
        self.share = float(getattr(observer, "averaging_constant", 1.0))
        self.scale, self.zero_point = fake.scale.detach().clone(), fake.zero_point.detach().clone()
        self.observes = bool(fake.observer_enabled[0])
        self.quantizes = bool(fake.fake_quant_enabled[0])
        # another observer than the fused operator's is not fake quantization: it stays itself
        self.observer = None if self.fused else copy.deepcopy(observer)
        self.low, self.high = (
            getattr(observer, end, torch.tensor(0.0)).detach().clone()
            for end in ("min_val", "max_val")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.observes:
            self._observe(x.detach())
        if self.fused:  # in each call, whether it observed or not
            self.scale, self.zero_point = choose_fused(
                self.low.reshape(-1), self.high.reshape(-1), self.ends, symmetric=self.symmetric
            )
        if not self.quantizes:
            return x
        shape = [1] * x.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        scale, zero = self.scale.reshape(shape), self.zero_point.reshape(shape)
        found: torch.Tensor = _StraightThrough.apply(x, scale, zero.float(), self.ends)
        return found

    @torch.no_grad()
    def _observe(self, x: torch.Tensor) -> None:
        if self.observer is not None:
            self.observer(x)
            self.scale, zero = self.observer.calculate_qparams()
            self.zero_point = zero.to(self.zero_point.dtype)
            self.low = getattr(self.observer, "min_val", self.low)
            self.high = getattr(self.observer, "max_val", self.high)
            return
        rows = x.reshape(1, -1) if self.axis is None else x.transpose(0, self.axis).flatten(1)
        low, high = rows.amin(dim=1), rows.amax(dim=1)
        if self.axis is None and self.low.ndim == 0:
            low, high = low[0], high[0]
        if self.low.numel() != low.numel() or bool(torch.isinf(self.low).any()):
            self.low, self.high = low, high
        else:
            self.low = self.low + self.share * (low - self.low)
            self.high = self.high + self.share * (high - self.high)


def choose_fused(
    low: torch.Tensor, high: torch.Tensor, ends: tuple[int, int], *, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales float32 (C,) and zero points int32 (C,) of ranges (C,), as FBGEMM chooses them."""
    lowest, highest = low.double().clamp(max=0), high.double().clamp(min=0)
    qmin, qmax = ends
    if symmetric:
        half = (qmax - qmin) // 2
        both = (lowest < 0) & (highest > 0)
        size = torch.maximum(lowest / -(half + 1), highest / half)
        lowest = torch.where(both, -size * (half + 1), lowest)
        highest = torch.where(both, size * half, highest)
    scale = ((highest - lowest) / (qmax - qmin)).float().double()
    empty = (scale == 0) | torch.isinf(1 / scale)
    scale = torch.where(empty, torch.full_like(scale, 0.1), scale)
    small = scale < _SMALLEST_SCALE
    # in float32, as there: it decides ties of the zero point
    wider = (torch.tensor(_SMALLEST_SCALE) / scale.float()).where(small, torch.tensor(1.0))
    lowest, highest = (
        (end.float() * wider).double().where(small, end) for end in (lowest, highest)
    )
    scale = torch.where(small, torch.full_like(scale, _SMALLEST_SCALE).float().double(), scale)
    from_low, from_high = qmin - lowest / scale, qmax - highest / scale
    nearer = abs(qmin) + (lowest / scale).abs() < abs(qmax) + (highest / scale).abs()
    zero = torch.where(nearer, from_low, from_high)
    if symmetric:
        zero = torch.where(both, torch.full_like(zero, (qmin + qmax) / 2), zero)
    return scale.float(), zero.round().clamp(qmin, qmax).int()


def with_plain_fake_quantize(model: nn.Module) -> tuple[nn.Module, dict[str, PlainFakeQuantize]]:
    """A copy of a prepared model whose known fake-quantizers are plain ones, and those by name.

    One that a graph has under several names is one in the copy, too.
    """
    known = {n: m for n, m in fake_quantizers(model).items() if type(m).__name__ in KINDS}
    plain = {name: PlainFakeQuantize(fake) for name, fake in known.items()}
    # what is copied already, for deepcopy, is taken instead
    copies: dict[int, Any] = {id(fake): plain[name] for name, fake in known.items()}
    return copy.deepcopy(model, copies), plain


def fake_quantizers(model: nn.Module) -> dict[str, Any]:
    """The fake-quantizers of a model by name, each once."""
    return {n: m for n, m in model.named_modules() if hasattr(m, "fake_quant_enabled")}
