"""Quantized convolutions, static: within rounding of the oracle, exact where arithmetic is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from qreg.quantization import reference
from tests.invariants import deviations, engines
from tests.invariants.engines import codes_of, each_engine, quantized_source, set_engine
from tests.invariants.snippet import Snippet, expect_between, expect_equal, snippet, tensor_source
from tests.invariants.strategies import Laid
from tests.invariants.test_linear import scales_for
from tests.invariants.tolerances import between, kernel_slack

Codes = npt.NDArray[np.int64]
#: (input channels, output channels, groups): odd counts, groups, depthwise, depthwise times two.
_CHANNELS = (
    (1, 1, 1), (3, 5, 1), (3, 32, 1), (5, 7, 1), (8, 8, 1), (16, 3, 1), (17, 9, 1), (33, 4, 1),
    (4, 6, 2), (6, 4, 2), (16, 16, 4), (32, 32, 2), (10, 15, 5),
    (3, 3, 3), (8, 8, 8), (9, 9, 9), (16, 16, 16), (8, 16, 8), (3, 6, 3),
)  # fmt: skip
_KERNELS = ((1, 1), (3, 3), (2, 2), (1, 3), (5, 5))


@dataclass(frozen=True)
class ConvCase:
    """A quantized convolution and its input."""

    x: Codes
    w: Codes
    bias: npt.NDArray[np.float32]
    sx: float
    zx: int
    sw: npt.NDArray[np.float32]
    sy: float
    zy: int
    relu: bool
    channels: bool
    layout: str
    where: dict[str, Any]

    @property
    def multiplier(self) -> npt.NDArray[np.object_]:
        share = Fraction(self.sx) / Fraction(self.sy)
        return np.array([Fraction(float(s)) * share for s in self.sw], dtype=object)

    @property
    def bias_steps(self) -> npt.NDArray[np.object_]:
        return np.array([Fraction(float(b)) / Fraction(self.sy) for b in self.bias], dtype=object)

    def accumulators(self, engine: str) -> Codes:
        """What this machine's kernel accumulates, by the oracle."""
        layout: Any = engines.kernel(engine, "conv2d")
        depthwise = layout == "fbgemm" and deviations.is_fbgemm_depthwise(self.w, self.where)
        if depthwise or engines.saturates(engine, "conv2d"):
            sums = reference.conv2d_in_pairs(
                self.x, self.w, zx=self.zx, layout=layout, **self.where
            )
            return sums.accumulators
        return reference.conv2d(self.x, self.w, zx=self.zx, **self.where)

    def call(self, engine: str) -> Snippet:
        op = "conv2d_relu" if self.relu else "conv2d"
        w = tensor_source(self.w.astype(np.int8))
        weight = quantized_source(w, float(self.sw[0]), 0)
        if self.channels:
            zeros = tensor_source(np.zeros(len(self.sw), dtype=np.int64))
            weight = quantized_source(w, tensor_source(self.sw), zeros)
        where = ", ".join(str(list(self.where[k])) for k in ("stride", "padding", "dilation"))
        pack = f"torch.ops.quantized.conv2d_prepack(w, b, {where}, {self.where['groups']})"
        x = Laid(self.x.astype(np.uint8), self.layout).source()
        return snippet(
            f"torch.ops.quantized.{op}(x, {pack}, sy, zy).int_repr().contiguous()",
            prepare=set_engine(engine),
            x=quantized_source(x, self.sx, self.zx),
            w=weight,
            b=self.bias,
            sy=self.sy,
            zy=self.zy,
        )


@st.composite
def conv_cases(draw: st.DrawFn, engine: str, *, exact: bool) -> ConvCase:
    """With `exact`, scales are powers of two and biases whole steps: only ties need rounding."""
    into, out, groups = draw(st.sampled_from(_CHANNELS))
    kernel = draw(st.sampled_from(_KERNELS))
    pairs = st.tuples(st.integers(0, 2), st.integers(0, 2))
    where = {
        "stride": draw(st.sampled_from([(1, 1), (2, 2), (2, 1)])),
        "padding": tuple(min(p, k - 1) for p, k in zip(draw(pairs), kernel, strict=True)),
        "dilation": draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2)])),
        "groups": groups,
    }
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    assume(_fits(size, kernel, where))
    zx = draw(st.sampled_from((0, 1, 64, 127, 128, 255)))
    assume(not (undefined_here(engine) and zx and sees_only_padding(size, kernel, where)))
    channels, seeds = draw(st.booleans()), [draw(st.integers(0, 2**16)) for _ in range(3)]
    sx, sw, sy = draw(scales_for(out, exact=exact, channels=channels))
    whole = codes_of(seeds[2], (out,), -3000, 3000) + (0 if exact else 0.3)
    return ConvCase(
        x=codes_of(seeds[0], (draw(st.integers(1, 2)), into, *size), 0, _highest(engine, groups)),
        w=codes_of(seeds[1], (out, into // groups, *kernel), -128, 127),
        bias=(whole * sx * sw).astype(np.float32),
        sx=sx,
        zx=zx,
        sw=sw,
        sy=sy,
        zy=draw(st.sampled_from((0, 1, 5, 128, 255))),
        relu=draw(st.booleans()),
        channels=channels,
        layout=draw(st.sampled_from(["contiguous", "channels_last"])),
        where=where,
    )


def _fits(size: tuple[int, int], kernel: tuple[int, int], where: dict[str, Any]) -> bool:
    spans = zip(size, kernel, where["padding"], where["dilation"], strict=True)
    return all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in spans)


def undefined_here(engine: str) -> bool:
    """Whether outputs that see only padding are undefined; see `deviations`."""
    onednn = engines.kernel(engine, "conv2d") == "onednn"
    return onednn and engines.onednn_has_avx512() and deviations.ONEDNN_READS_UNWRITTEN


def sees_only_padding(
    size: tuple[int, int], kernel: tuple[int, int], where: dict[str, Any]
) -> bool:
    """Whether there is an output none of whose inputs lies inside the image."""
    inside = reference.conv2d(
        np.ones((1, 1, *size)), np.ones((1, 1, *kernel)), zx=0, **{**where, "groups": 1}
    )
    return bool((inside == 0).any())


def _highest(engine: str, groups: int) -> int:
    """On CPUs without VNNI the layout of pairs is known for ungrouped convolutions only."""
    return 127 if groups > 1 and engines.saturates(engine, "conv2d") else 255


def _limits(case: ConvCase) -> dict[str, Any]:
    return {"zero_point": case.zy, "qmin": 0, "qmax": 255, "relu": case.relu}


@each_engine()
@given(data=st.data())
def test_power_of_two_scales_give_the_exact_codes(engine: str, data: st.DataObject) -> None:
    case = data.draw(conv_cases(engine, exact=True))
    real = reference.scaled(case.accumulators(engine), case.multiplier, case.bias_steps)
    order = engines.order(engine, "conv2d")
    expected = reference.requantize(real, **_limits(case), order=order)
    expect_equal(case.call(engine), expected)


@each_engine()
@given(data=st.data())
def test_any_scales_give_the_nearest_codes(engine: str, data: st.DataObject) -> None:
    """Only values within the float32 error of a tie may go to either side."""
    case = data.draw(conv_cases(engine, exact=False))
    sums = case.accumulators(engine)
    real = reference.scaled(sums, case.multiplier, case.bias_steps)
    size = reference.scaled(abs(sums), case.multiplier, abs(case.bias_steps))
    slack = kernel_slack(size, case.multiplier, bias_is_rounded=engine == "qnnpack")
    order = engines.order(engine, "conv2d")
    expect_between(case.call(engine), *between(real, slack, **_limits(case), order=order))


@pytest.mark.parametrize("engine", ["fbgemm", "x86"])
@pytest.mark.parametrize("width", [3, 5])
def test_depthwise_kernels_of_fbgemm_saturate_on_every_cpu(engine: str, width: int) -> None:
    """With VNNI too, and under x86, which leaves more than 100 groups to fbgemm."""
    if engine not in engines.available_engines():
        pytest.skip(f"no {engine} in this PyTorch")
    rng, groups = np.random.default_rng(width), 104
    x, w = rng.integers(200, 256, (1, groups, 6, 6)), np.full((groups, 1, width, width), 127)
    where = {"stride": (1, 1), "padding": (width // 2,) * 2, "dilation": (1, 1), "groups": groups}
    assert deviations.is_fbgemm_depthwise(w, where)
    case = ConvCase(
        x=x, w=w, bias=np.zeros(groups, np.float32), sx=1.0, zx=64, sw=np.ones(groups, np.float32),
        sy=4096.0, zy=0, relu=False, channels=False, layout="contiguous", where=where,
    )  # fmt: skip
    sums = reference.conv2d_in_pairs(x, w, zx=64, layout="fbgemm", **where)
    assert sums.overflows.any()
    real = reference.scaled(sums.accumulators, case.multiplier)
    expect_equal(case.call(engine), reference.requantize(real, **_limits(case)))


@each_engine()
def test_outputs_that_see_only_padding(engine: str) -> None:
    """They are the bias; where a deviation is pinned they must still be undefined."""
    wrong = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        size = (int(rng.integers(1, 4)), 1)
        x = rng.integers(0, _highest(engine, 1) + 1, (1, 1, *size))
        w = rng.integers(-128, 128, (1, 1, 2, 2))
        where = {"stride": (1, 1), "padding": (1, 1), "dilation": (2, 2), "groups": 1}
        case = ConvCase(
            x=x, w=w, bias=np.zeros(1, np.float32), sx=1.0, zx=64, sw=np.ones(1, np.float32),
            sy=256.0, zy=100, relu=False, channels=False, layout="contiguous", where=where,
        )  # fmt: skip
        assert sees_only_padding(size, (2, 2), where)
        # Freed memory with something in it, for a kernel that reads what it has not written.
        del_me = [torch.full((n,), 2**30, dtype=torch.int32) for n in (1, 4, 16, 64, 256) * 4]
        del del_me
        wrong += bool((case.call(engine).array() != 100).any())
    assert (wrong > 0) == undefined_here(engine), f"{wrong} of 120 were not the bias"


@each_engine()
@given(data=st.data())
def test_layout_and_batch_change_nothing(engine: str, data: st.DataObject) -> None:
    case = data.draw(conv_cases(engine, exact=False))
    whole = case.call(engine).array()
    for layout in ("contiguous", "channels_last"):
        for index in range(len(case.x)):
            changed = {"x": case.x[index : index + 1], "layout": layout}
            alone = ConvCase(**{**case.__dict__, **changed})
            expect_equal(alone.call(engine), whole[index : index + 1])
