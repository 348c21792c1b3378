"""Quantized operators without weights: ReLU, add, cat, max-pool, average-pool."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qreg.quantization import reference
from qreg.quantization.reference import Order
from tests.invariants import deviations
from tests.invariants.engines import codes_of, each_engine, quantized_source, set_engine
from tests.invariants.snippet import expect_between, expect_equal, snippet, tensor_source
from tests.invariants.strategies import SIZES, Laid
from tests.invariants.tolerances import (
    ADD_ROUNDINGS,
    KERNEL_ROUNDINGS,
    QNNPACK_ADD,
    UNIT,
    between,
)

Codes = npt.NDArray[np.int64]
_LIMITS: dict[str, Any] = {"qmin": 0, "qmax": 255}


@dataclass(frozen=True)
class Operand:
    """A quint8 tensor."""

    q: Codes
    scale: float
    zero_point: int

    def source(self, layout: str = "contiguous") -> str:
        codes = Laid(self.q.astype(np.uint8), layout).source()
        return quantized_source(codes, self.scale, self.zero_point)

    def real(self, unit: float) -> npt.NDArray[np.object_]:
        """Its values in units, exact."""
        steps = Fraction(self.scale) / Fraction(unit)
        return reference.real_steps(self.q, steps, self.zero_point)


def add_order(engine: str) -> Order:
    """qnnpack adds in fixed point, whose ties go away from zero; its source cites gemmlowp."""
    return "away_first" if engine == "qnnpack" else "round_first"


def average_order(engine: str, shape: tuple[int, ...], layout: str) -> Order:
    """ATen's kernel for channels_last rounds first, its kernel for other layouts does not.

    So the layout decides where a tie goes: AveragePool2d.cpp, ``avg_pool2d_nhwc_kernel`` and
    ``avg_pool2d_out_frame``.
    """
    one_memory_order = shape[1] == 1 or shape[2:] == (1, 1)
    last = layout == "channels_last" or one_memory_order
    return "round_first" if last or engine == "qnnpack" else "zero_point_first"


def mixes_channels(engine: str, shape: tuple[int, ...], out: tuple[int, ...]) -> bool:
    """Whether torch writes this pool's output in another order than it says; `deviations`."""
    ambiguous = shape[2:] == (1, 1) and shape[1] > 1 and out[2:] != (1, 1)
    return deviations.POOLS_MIX_CHANNELS and ambiguous and engine != "qnnpack"


def as_mixed(values: Codes) -> Codes:
    """(N, C, H, W) written as (N, H, W, C) and read as if it were not."""
    return values.transpose(0, 2, 3, 1).reshape(values.shape)


_ZEROS = st.sampled_from((0, 1, 64, 127, 128, 254, 255))


@st.composite
def operands(draw: st.DrawFn, shape: tuple[int, ...], *, exact: bool, spread: int = 3) -> Operand:
    scale = 2.0 ** draw(st.integers(-spread, spread))
    if not exact:
        scale = float(np.float32(scale * draw(st.floats(1, 2, width=32))))
    return Operand(codes_of(draw(st.integers(0, 2**16)), shape, 0, 255), scale, draw(_ZEROS))


_IMAGES = st.tuples(
    st.integers(1, 2), st.sampled_from((1, 3, 8, 17, 33, 65)), st.integers(1, 9), st.integers(1, 9)
)
_LAYOUT = st.sampled_from(["contiguous", "channels_last"])


@pytest.mark.parametrize("dtype", ["qint8", "quint8"])
@given(data=st.data())
def test_relu_raises_codes_to_the_zero_point(dtype: str, data: st.DataObject) -> None:
    size, zero = data.draw(st.sampled_from(SIZES)), data.draw(_ZEROS)
    codes = codes_of(data.draw(st.integers(0, 2**16)), (size,), 0, 255)
    shift = 128 if dtype == "qint8" else 0
    stored = (codes - shift).astype(np.int8 if shift else np.uint8)
    x = quantized_source(tensor_source(stored), 0.1, zero - shift)
    expect_equal(snippet("torch.relu(x).int_repr()", x=x), np.maximum(codes, zero) - shift)


@pytest.mark.parametrize("relu", [False, True], ids=["add", "add_relu"])
@each_engine()
@given(data=st.data())
def test_add_of_power_of_two_scales_is_exact(engine: str, relu: bool, data: st.DataObject) -> None:
    shape = (data.draw(st.sampled_from(SIZES)),)
    a, b = (data.draw(operands(shape, exact=True)) for _ in range(2))
    sy, zy = 2.0 ** data.draw(st.integers(-3, 5)), data.draw(_ZEROS)
    # qnnpack refuses an empty range of outputs.
    assume(not (engine == "qnnpack" and relu and zy == 255))
    op = "add_relu" if relu else "add"
    call = snippet(
        f"torch.ops.quantized.{op}(a, b, sy, zy).int_repr()",
        prepare=set_engine(engine), a=a.source(), b=b.source(), sy=sy, zy=zy,
    )  # fmt: skip
    total = a.real(sy) + b.real(sy)
    order = add_order(engine)
    expected = reference.requantize(total, zero_point=zy, relu=relu, order=order, **_LIMITS)
    expect_equal(call, expected)


@pytest.mark.parametrize("relu", [False, True], ids=["add", "add_relu"])
@each_engine()
@given(data=st.data())
def test_add_of_any_scales_gives_the_nearest_codes(
    engine: str, relu: bool, data: st.DataObject
) -> None:
    shape = (data.draw(st.sampled_from(SIZES)),)
    a, b = (data.draw(operands(shape, exact=False)) for _ in range(2))
    sy = float(np.float32(max(a.scale, b.scale) * data.draw(st.floats(0.5, 4, width=32))))
    zy = data.draw(_ZEROS)
    # qnnpack refuses an empty range of outputs.
    assume(not (engine == "qnnpack" and relu and zy == 255))
    op = "add_relu" if relu else "add"
    call = snippet(
        f"torch.ops.quantized.{op}(a, b, sy, zy).int_repr()",
        prepare=set_engine(engine), a=a.source(), b=b.source(), sy=sy, zy=zy,
    )  # fmt: skip
    total = a.real(sy) + b.real(sy)
    # The zero points are multiplied before they are subtracted: their size counts too.
    size = abs(a.real(sy)) + abs(b.real(sy)) + 255 * Fraction(a.scale + b.scale) / Fraction(sy)
    slack = size * (QNNPACK_ADD if engine == "qnnpack" else UNIT * ADD_ROUNDINGS)
    order = add_order(engine)
    ends = between(total, slack, zero_point=zy, relu=relu, order=order, **_LIMITS)
    expect_between(call, *ends)


@given(data=st.data())
def test_cat_requantizes_each_part(data: st.DataObject) -> None:
    shapes = [(2, data.draw(st.sampled_from((1, 3, 8, 17))), 3, 2) for _ in range(2)]
    a, b = (data.draw(operands(shape, exact=True)) for shape in shapes)
    sy, zy = 2.0 ** data.draw(st.integers(-3, 5)), data.draw(_ZEROS)
    layout = data.draw(_LAYOUT)
    call = snippet(
        "torch.ops.quantized.cat([a, b], 1, sy, zy).int_repr().contiguous()",
        a=a.source(layout), b=b.source(layout), sy=sy, zy=zy,
    )  # fmt: skip
    parts = [reference.requantize(p.real(sy), zero_point=zy, **_LIMITS) for p in (a, b)]
    expect_equal(call, np.concatenate(parts, axis=1))


@st.composite
def windows(draw: st.DrawFn, engine: str, shape: tuple[int, ...], kernels: Any) -> dict[str, Any]:
    kernel = draw(st.sampled_from(kernels))
    assume(engine != "qnnpack" or kernel != (1, 1))  # which it refuses
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    fits = all(n + 2 * p >= k for n, p, k in zip(shape[2:], padding, kernel, strict=True))
    assume(fits)
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), kernel]))
    return {"window": kernel, "stride": stride, "padding": padding}


@each_engine()
@given(data=st.data())
def test_max_pool_takes_the_largest_code(engine: str, data: st.DataObject) -> None:
    shape = data.draw(_IMAGES)
    x = data.draw(operands(shape, exact=False))
    at = data.draw(windows(engine, shape, [(1, 1), (2, 2), (3, 3), (2, 3), (5, 1)]))
    call = snippet(
        "torch.nn.functional.max_pool2d(x, k, s, p).int_repr().contiguous()",
        prepare=set_engine(engine),
        x=x.source(data.draw(_LAYOUT)), k=at["window"], s=at["stride"], p=at["padding"],
    )  # fmt: skip
    expected = reference.max_pool2d(x.q, **at)
    mixed = mixes_channels(engine, shape, expected.shape)
    expect_equal(call, as_mixed(expected) if mixed else expected)


@each_engine()
@given(data=st.data())
def test_average_pool_of_power_of_two_windows_is_exact(engine: str, data: st.DataObject) -> None:
    shape = data.draw(_IMAGES)
    x = data.draw(operands(shape, exact=False))
    at = data.draw(windows(engine, shape, [(1, 1), (2, 2), (4, 4), (2, 4), (1, 2)]))
    layout = data.draw(_LAYOUT)
    means = reference.avg_pool2d(x.q, zero_point=x.zero_point, **at)
    order = average_order(engine, shape, layout)
    expected = reference.requantize(means, zero_point=x.zero_point, order=order, **_LIMITS)
    mixed = mixes_channels(engine, shape, expected.shape)
    expect_equal(_average(engine, x, layout, at), as_mixed(expected) if mixed else expected)


@each_engine()
@given(data=st.data())
def test_average_pool_gives_the_nearest_codes(engine: str, data: st.DataObject) -> None:
    shape = data.draw(_IMAGES)
    x = data.draw(operands(shape, exact=False))
    at = data.draw(windows(engine, shape, [(3, 3), (3, 2), (5, 5), (1, 7)]))
    means = reference.avg_pool2d(x.q, zero_point=x.zero_point, **at)
    slack = (abs(means) + 256) * UNIT * KERNEL_ROUNDINGS
    layout = data.draw(_LAYOUT)
    order = average_order(engine, shape, layout)
    ends = between(means, slack, zero_point=x.zero_point, order=order, **_LIMITS)
    if mixes_channels(engine, shape, means.shape):
        ends = as_mixed(ends[0]), as_mixed(ends[1])
    expect_between(_average(engine, x, layout, at), *ends)


def _average(engine: str, x: Operand, layout: str, at: dict[str, Any]) -> Any:
    return snippet(
        "torch.nn.functional.avg_pool2d(x, k, s, p).int_repr().contiguous()",
        prepare=set_engine(engine),
        x=x.source(layout), k=at["window"], s=at["stride"], p=at["padding"],
    )  # fmt: skip
