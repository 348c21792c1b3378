"""The modules that QAT trains with: what they give, their gradients, and the ranges they observe.

The functions that they call are tested elsewhere; a module that never calls one is not seen there.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.ao.quantization import fake_quantize

from qreg.quantization import reference
from tests.invariants.snippet import Snippet, expect_between, expect_equal, snippet
from tests.invariants.strategies import any_scales, data, powers_of_two, zero_points
from tests.invariants.tolerances import AVERAGE_ROUNDINGS, QUANTIZE_ROUNDINGS, UNIT

#: Where the modules are: those of torch.ao, and their successors.
_HOMES = {
    "torch.ao": ("torch.ao.quantization.fake_quantize", "torch.ao.quantization.observer"),
    "torchao": ("torchao.quantization.pt2e.fake_quantize", "torchao.quantization.pt2e.observer"),
}
# FBGEMM raises smaller scales to 6.1e-5; the fused operator chooses its own
_LOWEST, _HIGHEST = -13, 60
QINT8, QUINT8 = (-128, 127), (0, 255)


@dataclass(frozen=True)
class Kind:
    """A module as source text over ``s``, ``z``, ``lo`` and ``hi``, with its observer off.

    Attributes:
        codes: the ranges of codes it has.
        channels: a scale a channel, over the rows of ``x``.
        symmetric: its zero point is 0.
        home: of `_HOMES`.
    """

    name: str
    made: str
    codes: tuple[tuple[int, int], ...]
    channels: bool = False
    symmetric: bool = False
    home: str = "torch.ao"

    @property
    def prepare(self) -> tuple[str, ...]:
        """Imports of the modules and of their observers."""
        modules, observers = _HOMES[self.home]
        return f"import {modules} as fq", f"import {observers} as ob"

    @property
    def source(self) -> str:
        """The module; torchao's take dtypes of plain tensors."""
        return self.made if self.home == "torch.ao" else self.made.replace("torch.q", "torch.")

    @property
    def classes(self) -> tuple[Any, ...]:
        """Those whose forward is called."""
        found = importlib.import_module(_HOMES[self.home][0])
        return found.FakeQuantize, found.FusedMovingAvgObsFakeQuantize


_SET = (
    "(lambda m: (m.disable_observer(), setattr(m, 'scale', torch.tensor({s})), "
    "setattr(m, 'zero_point', torch.tensor({z}, dtype=torch.int32)), m)[-1])({made})"
)
# of a fused module the range, from which it chooses scale and zero point in each call
_RANGE = (
    "(lambda m: (m.disable_observer(), "
    "setattr(m.activation_post_process, 'min_val', torch.tensor({low})), "
    "setattr(m.activation_post_process, 'max_val', torch.tensor({high})), m)[-1])({made})"
)
_DTYPE = "dtype=torch.qint8 if lo < 0 else torch.quint8"
KINDS = (
    Kind(
        "FakeQuantize",
        _SET.format(
            s="[s]",
            z="[z]",
            made="fq.FakeQuantize(observer=ob.MinMaxObserver, quant_min=lo, quant_max=hi, "
            f"{_DTYPE})",
        ),
        (QINT8, QUINT8, (0, 127)),
    ),
    Kind(
        "FakeQuantize, channels",
        _SET.format(
            s="[s] * len(x)",
            z="[z] * len(x)",
            made="fq.FakeQuantize(observer=ob.PerChannelMinMaxObserver, quant_min=lo, "
            "quant_max=hi, dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0)",
        ),
        (QINT8,),
        channels=True,
        symmetric=True,
    ),
    Kind(
        "FusedMovingAvgObsFakeQuantize",
        _RANGE.format(
            low="(lo - z) * s",
            high="(hi - z) * s",
            made=f"fq.FusedMovingAvgObsFakeQuantize(quant_min=lo, quant_max=hi, {_DTYPE})",
        ),
        (QINT8, QUINT8, (0, 127)),
    ),
    Kind(
        "FusedMovingAvgObsFakeQuantize, channels",
        _RANGE.format(
            low="[lo * s] * len(x)",
            high="[hi * s] * len(x)",
            made="fq.FusedMovingAvgObsFakeQuantize("
            "observer=ob.MovingAveragePerChannelMinMaxObserver, quant_min=lo, quant_max=hi, "
            "dtype=torch.qint8, qscheme=torch.per_channel_symmetric, ch_axis=0)",
        ),
        (QINT8,),
        channels=True,
        symmetric=True,
    ),
)


def _of(home: str) -> Iterator[Any]:
    absent = importlib.util.find_spec(home) is None
    mark = pytest.mark.skipif(absent, reason=f"{home} is not installed")
    for kind in KINDS:
        name = f"{home} {kind.name}".replace(" ", "-")
        yield pytest.param(replace(kind, home=home), id=name, marks=mark)


_EACH = pytest.mark.parametrize("kind", [one for home in _HOMES for one in _of(home)])
_OF_TORCH = pytest.mark.parametrize("kind", list(_of("torch.ao")))
#: Every example makes a module: half as many as elsewhere.
_FEWER = settings(max_examples=max(5, settings().max_examples // 2))
_OUTPUT = "{made}(x).detach()"
_GRADIENT = (
    "(lambda leaf: torch.autograd.grad(({made}(leaf) * slopes).sum(), leaf, "
    "allow_unused=True)[0])(x.clone().requires_grad_())"
)


@dataclass(frozen=True)
class Fed:
    """What a module is fed: float32 values, scale, zero point and codes."""

    x: np.ndarray
    scale: float
    zero_point: int
    codes: tuple[int, int]

    def call(self, kind: Kind, expression: str, **more: Any) -> Snippet:
        lo, hi = self.codes
        rows = self.x.reshape(1, -1) if kind.channels else self.x
        # the inputs come first: what is made of them needs them
        return snippet(
            expression.replace("{made}", kind.source), prepare=kind.prepare,
            x=rows, s=self.scale, z=self.zero_point, lo=lo, hi=hi, **more,
        )  # fmt: skip


@st.composite
def fed(draw: st.DrawFn, kind: Kind, scales: st.SearchStrategy[float]) -> Fed:
    codes = draw(st.sampled_from(kind.codes))
    scale = draw(scales)
    zero_point = 0 if kind.symmetric else draw(zero_points(codes))
    values = draw(data(scale, zero_point, codes))
    near = np.float32(scale * 2.0**20)
    return Fed(np.clip(values, -near, near), scale, zero_point, codes)


def _exact() -> st.SearchStrategy[float]:
    return powers_of_two(lowest=_LOWEST, highest=_HIGHEST)


def check_output(kind: Kind, case: Fed) -> None:
    lo, hi = case.codes
    expected = reference.fake_quantize(case.x, case.scale, case.zero_point, qmin=lo, qmax=hi)
    found = case.call(kind, _OUTPUT)
    expect_equal(found, expected.reshape(1, -1) if kind.channels else expected)


def check_gradient(kind: Kind, case: Fed) -> None:
    """1 where the rounded value is within the codes, 0 where it is outside: times the slopes."""
    lo, hi = case.codes
    slopes = np.linspace(0.5, 1.5, case.x.size, dtype=np.float32).reshape(case.x.shape)
    codes = reference.quantize(
        case.x, case.scale, case.zero_point, qmin=lo - 2**24, qmax=hi + 2**24
    )
    expected = np.where((codes >= lo) & (codes <= hi), slopes, np.float32(0))
    shape = (1, -1) if kind.channels else case.x.shape
    given_slopes, wanted = slopes.reshape(shape), expected.reshape(shape)
    expect_equal(case.call(kind, _GRADIENT, slopes=given_slopes), wanted)


@_EACH
@_FEWER
@given(draw=st.data())
def test_output_is_that_of_the_definition(kind: Kind, draw: st.DataObject) -> None:
    check_output(kind, draw.draw(fed(kind, _exact())))


@_EACH
@_FEWER
@given(draw=st.data())
def test_gradient_is_straight_through_inside_and_zero_outside(
    kind: Kind, draw: st.DataObject
) -> None:
    check_gradient(kind, draw.draw(fed(kind, _exact())))


@_OF_TORCH
@_FEWER
@given(draw=st.data())
def test_any_scale_gives_the_nearest_code_and_a_gradient_of_0_or_1(
    kind: Kind, draw: st.DataObject
) -> None:
    """Within the rounding of the quotient; of a fused module, of the scale it chooses, too."""
    case = draw.draw(fed(kind, any_scales(lowest=_LOWEST + 1, highest=_HIGHEST)))
    lo, hi = case.codes
    step = reference.exact_scale(case.scale)
    low, high, none, one = [], [], [], []
    for value in case.x.flat:
        real = Fraction(float(value)) / step
        slack = (abs(real) + 1) * UNIT * (QUANTIZE_ROUNDINGS + 4) + 256 * UNIT
        ends = [math.ceil(real - slack - Fraction(1, 2)), math.floor(real + slack + Fraction(1, 2))]
        codes = [min(max(end + case.zero_point, lo), hi) for end in ends]
        values = [(code - case.zero_point) * step for code in codes]
        wide = [abs(value) * UNIT * 8 for value in values]
        low.append(reference.to_float32(values[0] - wide[0]))
        high.append(reference.to_float32(values[1] + wide[1]))
        inside = [lo <= end + case.zero_point <= hi for end in ends]
        none.append(0.0 if not all(inside) else 1.0)
        one.append(1.0 if any(inside) else 0.0)
    shape = (1, -1) if kind.channels else case.x.shape
    as_array = [np.array(each, np.float32).reshape(shape) for each in (low, high, none, one)]
    expect_between(case.call(kind, _OUTPUT), as_array[0], as_array[1])
    ones = np.ones(as_array[0].shape, np.float32)
    expect_between(case.call(kind, _GRADIENT, slopes=ones), as_array[2], as_array[3])


_BATCHES = st.lists(
    st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=20),
    min_size=1,
    max_size=4,
)


@given(batches=_BATCHES)
def test_a_fused_range_moves_by_its_constant(batches: list[list[float]]) -> None:
    """``range += 0.01 * (batch's range - range)``, as of the observer itself."""
    module = fake_quantize.FusedMovingAvgObsFakeQuantize(quant_min=0, quant_max=255)
    for batch in batches:
        module(torch.tensor(batch))
    low, high = (Fraction(end(batches[0])) for end in (min, max))
    slack = Fraction(0)
    for batch in batches[1:]:
        size = abs(low) + abs(high) + max(abs(Fraction(v)) for v in batch)
        slack += size * UNIT * AVERAGE_ROUNDINGS + Fraction(1, 2**140)
        low += (Fraction(min(batch)) - low) / 100
        high += (Fraction(max(batch)) - high) / 100
    observer = module.activation_post_process
    assert abs(Fraction(float(observer.min_val)) - low) <= slack
    assert abs(Fraction(float(observer.max_val)) - high) <= slack


@given(values=st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20))
def test_a_module_that_is_switched_off_passes_values_and_gradients_on(values: list[float]) -> None:
    for made in (fake_quantize.FakeQuantize, fake_quantize.FusedMovingAvgObsFakeQuantize):
        module = made(quant_min=0, quant_max=255)
        module.disable_fake_quant()
        x = torch.tensor(values, requires_grad=True)
        found = module(x)
        assert torch.equal(found, x)
        (gradient,) = torch.autograd.grad(found.sum(), x)
        assert torch.equal(gradient, torch.ones_like(x))


_EXAMPLE = np.array([-400.0, -3.25, 0.25, 1.0, 63.75, 400.0], dtype=np.float32)


def _broken(kind: Kind, what: str) -> Iterator[Any]:
    """Patches of both modules' forward: what a PyTorch that is broken so would do."""
    for owner in kind.classes:
        original = owner.forward

        def forward(self: Any, x: torch.Tensor, original: Any = original) -> torch.Tensor:
            if what == "passes through":
                return x
            found: torch.Tensor = original(self, x)
            if what == "gradient everywhere":
                return x + (found - x).detach()
            return found.detach() + 0 * x

        yield patch.object(owner, "forward", forward)


@_EACH
@pytest.mark.parametrize("what", ["passes through", "gradient everywhere", "no gradient"])
def test_a_broken_module_is_noticed(kind: Kind, what: str) -> None:
    """In a PyTorch whose modules are broken the properties above fail."""
    lo, hi = kind.codes[0]
    case = Fed(_EXAMPLE, 0.5, 0 if kind.symmetric else (lo + hi + 1) // 2, (lo, hi))
    check_output(kind, case)
    check_gradient(kind, case)
    patches = list(_broken(kind, what))
    for each in patches:
        each.start()
    try:
        with pytest.raises(AssertionError, match="differs"):
            (check_output if what == "passes through" else check_gradient)(kind, case)
    finally:
        for each in patches:
            each.stop()
