"""Dynamic linear layers: float in, float out, quantized in between by the input's own range."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qreg.quantization import reference
from tests.invariants import engines
from tests.invariants.engines import codes_of, each_engine, quantized_source, set_engine
from tests.invariants.snippet import Snippet, expect_between, expect_equal, snippet, tensor_source
from tests.invariants.strategies import SIZES
from tests.invariants.tolerances import FLOAT_OUTPUT_ROUNDINGS, UNIT

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DynamicCase:
    """Weights and an input whose every row spans all codes, so that its range is known."""

    q: Codes
    zx: int
    sx: float
    w: Codes
    sw: float
    bias: npt.NDArray[np.float32]
    reduce_range: bool

    @property
    def x(self) -> npt.NDArray[np.float32]:
        return ((self.q - self.zx) * self.sx).astype(np.float32)

    @property
    def step(self) -> Fraction:
        return Fraction(self.sx) * Fraction(self.sw)

    def accumulators(self, engine: str) -> Codes:
        if engines.saturates(engine, "linear"):
            return reference.linear_in_pairs(self.q, self.w, zx=self.zx).accumulators
        return reference.linear(self.q, self.w, zx=self.zx)

    def real(self, sums: Codes) -> npt.NDArray[np.object_]:
        bias = np.array([Fraction(float(b)) for b in self.bias], dtype=object)
        return reference.scaled(sums, self.step, bias)

    def call(self, engine: str) -> Snippet:
        w = quantized_source(tensor_source(self.w.astype(np.int8)), self.sw, 0)
        return snippet(
            "torch.ops.quantized.linear_dynamic("
            f"x, torch.ops.quantized.linear_prepack(w, b), {self.reduce_range})",
            prepare=set_engine(engine),
            x=self.x,
            w=w,
            b=self.bias,
        )


@st.composite
def dynamic_cases(draw: st.DrawFn, engine: str, *, exact: bool) -> DynamicCase:
    """With `exact` every float operation is exact, so that the output is too."""
    # qnnpack ignores reduce_range, and says so on every call; ATen, qlinear_dynamic.cpp.
    reduce_range = draw(st.booleans()) if engine != "qnnpack" else False
    highest = 127 if reduce_range else 255
    rows, out = draw(st.sampled_from((1, 2, 3, 7))), draw(st.sampled_from((1, 3, 8, 17, 33)))
    width = draw(st.sampled_from([n for n in SIZES if n > 1]))
    seeds = [draw(st.integers(0, 2**16)) for _ in range(3)]
    q = codes_of(seeds[0], (rows, width), 0, highest)
    q[:, 0], q[:, 1] = 0, highest
    sx, sw = 2.0 ** draw(st.integers(-12, 3)), 2.0 ** draw(st.integers(-12, 3))
    if not exact:
        sw = float(np.float32(sw * draw(st.floats(1, 2, width=32))))
    whole = codes_of(seeds[2], (out,), -1000, 1000) + (0 if exact else 0.3)
    return DynamicCase(
        q=q,
        zx=draw(st.sampled_from((0, 1, 64, 127))),
        sx=sx,
        w=codes_of(seeds[1], (out, width), -128, 127),
        sw=sw,
        bias=(whole * sx * sw).astype(np.float32),
        reduce_range=reduce_range,
    )


@each_engine()
@given(data=st.data())
def test_power_of_two_scales_give_the_exact_output(engine: str, data: st.DataObject) -> None:
    case = data.draw(dynamic_cases(engine, exact=True))
    real = case.real(case.accumulators(engine))
    expected = np.vectorize(reference.to_float32, otypes=[np.float32])(real)
    expect_equal(case.call(engine), expected)


@each_engine()
@given(data=st.data())
def test_any_weight_scale_gives_the_output_within_float32(engine: str, data: st.DataObject) -> None:
    case = data.draw(dynamic_cases(engine, exact=False))
    sums = case.accumulators(engine)
    real = case.real(sums)
    parts = abs(np.asarray(reference.linear(case.q, abs(case.w), zx=0))) + abs(sums)
    size = reference.scaled(parts, case.step) + abs(real)
    slack = size * UNIT * FLOAT_OUTPUT_ROUNDINGS
    ends = [np.asarray(end, dtype=object) for end in (real - slack, real + slack)]
    round_each = np.vectorize(reference.to_float32, otypes=[np.float32])
    expect_between(case.call(engine), round_each(ends[0]), round_each(ends[1]))


@each_engine()
@given(data=st.data())
def test_output_is_bit_stable_from_call_to_call_and_batch_to_batch(
    engine: str, data: st.DataObject
) -> None:
    """Each row spans the same range, so that its quantization does not depend on the others."""
    case = data.draw(dynamic_cases(engine, exact=False))
    whole = case.call(engine).array()
    expect_equal(case.call(engine), whole)
    for index in range(len(case.q)):
        alone = replace(case, q=case.q[index : index + 1])
        expect_equal(alone.call(engine), whole[index : index + 1])
    repeated = replace(case, q=np.concatenate([case.q, case.q]))
    expect_equal(repeated.call(engine), np.concatenate([whole, whole]))


@each_engine()
def test_output_is_bit_stable_from_thread_count_to_thread_count(engine: str) -> None:
    """Wide enough for a kernel to want more than one thread."""
    torch.backends.quantized.engine = engine
    torch.manual_seed(3)
    model = torch.ao.quantization.quantize_dynamic(
        torch.nn.Sequential(torch.nn.Linear(517, 301)), {torch.nn.Linear}
    )
    x, before = torch.randn(67, 517), torch.get_num_threads()
    outputs = []
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            outputs.append(model(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])


@pytest.mark.parametrize("weights", ["per_tensor", "per_channel"])
@each_engine()
def test_module_is_the_operator(engine: str, weights: str) -> None:
    """`torch.ao.nn.quantized.dynamic.Linear` does just what was tested, range reduced."""
    torch.backends.quantized.engine = engine
    torch.manual_seed(1)
    linear, x = torch.nn.Linear(33, 9), torch.randn(5, 33)
    ao = torch.ao.quantization
    qconfig = ao.default_dynamic_qconfig
    if weights == "per_channel":
        qconfig = ao.per_channel_dynamic_qconfig
    model = ao.quantize_dynamic(torch.nn.Sequential(linear), {torch.nn.Linear: qconfig})
    weight, bias = model[0]._packed_params._weight_bias()
    packed = torch.ops.quantized.linear_prepack(weight, bias)
    expected = torch.ops.quantized.linear_dynamic(x, packed, engine != "qnnpack")
    assert torch.equal(model(x), expected)
