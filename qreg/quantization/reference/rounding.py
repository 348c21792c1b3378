"""Exact rounding, in integers.

Sources: IEEE 754-2019, 4.3.1 (roundTiesToEven) and 3.4 (binary32). No floating-point operation
is done here: the rounding under test must not be the one that judges it.
"""

from __future__ import annotations

import math
from fractions import Fraction

_MANTISSA_BITS = 24
_LOWEST_EXPONENT = -149  # of the smallest denormal
_HIGHEST = Fraction((2**_MANTISSA_BITS - 1) * 2**104)


def round_half_even(value: Fraction) -> int:
    """The nearest integer; of two equally near ones, the even one."""
    below = value.numerator // value.denominator
    rest = value - below
    half = Fraction(1, 2)
    if rest > half or (rest == half and below % 2 == 1):
        return below + 1
    return below


def round_half_away(value: Fraction) -> int:
    """The nearest integer; of two equally near ones, the one farther from zero.

    Source: gemmlowp, fixedpoint/fixedpoint.h, ``RoundingDivideByPOT``.
    """
    if value < 0:
        return -round_half_away(-value)
    raised = value + Fraction(1, 2)
    return raised.numerator // raised.denominator


def clamp(value: int, lowest: int, highest: int) -> int:
    """`value`, or the end of the range that it lies beyond."""
    return max(lowest, min(value, highest))


def to_float32(value: Fraction) -> float:
    """The binary32 number nearest to `value`, denormals kept, too large values infinite.

    Zero is positive: a quantized value has no signed zero.
    """
    if value < 0:
        return -to_float32(-value)
    quantum = _quantum(value)
    nearest = round_half_even(value / quantum) * quantum
    # Exact: every binary32 number is a binary64 number too.
    return math.inf if nearest > _HIGHEST else float(nearest)


def _quantum(size: Fraction) -> Fraction:
    """The distance between the binary32 numbers around `size`."""
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    return Fraction(2) ** max(exponent - (_MANTISSA_BITS - 1), _LOWEST_EXPONENT)
