"""Observers: from data to a range, and from a range to scale and zero point."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.ao.quantization import observer as observers

from qreg.quantization import reference
from tests.invariants import deviations
from tests.invariants.snippet import snippet
from tests.invariants.tolerances import (
    AVERAGE_ROUNDINGS,
    DENORMAL_UNIT,
    HISTOGRAM_MASS,
    SCALE_ROUNDINGS,
    UNIT,
)

#: torch's observers allow no scale below this (their argument ``eps``).
_EPS = float(np.finfo(np.float32).eps)
_KINDS: dict[str, Any] = {
    "min-max quint8": (observers.MinMaxObserver, torch.quint8, torch.per_tensor_affine),
    "min-max qint8": (observers.MinMaxObserver, torch.qint8, torch.per_tensor_affine),
    "min-max symmetric": (observers.MinMaxObserver, torch.qint8, torch.per_tensor_symmetric),
    "min-max symmetric quint8": (
        observers.MinMaxObserver, torch.quint8, torch.per_tensor_symmetric,
    ),
    "moving average": (
        observers.MovingAverageMinMaxObserver, torch.quint8, torch.per_tensor_affine,
    ),
    "histogram": (observers.HistogramObserver, torch.quint8, torch.per_tensor_affine),
    "per channel": (
        observers.PerChannelMinMaxObserver, torch.qint8, torch.per_channel_symmetric,
    ),
    "per channel affine": (
        observers.PerChannelMinMaxObserver, torch.qint8, torch.per_channel_affine,
    ),
}  # fmt: skip
#: Those whose range is that of all data seen, in whatever order and batches.
_EXTREMES = [kind for kind in _KINDS if kind not in ("moving average", "histogram")]
_ALL_CODES = {torch.qint8: (-128, 127), torch.quint8: (0, 255)}

finite = st.floats(-(2.0**40), 2.0**40, width=32)
lists = st.lists(finite, min_size=1, max_size=40)


def make(kind: str, **extra: Any) -> Any:
    """A fresh observer. Half the codes are left out where ``reduce_range`` is given."""
    cls, dtype, scheme = _KINDS[kind]
    return cls(dtype=dtype, qscheme=scheme, **extra)


def seen(kind: str, batches: list[Any], **extra: Any) -> Any:
    """A fresh observer after these batches, each as rows of one channel where it needs them."""
    found = make(kind, **extra)
    for batch in batches:
        found(torch.tensor(batch).reshape(1, -1))
    return found


def parameters(found: Any) -> tuple[float, int]:
    scale, zero_point = found.calculate_qparams()
    return float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0])


def expected(
    kind: str, low: float, high: float, codes: tuple[int, int]
) -> reference.ExactParameters:
    symmetric = "symmetric" in str(_KINDS[kind][2])
    choose = reference.choose_symmetric if symmetric else reference.choose_affine
    return choose(low, high, qmin=codes[0], qmax=codes[1], smallest=_EPS)


@pytest.mark.parametrize("reduce_range", [False, True], ids=["all codes", "half the codes"])
@pytest.mark.parametrize("kind", _EXTREMES)
@given(values=lists)
def test_parameters_are_those_of_the_range(
    kind: str, reduce_range: bool, values: list[float]
) -> None:
    """The scale within float32's rounding, the zero point within that of its quotient."""
    if kind == "min-max symmetric quint8" and reduce_range:
        with pytest.raises(NotImplementedError):
            make(kind, reduce_range=True)
        return
    found = seen(kind, [values], reduce_range=reduce_range)
    lo, hi = _ALL_CODES[_KINDS[kind][1]]
    codes = (lo // 2, hi // 2) if reduce_range else (lo, hi)
    scale, zero_point = parameters(found)
    exact = expected(kind, min(values), max(values), codes)
    assert abs(Fraction(scale) - exact.scale) <= exact.scale * UNIT * SCALE_ROUNDINGS
    ratio = min(Fraction(min(values)), Fraction(0)) / exact.scale
    near_tie = abs(abs(ratio % 1) - Fraction(1, 2)) <= abs(ratio) * UNIT * (SCALE_ROUNDINGS + 1)
    allowed = 1 if near_tie and "symmetric" not in str(_KINDS[kind][2]) else 0
    assert abs(zero_point - exact.zero_point) <= allowed, (zero_point, exact)


@pytest.mark.parametrize("kind", _EXTREMES)
@given(zero=st.integers(0, 255), exponent=st.integers(-20, 20), data=st.data())
def test_a_range_of_whole_steps_gives_exact_parameters(
    kind: str, zero: int, exponent: int, data: st.DataObject
) -> None:
    step = 2.0**exponent
    lo, hi = _ALL_CODES[_KINDS[kind][1]]
    if "symmetric" in str(_KINDS[kind][2]):
        values, at = [-127.5 * step, 127.5 * step, step], (lo + hi + 1) // 2
    else:
        values, at = [-zero * step, (255 - zero) * step, 0.0], lo + zero
    found = seen(kind, [data.draw(st.permutations(values))])
    assert parameters(found) == (step, at)
    exact = expected(kind, min(values), max(values), (lo, hi))
    assert parameters(found) == (float(exact.scale), exact.zero_point)


@pytest.mark.parametrize("kind", ["min-max quint8", "min-max qint8", "per channel affine"])
@given(below=st.integers(0, 254), exponent=st.integers(-20, 20))
def test_a_range_that_begins_at_half_a_step_has_an_even_number_below_zero(
    kind: str, below: int, exponent: int
) -> None:
    """The zero point's own ties go to even."""
    step = 2.0**exponent
    values = [-(below + 0.5) * step, (254.5 - below) * step]
    lo, hi = _ALL_CODES[_KINDS[kind][1]]
    exact = expected(kind, min(values), max(values), (lo, hi))
    assert parameters(seen(kind, [values])) == (step, exact.zero_point)
    assert (exact.zero_point - lo) % 2 == 0


@given(values=lists)
def test_codes_around_zero_give_a_zero_point_of_zero(values: list[float]) -> None:
    """-127 .. 127, as weights often have it: the middle of an odd number of codes."""
    found = seen("min-max symmetric", [values], quant_min=-127, quant_max=127)
    exact = expected("min-max symmetric", min(values), max(values), (-127, 127))
    assert parameters(found)[1] == exact.zero_point == 0
    scale = Fraction(parameters(found)[0])
    assert abs(scale - exact.scale) <= exact.scale * UNIT * SCALE_ROUNDINGS


@pytest.mark.parametrize("kind", _EXTREMES)
@given(values=lists, data=st.data())
def test_order_and_batches_do_not_matter(
    kind: str, values: list[float], data: st.DataObject
) -> None:
    whole = seen(kind, [values])
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(1, len(values)))
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    other = seen(kind, parts)
    assert parameters(whole) == parameters(other)
    assert torch.equal(whole.min_val, other.min_val)
    assert torch.equal(whole.max_val, other.max_val)


@pytest.mark.parametrize("kind", ["moving average", "histogram"])
@given(values=lists, data=st.data())
def test_order_within_a_batch_does_not_matter(
    kind: str, values: list[float], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(values))
    one, other = (seen(kind, [order]).state_dict() for order in (values, shuffled))
    # The state and not the parameters: the histogram's search for these takes 0.3 s a call.
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_histogram_gives_the_same_parameters_in_any_order() -> None:
    values = [0.1 * k * k - 3 for k in range(40)]
    one, other = (parameters(seen("histogram", [v])) for v in (values, values[::-1]))
    assert one == other
    assert 0 < one[0] <= (max(values) - min(values)) / 255 * (1 + 2.0**-20)


@example([[0.0], [2.0**-149]])
@given(batches=st.lists(lists, min_size=1, max_size=4))
def test_moving_average_moves_by_its_constant(batches: list[list[float]]) -> None:
    """``range += 0.01 * (batch range - range)``, within float32's rounding of each step."""
    found = seen("moving average", [*batches])
    low, high = Fraction(min(batches[0])), Fraction(max(batches[0]))
    slack = Fraction(0)
    for batch in batches[1:]:
        size = abs(low) + abs(high) + max(abs(Fraction(v)) for v in batch)
        slack += (size * UNIT + DENORMAL_UNIT) * AVERAGE_ROUNDINGS
        low += (Fraction(min(batch)) - low) / 100
        high += (Fraction(max(batch)) - high) / 100
    assert abs(Fraction(float(found.min_val)) - low) <= slack
    assert abs(Fraction(float(found.max_val)) - high) <= slack


@given(batches=st.lists(lists, min_size=1, max_size=4), data=st.data())
def test_histogram_holds_the_range_in_any_order(
    batches: list[list[float]], data: st.DataObject
) -> None:
    every = [value for batch in batches for value in batch]
    for order in (batches, data.draw(st.permutations(batches))):
        found = seen("histogram", order)
        assert float(found.min_val) == min(every)
        assert float(found.max_val) == max(every)
        mass = deviations.histogram_mass(order)
        assert float(found.histogram.sum()) == pytest.approx(mass, rel=HISTOGRAM_MASS)


@pytest.mark.parametrize("kind", _EXTREMES)
@given(values=lists)
def test_range_covers_what_was_seen(kind: str, values: list[float]) -> None:
    """No value seen moves by more than half a step, the ends of the range included."""
    scale, zero_point = parameters(seen(kind, [values]))
    lo, hi = _ALL_CODES[_KINDS[kind][1]]
    call = snippet(
        "torch.fake_quantize_per_tensor_affine(x, s, z, lo, hi)",
        x=np.array(values, np.float32), s=scale, z=zero_point, lo=lo, hi=hi,
    )  # fmt: skip
    for value, back in zip(values, call.array(), strict=True):
        moved = abs(Fraction(value) - Fraction(float(back)))
        # Half a step, and the few roundings of a value that is up to 255 steps away.
        assert moved <= Fraction(scale) * (Fraction(1, 2) + 256 * 8 * UNIT), call.one_line("")


@pytest.mark.parametrize("kind", _KINDS)
@given(value=finite, count=st.sampled_from((1, 2, 33)))
def test_constant_input_is_representable(kind: str, value: float, count: int) -> None:
    found = seen(kind, [[value] * count])
    lo, hi = _ALL_CODES[_KINDS[kind][1]]
    exact = expected(kind, value, value, (lo, hi))
    scale, zero_point = parameters(found)
    assert lo <= zero_point <= hi
    assert abs(Fraction(scale) - exact.scale) <= exact.scale * UNIT * SCALE_ROUNDINGS


@given(rows=st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=9))
def test_each_channel_is_observed_as_if_it_were_alone(rows: list[list[float]]) -> None:
    for many, one in (
        ("per channel", "min-max symmetric"),
        ("per channel affine", "min-max qint8"),
    ):
        found = make(many)
        found(torch.tensor(rows))
        scales, zero_points = found.calculate_qparams()
        alone = [parameters(seen(one, [row])) for row in rows]
        assert list(zip(scales.tolist(), zero_points.tolist(), strict=True)) == alone


def _dynamic(x: npt.NDArray[np.float32], reduce_range: bool) -> tuple[float, int]:
    made = "torch.ops.aten._choose_qparams_per_tensor"
    engine = "torch.backends.quantized.engine = 'fbgemm'"
    call = snippet(f"{made}(x, {reduce_range})", prepare=(engine,), x=x)
    scale, zero_point = call.value()
    return float(scale), int(zero_point)


@pytest.mark.parametrize("reduce_range", [False, True], ids=["8 bits", "7 bits"])
@given(values=lists)
def test_dynamic_parameters_are_those_of_the_range(reduce_range: bool, values: list[float]) -> None:
    """fbgemm's ``ChooseQuantizationParams``, in double: rounded once, on return."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no fbgemm in this PyTorch")
    highest = 127 if reduce_range else 255
    low, high = min(*values, 0.0), max(*values, 0.0)
    if (high - low) / highest < 2 * 6.1e-5:
        return  # below its smallest scale; the next test
    scale, zero_point = _dynamic(np.array(values, np.float32), reduce_range)
    exact = reference.choose_affine(low, high, qmin=0, qmax=highest)
    assert abs(Fraction(scale) - exact.scale) <= exact.scale * UNIT
    ratio = Fraction(low) / exact.scale
    near_tie = abs(abs(ratio % 1) - Fraction(1, 2)) <= Fraction(1, 2**40)
    assert abs(zero_point - exact.zero_point) <= near_tie


@given(share=st.integers(0, 255), size=st.floats(2.0**-60, 2.0**-8, width=32))
def test_dynamic_scale_has_a_floor_that_keeps_the_zero_point(share: int, size: float) -> None:
    """fbgemm, ``SMALL_SCALE_THRESHOLD``: 6.1e-5; min and max grow with the scale."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no fbgemm in this PyTorch")
    step = np.float32(size / 255)
    x = np.array([-share * step, (255 - share) * step], dtype=np.float32)
    scale, zero_point = _dynamic(x, False)
    assert scale == float(np.float32(6.1e-5))
    assert zero_point == share
