"""Affine quantization with one scale: what it means, for every implementation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.quantization import reference
from tests.invariants.implementations import (
    FAKE,
    FAKE_TENSOR_PARAMETERS,
    TENSORS,
    Implementation,
    with_,
)
from tests.invariants.snippet import Snippet, expect_between, expect_equal, snippet
from tests.invariants.strategies import (
    TensorCase,
    any_scales,
    powers_of_two,
    tensor_cases,
    zero_points,
)
from tests.invariants.tolerances import QUANTIZE_ROUNDINGS, UNIT, between

# Beyond this float32 cannot hold zero point + code exactly, and dequantizing would overflow.
_MODERATE = {"lowest": -100, "highest": 100}


def call(implementation: Implementation, what: str, case: TensorCase) -> Snippet:
    expression = implementation.expression(what, case.codes)
    return snippet(expression, prepare=implementation.prepare, **case.inputs)


def oracle(case: TensorCase, x: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.int64]:
    lo, hi = case.codes
    values = case.x.values if x is None else x
    return reference.quantize(values, case.scale, case.zero_point, qmin=lo, qmax=hi)


@with_("quantize")
@given(data=st.data())
def test_power_of_two_scale_quantizes_exactly(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(
        tensor_cases(implementation.ranges, reach=implementation.reach, scales=powers_of_two())
    )
    expect_equal(call(implementation, "quantize", case), oracle(case))


@with_("fake_quantize")
@given(data=st.data())
def test_power_of_two_scale_fake_quantizes_exactly(
    implementation: Implementation, data: st.DataObject
) -> None:
    scales = powers_of_two(**_MODERATE)
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach, scales=scales))
    lo, hi = case.codes
    expected = reference.fake_quantize(case.x.values, case.scale, case.zero_point, qmin=lo, qmax=hi)
    expect_equal(call(implementation, "fake_quantize", case), expected)


@with_("quantize")
@given(data=st.data())
def test_ties_go_to_even(implementation: Implementation, data: st.DataObject) -> None:
    codes = data.draw(st.sampled_from(implementation.ranges))
    scale, zero_point = data.draw(powers_of_two()), data.draw(zero_points(codes))
    below = np.arange(codes[0] - zero_point, codes[1] - zero_point)
    x = ((below + 0.5) * scale).astype(np.float32)
    made = snippet(
        implementation.expression("quantize", codes),
        prepare=implementation.prepare,
        x=x, s=scale, z=zero_point, lo=codes[0], hi=codes[1],
    )  # fmt: skip
    expect_equal(made, np.where(below % 2 == 0, below, below + 1) + zero_point)


@with_("quantize")
@given(data=st.data())
def test_any_scale_quantizes_to_the_nearest_code(
    implementation: Implementation, data: st.DataObject
) -> None:
    """Only values within the float32 error of a tie may go to either side."""
    case = data.draw(
        tensor_cases(implementation.ranges, reach=implementation.reach, scales=any_scales())
    )
    lo, hi = case.codes
    step = reference.exact_scale(case.scale)
    real = np.array([Fraction(float(v)) / step for v in case.x.values.flat], dtype=object)
    real = real.reshape(case.x.values.shape)
    slack = abs(real) * UNIT * QUANTIZE_ROUNDINGS
    ends = between(real, slack, zero_point=case.zero_point, qmin=lo, qmax=hi)
    expect_between(call(implementation, "quantize", case), *ends)


@with_("quantize")
@given(data=st.data())
def test_division_is_by_the_float32_reciprocal(
    implementation: Implementation, data: st.DataObject
) -> None:
    """Not what quantization means but how torch does it: other roundings move codes at ties."""
    case = data.draw(
        tensor_cases(implementation.ranges, reach=implementation.reach, scales=any_scales())
    )
    with np.errstate(over="ignore", under="ignore"):
        reciprocal = np.float32(1) / np.float32(case.scale)
        product = case.x.values * reciprocal
    codes = np.clip(np.rint(product.astype(np.float64)) + case.zero_point, *case.codes)
    expect_equal(call(implementation, "quantize", case), codes.astype(np.int64))


@with_("quantize", reach=math.inf)
@given(data=st.data())
def test_infinities_saturate(implementation: Implementation, data: st.DataObject) -> None:
    scales = powers_of_two(**_MODERATE)
    case = data.draw(
        tensor_cases(
            implementation.ranges, reach=implementation.reach, scales=scales, infinite=True
        )
    )
    expect_equal(call(implementation, "quantize", case), oracle(case))


@with_("quantize")
@given(data=st.data())
def test_codes_lie_in_the_range(implementation: Implementation, data: st.DataObject) -> None:
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach, infinite=True))
    lo, hi = case.codes
    shape = case.x.values.shape
    expect_between(call(implementation, "quantize", case), np.full(shape, lo), np.full(shape, hi))


@with_("dequantize")
@given(data=st.data())
def test_dequantize_rounds_once(implementation: Implementation, data: st.DataObject) -> None:
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach))
    q = oracle(case)
    made = snippet(
        implementation.expression("dequantize", case.codes),
        prepare=implementation.prepare,
        **{**case.inputs, "x": "None", "q": q.astype(np.int8 if case.codes[0] < 0 else np.uint8)},
    )
    expect_equal(made, reference.dequantize(q, case.scale, case.zero_point))


@with_("fake_quantize")
@given(data=st.data())
def test_round_trip_is_within_half_a_step_and_saturates_outside(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(
        tensor_cases(
            implementation.ranges, reach=implementation.reach, scales=any_scales(**_MODERATE)
        )
    )
    lo, hi = case.codes
    step = reference.exact_scale(case.scale)
    ends = [(end - case.zero_point) * step for end in (lo, hi)]
    low, high = [], []
    for value in case.x.values.flat:
        inside = min(max(Fraction(float(value)), ends[0]), ends[1])
        # Half a step, and the roundings of the quotient and of the result.
        reach = step / 2 + abs(inside) * UNIT * (QUANTIZE_ROUNDINGS + 1)
        low.append(reference.to_float32(max(inside - reach, ends[0])))
        high.append(reference.to_float32(min(inside + reach, ends[1])))
    shape = case.x.values.shape
    made = call(implementation, "fake_quantize", case)
    expect_between(made, np.reshape(low, shape), np.reshape(high, shape))


@with_("fake_quantize")
@given(data=st.data())
def test_quantizing_again_changes_nothing(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(
        tensor_cases(
            implementation.ranges, reach=implementation.reach, scales=any_scales(**_MODERATE)
        )
    )
    once = call(implementation, "fake_quantize", case)
    first = once.array()
    inputs = {**case.inputs, "x": first}
    again = snippet(once.expression, prepare=once.prepare, **inputs)
    expect_equal(again, first)


@with_("fake_quantize")
@given(data=st.data())
def test_order_is_kept(implementation: Implementation, data: st.DataObject) -> None:
    case = data.draw(
        tensor_cases(
            implementation.ranges, reach=implementation.reach, scales=any_scales(**_MODERATE)
        )
    )
    inputs = {**case.inputs, "x": np.sort(case.x.values, axis=None)}
    expression = implementation.expression("fake_quantize", case.codes)
    found = snippet(expression, prepare=implementation.prepare, **inputs)
    assert bool(np.all(np.diff(found.array()) >= 0)), found.one_line("ascending values")


@with_("fake_quantize")
@given(data=st.data())
def test_zero_is_exact(implementation: Implementation, data: st.DataObject) -> None:
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach))
    zeros = np.zeros(case.x.values.size, dtype=np.float32)
    zeros[::2] *= -1
    expression = implementation.expression("fake_quantize", case.codes)
    inputs = {**case.inputs, "x": zeros}
    expect_equal(snippet(expression, prepare=implementation.prepare, **inputs), zeros)


@with_("quantize")
@given(data=st.data())
def test_another_zero_point_shifts_the_codes(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach))
    other = data.draw(zero_points(case.codes))
    made = call(implementation, "quantize", case)
    codes, shift = made.array(), other - case.zero_point
    moved = snippet(made.expression, prepare=made.prepare, **{**case.inputs, "z": other})
    lo, hi = case.codes
    shifted = np.clip(codes + shift, lo, hi)
    # A code at an end of the range may stand for values beyond it.
    low = np.where((codes == lo) & (shift > 0), lo, shifted)
    high = np.where((codes == hi) & (shift < 0), hi, shifted)
    expect_between(moved, low, high)


@with_("quantize")
@given(data=st.data())
def test_scaling_data_and_scale_by_a_power_of_two_changes_nothing(
    implementation: Implementation, data: st.DataObject
) -> None:
    scales = any_scales(lowest=-40, highest=40)
    case = data.draw(tensor_cases(implementation.ranges, reach=implementation.reach, scales=scales))
    factor = np.float32(2.0 ** data.draw(st.integers(-20, 20)))
    # Denormals and overflow would change the data, not only scale it.
    usual = (abs(case.x.values) > 2.0**-100) & (abs(case.x.values) < 2.0**100)
    x = np.where(usual, case.x.values, np.float32(0)).reshape(-1)
    expression = implementation.expression("quantize", case.codes)
    codes = snippet(expression, prepare=implementation.prepare, **{**case.inputs, "x": x}).array()
    scaled = {**case.inputs, "x": x * factor, "s": case.scale * float(factor)}
    expect_equal(snippet(expression, prepare=implementation.prepare, **scaled), codes)


@with_("fake_quantize")
@given(data=st.data())
def test_fake_quantize_is_quantize_then_dequantize(
    implementation: Implementation, data: st.DataObject
) -> None:
    """Bit for bit with the quantized tensors, for the ranges of codes these have."""
    both_have = tuple(r for r in implementation.ranges if r[1] - r[0] == 255)
    case = data.draw(tensor_cases(both_have, reach=TENSORS.reach, scales=any_scales(**_MODERATE)))
    dtype = "torch.qint8" if case.codes[0] < 0 else "torch.quint8"
    both = snippet(f"torch.quantize_per_tensor(x, s, z, {dtype}).dequantize()", **case.inputs)
    expect_equal(call(implementation, "fake_quantize", case), both.array())


@pytest.mark.parametrize("implementation", [FAKE, FAKE_TENSOR_PARAMETERS], ids=lambda i: i.name)
@given(data=st.data())
def test_gradients_pass_inside_the_range_only(
    implementation: Implementation, data: st.DataObject
) -> None:
    """The straight-through estimator (Jacob et al., section 3), counted with the oracle."""
    scales = powers_of_two(**_MODERATE)
    drawn = tensor_cases(implementation.ranges, scales=scales, reach=implementation.reach)
    case = data.draw(drawn)
    lo, hi = case.codes
    wide = reference.quantize(case.x.values, case.scale, case.zero_point, qmin=-(2**62), qmax=2**62)
    inside = (lo <= wide) & (wide <= hi)
    expression = implementation.expression("fake_quantize", case.codes)
    gradient = f"torch.autograd.grad({expression}.sum(), x)[0]"
    made = snippet(gradient, **{**case.inputs, "x": f"{case.x.source()}.requires_grad_()"})
    expect_equal(made, inside.astype(np.float32))
