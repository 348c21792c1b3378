"""Neither the memory layout nor the place in a vector register changes a value."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.invariants.implementations import TENSORS, Implementation, with_
from tests.invariants.snippet import expect_equal, snippet
from tests.invariants.strategies import (
    LAYOUTS,
    SIZES,
    Laid,
    any_scales,
    interesting,
    laid_out,
    tensor_cases,
    within,
    zero_points,
)


@with_("fake_quantize")
@given(data=st.data())
def test_layout_changes_no_value(implementation: Implementation, data: st.DataObject) -> None:
    scales = any_scales(-90, 90)
    case = data.draw(tensor_cases(implementation.ranges, scales=scales, reach=implementation.reach))
    expression = implementation.expression("fake_quantize", case.codes)
    plain = snippet(
        expression, prepare=implementation.prepare, **{**case.inputs, "x": case.x.values}
    )
    expected = plain.array()
    names = [*LAYOUTS] if case.x.values.ndim == 4 else [n for n in LAYOUTS if n != "channels_last"]
    for layout in names:
        inputs = {**case.inputs, "x": Laid(case.x.values, layout).source()}
        expect_equal(snippet(expression, prepare=implementation.prepare, **inputs), expected)


@with_("fake_quantize")
@given(data=st.data())
def test_vector_path_equals_scalar_path(
    implementation: Implementation, data: st.DataObject
) -> None:
    """One value fills a whole vector, or stands alone, or at the end behind a full one."""
    codes = data.draw(st.sampled_from(implementation.ranges))
    scale, zero_point = data.draw(any_scales(-90, 90)), data.draw(zero_points(codes))
    pool = within(interesting(scale, zero_point, codes), implementation.reach * scale)
    value = pool[data.draw(st.integers(0, len(pool) - 1))]
    expression = implementation.expression("fake_quantize", codes)

    def of(count: int) -> Any:
        x = np.full(count, value, dtype=np.float32)
        named = {"x": x, "s": scale, "z": zero_point, "lo": codes[0], "hi": codes[1]}
        return snippet(expression, prepare=implementation.prepare, **named)

    alone = of(1).array()
    for size in SIZES:
        expect_equal(of(size), np.repeat(alone, size))


@given(data=st.data())
def test_views_of_quantized_tensors_share_their_codes(data: st.DataObject) -> None:
    case = data.draw(tensor_cases(TENSORS.ranges, scales=any_scales(-90, 90), reach=TENSORS.reach))
    codes = snippet(TENSORS.expression("quantize", case.codes), **case.inputs).array()
    moved = data.draw(laid_out(codes.reshape(-1)))
    view = f".reshape({moved.values.shape}).contiguous().int_repr()"
    expression = TENSORS.expression("quantize", case.codes).replace(".int_repr()", view)
    expect_equal(snippet(expression, **case.inputs), moved.values)
