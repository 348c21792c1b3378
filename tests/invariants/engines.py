"""Which kernel an engine runs on this machine, found by asking it.

The ``x86`` engine runs fbgemm's kernels or oneDNN's, as the CPU and the layer are; CPUs without
VNNI add products in saturating pairs. `test_engines` holds what is found against what is known.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qreg.quantization.engines import ENGINES, available_engines
from qreg.quantization.reference import Order
from tests.invariants.snippet import Snippet, snippet

#: Rounding order by kernel; the sources are in the oracle's `requantization`.
ORDERS: dict[str, Order] = {
    "fbgemm": "round_first",
    "onednn": "zero_point_first",
    "qnnpack": "round_first",
}


def each_engine() -> pytest.MarkDecorator:
    """Parametrize a test over all engines; one that this PyTorch lacks is skipped."""
    here = available_engines()
    marked = [
        pytest.param(e, marks=pytest.mark.skipif(e not in here, reason=f"no {e} in this PyTorch"))
        for e in ENGINES
    ]
    return pytest.mark.parametrize("engine", marked)


def set_engine(engine: str) -> tuple[str, ...]:
    """Statements for a snippet."""
    return (f"torch.backends.quantized.engine = '{engine}'",)


def quantized_source(codes: str, scale: object, zero_point: object) -> str:
    """Source of a quantized tensor, of one scale or of one for each index of axis 0."""
    if isinstance(scale, str):
        return f"torch._make_per_channel_quantized_tensor({codes}, {scale}, {zero_point}, 0)"
    return f"torch._make_per_tensor_quantized_tensor({codes}, {scale}, {zero_point})"


def probe(engine: str, op: str, codes: int, weight: int, out_scale: float, zero: int) -> Snippet:
    """Two products of `codes` and `weight`, through a linear layer or a 1x1 convolution."""
    ones = "(1, 2)" if op == "linear" else "(1, 2, 1, 1)"
    x = f"torch.full({ones}, {codes}, dtype=torch.uint8)"
    w = f"torch.full({ones}, {weight}, dtype=torch.int8)"
    rest = "None" if op == "linear" else "None, [1, 1], [0, 0], [1, 1], 1"
    run = f"torch.ops.quantized.{op}(x, torch.ops.quantized.{op}_prepack(w, {rest}), s, z)"
    return snippet(
        f"{run}.int_repr().reshape(-1)",
        prepare=set_engine(engine),
        x=quantized_source(x, 1.0, 0),
        w=quantized_source(w, 1.0, 0),
        s=out_scale,
        z=zero,
    )


@lru_cache
def kernel(engine: str, op: str) -> str:
    """``fbgemm``, ``onednn`` or ``qnnpack``: told by which way a tie goes."""
    if engine != "x86":
        return engine
    # 2 / 4 is half a step: 0 + 3 if rounded first, the even one of 3 and 4 if not.
    tie = int(probe(engine, op, 1, 1, 4.0, 3).array()[0])
    return {3: "fbgemm", 4: "onednn"}[tie]


def order(engine: str, op: str) -> Order:
    """In which order the engine's kernel rounds and adds the zero point."""
    return ORDERS[kernel(engine, op)]


@lru_cache
def saturates(engine: str, op: str) -> bool:
    """Whether sums of two products saturate at 16 bits, on this machine, in this process."""
    # 2 * 255 * 127 = 64770 in steps of 512, or 32767 of it.
    found = int(probe(engine, op, 255, 127, 512.0, 0).array()[0])
    assert found in (64, 126, 127), f"neither exact nor saturated: {found}"
    return found == 64


@lru_cache
def onednn_has_avx512() -> bool:
    """Whether oneDNN may use AVX-512 here; False too where the CPU cannot be asked."""
    cpuinfo = Path("/proc/cpuinfo")
    has = cpuinfo.exists() and "avx512bw" in cpuinfo.read_text()
    return has and os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512_CORE").startswith("AVX512")


def codes_of(seed: int, shape: tuple[int, ...], lowest: int, highest: int) -> npt.NDArray[np.int64]:
    """Integers drawn with a seed, in one of the ways that break kernels."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    if kind == 0:
        return rng.integers(lowest, highest + 1, shape)
    if kind == 1:
        return rng.choice([lowest, highest], shape)
    if kind == 2:
        return np.clip(rng.integers(-2, 3, shape), lowest, highest)
    return np.full(shape, highest)
