"""A scale and a zero point for each channel: each channel as if it were alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from qreg.quantization import reference
from tests.invariants.implementations import Implementation, with_
from tests.invariants.snippet import Snippet, expect_equal, snippet
from tests.invariants.strategies import (
    Laid,
    any_scales,
    interesting,
    powers_of_two,
    within,
    zero_points,
)

#: Two-dimensional for linear weights, four-dimensional for convolutions', odd counts included.
_SHAPES = ((1, 1), (3, 7), (5, 17), (7, 33), (2, 64), (4, 0), (3, 2, 3, 3), (5, 1, 1, 3))
_LAYOUTS = ("contiguous", "transposed", "every second")


@dataclass(frozen=True)
class ChannelCase:
    """A tensor to quantize along one axis."""

    x: Laid
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    codes: tuple[int, int]

    @property
    def inputs(self) -> dict[str, Any]:
        lo, hi = self.codes
        named = {"x": self.x.source(), "s": self.scales, "z": self.zero_points}
        return {**named, "axis": self.axis, "lo": lo, "hi": hi}


@st.composite
def channel_cases(
    draw: st.DrawFn, implementation: Implementation, scales: st.SearchStrategy[float]
) -> ChannelCase:
    codes = draw(st.sampled_from(implementation.ranges))
    shape = draw(st.sampled_from(_SHAPES))
    # Of a channels_last tensor torch takes no other axis than these.
    axis = draw(st.sampled_from([0, 0, 1]))
    axis = axis if shape[axis] else 0
    steps = draw(st.lists(scales, min_size=shape[axis], max_size=shape[axis]))
    zeros = [draw(zero_points(codes)) for _ in steps]
    rows = [
        _row(draw, step, zero, codes, int(np.prod(shape)) // shape[axis], implementation.reach)
        for step, zero in zip(steps, zeros, strict=True)
    ]
    rest = [n for i, n in enumerate(shape) if i != axis]
    values = np.moveaxis(np.array(rows, dtype=np.float32).reshape(len(steps), *rest), 0, axis)
    layouts = _LAYOUTS + ("channels_last",) * (len(shape) == 4)
    x = Laid(values, draw(st.sampled_from(layouts)))
    return ChannelCase(x, np.array(steps, np.float32), np.array(zeros, np.int64), axis, codes)


def _row(
    draw: st.DrawFn, scale: float, zero: int, codes: tuple[int, int], count: int, reach: float
) -> npt.NDArray[np.float32]:
    pool = within(interesting(scale, zero, codes), reach * scale)
    first, stride = draw(st.integers(0, len(pool) - 1)), draw(st.integers(1, 400))
    return pool[(first + stride * np.arange(count)) % len(pool)]


def call(implementation: Implementation, what: str, case: ChannelCase) -> Snippet:
    expression = implementation.expression(what, case.codes, channels=True)
    return snippet(expression, prepare=implementation.prepare, **case.inputs)


def oracle(case: ChannelCase) -> npt.NDArray[np.int64]:
    lo, hi = case.codes
    parameters = (case.scales, case.zero_points)
    return reference.quantize(case.x.values, *parameters, qmin=lo, qmax=hi, axis=case.axis)


@with_("quantize", channels=True)
@given(data=st.data())
def test_power_of_two_scales_quantize_exactly(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(channel_cases(implementation, powers_of_two()))
    expect_equal(call(implementation, "quantize", case), oracle(case))


@with_("fake_quantize", channels=True)
@given(data=st.data())
def test_power_of_two_scales_fake_quantize_exactly(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(channel_cases(implementation, powers_of_two(-100, 100)))
    expected = reference.dequantize(oracle(case), case.scales, case.zero_points, axis=case.axis)
    expect_equal(call(implementation, "fake_quantize", case), expected)


@with_("dequantize", channels=True)
@given(data=st.data())
def test_dequantize_rounds_once(implementation: Implementation, data: st.DataObject) -> None:
    case = data.draw(channel_cases(implementation, powers_of_two(-100, 100) | any_scales(-90, 90)))
    q = oracle(case)
    codes = Laid(q.astype(np.int8 if case.codes[0] < 0 else np.uint8), "contiguous")
    made = call(implementation, "dequantize", case)
    inputs = {**case.inputs, "q": codes.source()}
    expected = reference.dequantize(q, case.scales, case.zero_points, axis=case.axis)
    expect_equal(snippet(made.expression, prepare=made.prepare, **inputs), expected)


@with_("quantize", channels=True)
@given(data=st.data())
def test_each_channel_is_as_if_it_were_alone(
    implementation: Implementation, data: st.DataObject
) -> None:
    """Bit for bit: a channel quantized along an axis, and by itself with one scale."""
    scales = any_scales(-90, 90) | powers_of_two(-90, 90)
    case = data.draw(channel_cases(implementation, scales))
    for index in range(len(case.scales)):
        alone = Laid(np.take(case.x.values, index, axis=case.axis), "contiguous")
        one = snippet(
            implementation.expression("quantize", case.codes),
            prepare=implementation.prepare,
            x=alone.source(),
            s=case.scales[index],
            z=case.zero_points[index],
            lo=case.codes[0],
            hi=case.codes[1],
        )
        made = call(implementation, "quantize", case)
        chosen = f"({made.expression}).select({case.axis}, {index})"
        expect_equal(dataclasses.replace(made, expression=chosen), one.array())


@with_("fake_quantize", channels=True)
@given(data=st.data())
def test_quantizing_again_changes_nothing(
    implementation: Implementation, data: st.DataObject
) -> None:
    case = data.draw(channel_cases(implementation, any_scales(-90, 90)))
    once = call(implementation, "fake_quantize", case)
    first = once.array()
    again = snippet(once.expression, prepare=once.prepare, **{**case.inputs, "x": first})
    expect_equal(again, first)
