"""Choosing scale and zero point from a range.

Sources: gemmlowp, doc/quantization_example.cc, ``ChooseQuantizationParams``: the range is
widened to hold zero, the scale divides it into qmax - qmin steps, and the zero point is
nudged to an integer so that zero is exact; Krishnamoorthi, "Quantizing deep convolutional
networks for efficient inference" (2018), arXiv:1806.08342, section 2, for the symmetric case.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from qreg.quantization.reference.rounding import round_half_even


@dataclass(frozen=True)
class ExactParameters:
    """A scale as a rational, and an integer zero point."""

    scale: Fraction
    zero_point: int


def choose_affine(
    lowest: float, highest: float, *, qmin: int, qmax: int, smallest: float = 0.0
) -> ExactParameters:
    """Parameters for values between `lowest` and `highest`, both finite.

    Args:
        smallest: the least scale allowed; it takes the place of a smaller one.

    Raises:
        ValueError: the range is empty of everything but zero and no scale is positive.
    """
    low, high = min(Fraction(lowest), Fraction(0)), max(Fraction(highest), Fraction(0))
    scale = _at_least((high - low) / (qmax - qmin), smallest)
    # Within the range of codes by itself: the widened range holds zero.
    zero_point = qmin - round_half_even(low / scale)
    return ExactParameters(scale, zero_point)


def choose_symmetric(
    lowest: float, highest: float, *, qmin: int, qmax: int, smallest: float = 0.0
) -> ExactParameters:
    """Parameters whose zero point is the middle of the codes, for a range around zero.

    Raises:
        ValueError: as `choose_affine`.
    """
    size = max(-Fraction(lowest), Fraction(highest))
    scale = _at_least(2 * size / (qmax - qmin), smallest)
    return ExactParameters(scale, (qmin + qmax + 1) // 2)


def _at_least(scale: Fraction, smallest: float) -> Fraction:
    chosen = max(scale, Fraction(smallest))
    if chosen <= 0:
        raise ValueError("the range holds only zero: no scale is positive")
    return chosen
