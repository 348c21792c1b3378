"""The oracle's rounding by itself, against what IEEE 754 hardware gives."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from qreg.quantization import reference


@example(float(np.finfo(np.float32).max))
@example(2.0**128)
@example(1e39)
@example(1.0)
@example(-1.0)
@example(-0.1)
@example(0.0)
@example(-(2.0**-149))
@example(1.5 * 2.0**-149)
@example(2.0**-150)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_to_float32_is_the_processors_conversion(value: float) -> None:
    """From binary64, round to nearest even, denormals and overflow included."""
    with np.errstate(over="ignore", under="ignore"):
        expected = float(np.float32(value))
    assert reference.to_float32(Fraction(value)) == expected


@example(float(np.finfo(np.float32).max), 0, 1)
@example(float(np.finfo(np.float32).max), -1, 1)
@example(1.0, 0, 1)
@example(1.0, 0, -1)
@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([-1, 1]),
)
def test_to_float32_at_and_next_to_ties(value: float, aside: int, sign: int) -> None:
    """Midway between two float32 numbers, and a hair to either side."""
    with np.errstate(over="ignore", under="ignore"):
        following = float(np.nextafter(np.float32(value), np.float32(sign * np.inf)))
    if math.isinf(following):
        following = math.copysign(2.0**128, following)
    middle = (Fraction(value) + Fraction(following)) / 2
    middle += aside * abs(Fraction(following) - Fraction(value)) / 2**20
    with np.errstate(over="ignore", under="ignore"):
        expected = float(np.float32(float(middle)))
    assert float(middle) == middle or aside
    assert reference.to_float32(middle) == expected


@pytest.mark.parametrize("divisor", [3, 7, 127, 255])
def test_to_float32_of_what_binary64_cannot_hold(divisor: int) -> None:
    """None of these lies so near a tie that binary64 would round it away."""
    for number in range(1, 300):
        expected = float(np.float32(number / divisor))
        assert reference.to_float32(Fraction(number, divisor)) == expected


@example(0, 0)
@example(-1, 2)
@example(1, 2)
@given(st.integers(-(10**6), 10**6), st.sampled_from([0, 1, 2, 3]))
def test_rounding_of_quarters(whole: int, quarters: int) -> None:
    value = whole + Fraction(quarters, 4)
    assert reference.round_half_even(value) == int(np.rint(float(value)))
    away = math.copysign(math.floor(abs(float(value)) + 0.5), value)
    assert reference.round_half_away(value) == int(away)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 2.0**-151, 1e39])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        reference.quantize([1.0], scale, 0, qmin=-128, qmax=127)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        reference.quantize([1.0, math.nan], 0.5, 0, qmin=-128, qmax=127)


@given(st.integers(1, 2**20), st.integers(-149, 103))
def test_a_scale_is_taken_as_float32(mantissa: int, exponent: int) -> None:
    exact = mantissa * Fraction(2) ** exponent
    assert reference.exact_scale(float(exact)) == exact
    assert reference.exact_scale(0.1) == Fraction(float(np.float32(0.1)))


def test_dequantize_rounds_once_where_binary64_would_twice() -> None:
    """Just above midway between two float32 numbers, and midway as binary64."""
    q = 2**54 + 2**30 + 1
    assert reference.dequantize([q], 1.0, 0)[0] == np.float32(2.0**54 + 2.0**31)


def test_omitted_arguments_give_a_plain_convolution() -> None:
    """Stride 1, no padding, no dilation, one group, weights around zero."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 128, (2, 3, 5, 6)), rng.integers(-128, 128, (4, 3, 2, 3))
    plain = torch.nn.functional.conv2d(torch.tensor(x - 7.0), torch.tensor(w * 1.0)).numpy()
    assert np.array_equal(reference.conv2d(x, w, zx=7), plain)
    for layout in ("fbgemm", "onednn"):
        pairs = reference.conv2d_in_pairs(x, w, zx=7, layout=layout)
        assert np.array_equal(pairs.accumulators, plain)
    rows, columns = x[0, 0], w[0, 0].repeat(2, axis=1)
    assert np.array_equal(reference.linear(rows, columns, zx=7), (rows - 7) @ columns.T)


def test_omitted_arguments_give_a_plain_pool() -> None:
    q = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7))
    real = torch.tensor(q * 1.0)
    largest = torch.nn.functional.max_pool2d(real, (2, 3), (1, 2)).numpy()
    assert np.array_equal(reference.max_pool2d(q, (2, 3), stride=(1, 2)), largest)
    mean = torch.nn.functional.avg_pool2d(real - 9, (2, 4), (1, 2)).numpy()
    found = reference.avg_pool2d(q, (2, 4), zero_point=9, stride=(1, 2))
    assert np.array_equal(found.astype(float), mean)


def test_a_range_of_only_zero_has_no_scale() -> None:
    for choose in (reference.choose_affine, reference.choose_symmetric):
        with pytest.raises(ValueError, match="no scale"):
            choose(0.0, 0.0, qmin=0, qmax=255)
        assert choose(0.0, 0.0, qmin=0, qmax=255, smallest=0.5).scale == Fraction(1, 2)


def test_published_examples() -> None:
    """gemmlowp's doc/quantization_example.cc prints scale 0.00804 and zero point 130 or so."""
    low, high = -1.0447, 1.0066
    found = reference.choose_affine(low, high, qmin=0, qmax=255)
    assert float(found.scale) == pytest.approx((high - low) / 255, rel=1e-12)
    assert found.zero_point == 130
