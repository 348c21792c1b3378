"""Quantized linear layers, static: within rounding of the oracle, exact where arithmetic is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from qreg.quantization import reference
from tests.invariants import engines
from tests.invariants.engines import codes_of, each_engine, quantized_source, set_engine
from tests.invariants.snippet import Snippet, expect_between, expect_equal, snippet, tensor_source
from tests.invariants.strategies import SIZES
from tests.invariants.tolerances import between, kernel_slack

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LinearCase:
    """A quantized linear layer and its input; scales one for each output, or one for all."""

    x: Codes
    w: Codes
    bias: npt.NDArray[np.float32]
    sx: float
    zx: int
    sw: npt.NDArray[np.float32]
    zw: int
    sy: float
    zy: int
    relu: bool
    channels: bool

    @property
    def multiplier(self) -> npt.NDArray[np.object_]:
        """``sx * sw / sy`` for each output, exact."""
        share = Fraction(self.sx) / Fraction(self.sy)
        return np.array([Fraction(float(s)) * share for s in self.sw], dtype=object)

    @property
    def bias_steps(self) -> npt.NDArray[np.object_]:
        """The bias in steps of the output, exact."""
        return np.array([Fraction(float(b)) / Fraction(self.sy) for b in self.bias], dtype=object)

    def accumulators(self, engine: str) -> Codes:
        """What this machine's kernel accumulates, by the oracle."""
        if engines.saturates(engine, "linear"):
            return reference.linear_in_pairs(self.x, self.w, zx=self.zx).accumulators
        return reference.linear(self.x, self.w, zx=self.zx, zw=self.zw)

    def call(self, engine: str) -> Snippet:
        w = tensor_source(self.w.astype(np.int8))
        weight = quantized_source(w, float(self.sw[0]), self.zw)
        if self.channels:
            zeros = tensor_source(np.full(len(self.sw), self.zw))
            weight = quantized_source(w, tensor_source(self.sw), zeros)
        op = "linear_relu" if self.relu else "linear"
        return snippet(
            f"torch.ops.quantized.{op}(x, torch.ops.quantized.linear_prepack(w, b), sy, zy)"
            ".int_repr()",
            prepare=set_engine(engine),
            x=quantized_source(tensor_source(self.x.astype(np.uint8)), self.sx, self.zx),
            w=weight,
            b=self.bias,
            sy=self.sy,
            zy=self.zy,
        )


_OUTPUTS = (1, 2, 3, 8, 9, 16, 17, 33)


@st.composite
def linear_cases(draw: st.DrawFn, engine: str, *, exact: bool) -> LinearCase:
    """With `exact`, scales are powers of two and biases whole steps: only ties need rounding."""
    rows, out = draw(st.sampled_from((1, 2, 3, 7))), draw(st.sampled_from(_OUTPUTS))
    width = draw(st.sampled_from([n for n in SIZES if n]))
    channels = draw(st.booleans())
    # oneDNN has no zero point for weights, and the saturating sums here assume none.
    has_zero = engine in ("x86", "fbgemm", "qnnpack") and not engines.saturates(engine, "linear")
    zw = draw(st.sampled_from([0, 0, 3, -7])) if has_zero else 0
    sx, sw, sy = draw(scales_for(out, exact=exact, channels=channels))
    seeds = [draw(st.integers(0, 2**16)) for _ in range(3)]
    whole = codes_of(seeds[2], (out,), -3000, 3000) + (0 if exact else 0.3)
    return LinearCase(
        x=codes_of(seeds[0], (rows, width), 0, 255),
        w=codes_of(seeds[1], (out, width), -128, 127),
        bias=(whole * sx * sw).astype(np.float32),
        sx=sx,
        zx=draw(st.sampled_from((0, 1, 64, 127, 128, 255))),
        sw=sw,
        zw=zw,
        sy=sy,
        zy=draw(st.sampled_from((0, 1, 5, 128, 255))),
        relu=draw(st.booleans()),
        channels=channels,
    )


@st.composite
def scales_for(
    draw: st.DrawFn, out: int, *, exact: bool, channels: bool
) -> tuple[float, npt.NDArray[np.float32], float]:
    """Scales of input, weights (one an output) and output; the output is 2 to 2048 times finer."""
    sx, mean = draw(_scale(exact)), draw(_scale(exact))
    sw = np.full(out, mean, dtype=np.float32)
    if channels:
        sw *= np.float32(2.0) ** (np.arange(out) % 3).astype(np.float32)
    sy = sx * mean * 2.0 ** draw(st.integers(1, 10))
    return sx, sw, sy if exact else float(np.float32(sy * draw(st.floats(1, 2, width=32))))


def _scale(exact: bool) -> st.SearchStrategy[float]:
    powers = st.integers(-12, 4).map(lambda k: 2.0**k)
    if exact:
        return powers
    mantissas = st.floats(1, 2, width=32)
    return st.builds(lambda m, k: float(np.float32(m * k)), mantissas, powers)


def _limits(case: LinearCase) -> dict[str, Any]:
    return {"zero_point": case.zy, "qmin": 0, "qmax": 255, "relu": case.relu}


@each_engine()
@given(data=st.data())
def test_power_of_two_scales_give_the_exact_codes(engine: str, data: st.DataObject) -> None:
    case = data.draw(linear_cases(engine, exact=True))
    real = reference.scaled(case.accumulators(engine), case.multiplier, case.bias_steps)
    order = engines.order(engine, "linear")
    expected = reference.requantize(real, **_limits(case), order=order)
    expect_equal(case.call(engine), expected)


@each_engine()
@given(data=st.data())
def test_any_scales_give_the_nearest_codes(engine: str, data: st.DataObject) -> None:
    """Only values within the float32 error of a tie may go to either side."""
    case = data.draw(linear_cases(engine, exact=False))
    sums = case.accumulators(engine)
    real = reference.scaled(sums, case.multiplier, case.bias_steps)
    size = reference.scaled(abs(sums), case.multiplier, abs(case.bias_steps))
    slack = kernel_slack(size, case.multiplier, bias_is_rounded=engine == "qnnpack")
    order = engines.order(engine, "linear")
    expect_between(case.call(engine), *between(real, slack, **_limits(case), order=order))


@each_engine()
@given(data=st.data())
def test_rows_do_not_depend_on_each_other(engine: str, data: st.DataObject) -> None:
    case = data.draw(linear_cases(engine, exact=False))
    whole = case.call(engine).array()
    for index in range(len(case.x)):
        alone = LinearCase(**{**case.__dict__, "x": case.x[index : index + 1]})
        expect_equal(alone.call(engine), whole[index : index + 1])
