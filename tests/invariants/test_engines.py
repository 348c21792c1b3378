"""What the engines of this machine are, against what is known of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.invariants import engines
from tests.invariants.engines import each_engine
from tests.invariants.snippet import expect_equal

#: What keeps a kernel off VNNI, for a CPU that has it.
_CAPS = {
    "fbgemm": ("FBGEMM_ENABLE_INSTRUCTIONS", ("AVX2", "AVX512")),
    "onednn": ("ONEDNN_MAX_CPU_ISA", ("AVX2", "AVX512_CORE")),
}


def cpu_has_vnni() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo here")
    return "avx512_vnni" in cpuinfo.read_text()


@pytest.mark.parametrize("op", ["linear", "conv2d"])
@each_engine()
def test_ties_are_rounded_as_the_kernel_is_known_to(engine: str, op: str) -> None:
    """1.5 and 2.5 steps, with an odd and an even zero point."""
    for half, zero in ((3, 3), (3, 4), (5, 3), (5, 4)):
        call = engines.probe(engine, op, half, 1, 4.0, zero)
        even_code = (2 * zero + half) // 2
        even_code += even_code % 2
        even_step = half // 2 + (half // 2) % 2
        first = engines.order(engine, op) == "round_first"
        expect_equal(call, [even_step + zero if first else even_code])


@each_engine()
def test_linear_layers_of_x86_are_fbgemms(engine: str) -> None:
    assert engines.kernel(engine, "linear") == ("fbgemm" if engine == "x86" else engine)


@each_engine()
def test_convolutions_of_x86_are_onednns_just_with_vnni(engine: str) -> None:
    """ATen, OnednnUtils.h, ``should_use_onednn_quant``."""
    expected = engine
    if engine == "x86":
        expected = "onednn" if cpu_has_vnni() else "fbgemm"
    assert engines.kernel(engine, "conv2d") == expected


@pytest.mark.parametrize("op", ["linear", "conv2d"])
@each_engine()
def test_pairs_saturate_just_without_vnni(engine: str, op: str) -> None:
    """On a CPU that lacks it, or one kept from it by a variable; qnnpack never does."""
    kernel = engines.kernel(engine, op)
    name, values = _CAPS.get(kernel, ("", ()))
    capped = os.environ.get(name) in values
    expected = kernel != "qnnpack" and (capped or not cpu_has_vnni())
    assert engines.saturates(engine, op) == expected
