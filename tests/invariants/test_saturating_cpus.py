"""CPUs without VNNI: the oracle's pairs by themselves, and against the real kernels."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.quantization import reference
from qreg.quantization.engines import available_engines
from tests.invariants.engines import codes_of

_ROOT = Path(__file__).resolve().parents[2]
#: The suites whose expectation follows the machine: under these caps, the saturating sums.
_SUITES = ("engines", "linear", "conv")
_CAPS = {
    "AVX2": {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX512": {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}


def by_hand(row: list[int], kernel: list[int], zx: int) -> tuple[int, int]:
    """One output's sum and overflows, in plain integers: PMADDUBSW, then a sum of 32 bits."""
    products = [a * b for a, b in zip(row, kernel, strict=True)]
    total = overflows = 0
    for first, second in itertools.zip_longest(products[::2], products[1::2], fillvalue=0):
        kept = max(-32768, min(32767, first + second))
        total, overflows = total + kept, overflows + (kept != first + second)
    return total - zx * sum(kernel), overflows


@given(
    seeds=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)),
    width=st.integers(1, 9),
    zx=st.sampled_from((0, 1, 128, 255)),
)
def test_linear_sums_are_those_counted_by_hand(seeds: tuple[int, int], width: int, zx: int) -> None:
    x, w = codes_of(seeds[0], (3, width), 0, 255), codes_of(seeds[1], (4, width), -128, 127)
    found = reference.linear_in_pairs(x, w, zx=zx)
    assert found.pairs == (width + 1) // 2
    for i, j in np.ndindex(3, 4):
        expected = by_hand(x[i].tolist(), w[j].tolist(), zx)
        assert (found.accumulators[i, j], found.overflows[i, j]) == expected


def _window(
    image: npt.NDArray[np.int64], at: tuple[int, int], shape: tuple[int, int], fill: int
) -> list[list[int]]:
    """The channels seen at each place of a window, padding as `fill`."""
    channels, height, width = image.shape
    seen = []
    for row, col in itertools.product(
        range(at[0], at[0] + shape[0]), range(at[1], at[1] + shape[1])
    ):
        inside = 0 <= row < height and 0 <= col < width
        seen.append(image[:, row, col].tolist() if inside else [fill] * channels)
    return seen


@pytest.mark.parametrize("layout", ["fbgemm", "onednn"])
@given(
    seeds=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)),
    counts=st.sampled_from([(1, 1, 1), (2, 3, 1), (3, 2, 1), (4, 4, 2), (6, 2, 2)]),
    zx=st.sampled_from((0, 1, 128, 255)),
)
def test_convolution_sums_are_those_counted_by_hand(
    layout: Any, seeds: tuple[int, int], counts: tuple[int, int, int], zx: int
) -> None:
    """A 2 x 3 window, one pixel of padding: fbgemm's holds the zero point, oneDNN's is no term."""
    into, out, groups = counts
    x = codes_of(seeds[0], (2, into, 3, 4), 0, 255)
    w = codes_of(seeds[1], (out, into // groups, 2, 3), -128, 127)
    found = reference.conv2d_in_pairs(x, w, zx=zx, layout=layout, padding=(1, 1), groups=groups)
    assert found.accumulators.shape == found.overflows.shape == (2, out, 4, 4)
    group_in, group_out = into // groups, out // groups
    for n, o, row, col in np.ndindex(2, out, 4, 4):
        first = o // group_out * group_in
        image = x[n, first : first + group_in]
        seen = _window(image, (row - 1, col - 1), (2, 3), zx if layout == "fbgemm" else -1)
        kernel = w[o].reshape(group_in, 6).T.tolist()
        if layout == "onednn":
            seen, kernel = _as_onednn(seen, kernel)
        total, overflows = by_hand([*chain(*seen)], [*chain(*kernel)], zx)
        assert (found.accumulators[n, o, row, col], found.overflows[n, o, row, col]) == (
            total,
            overflows,
        )


def _as_onednn(
    seen: list[list[int]], kernel: list[list[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Places outside the image left out, channels of each place filled up to an even count."""
    inside = [k for k, channels in enumerate(seen) if -1 not in channels]
    fill = [0] * (len(kernel[0]) % 2)
    return [seen[k] + fill for k in inside], [kernel[k] + fill for k in inside]


@given(
    seeds=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)),
    layout=st.sampled_from(["fbgemm", "onednn"]),
)
def test_seven_bit_activations_never_overflow(seeds: tuple[int, int], layout: Any) -> None:
    """127 * 128 * 2 fits 16 bits: what `reduce_range` is for."""
    x, w = codes_of(seeds[0], (1, 3, 5, 5), 0, 127), codes_of(seeds[1], (4, 3, 3, 3), -128, 127)
    found = reference.conv2d_in_pairs(x, w, zx=64, layout=layout, padding=(1, 1))
    assert not found.overflows.any()
    assert np.array_equal(found.accumulators, reference.conv2d(x, w, zx=64, padding=(1, 1)))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86-64 CPU")
@pytest.mark.slow
@pytest.mark.parametrize("cap", ["AVX2", "AVX512"])
def test_kernels_without_vnni_compute_what_the_oracle_says(cap: str) -> None:
    files = [f"tests/invariants/test_{suite}.py" for suite in _SUITES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0"]
    environment = {**os.environ, **_CAPS[cap], "HYPOTHESIS_PROFILE": "again"}
    environment.pop("PYTEST_ADDOPTS", None)
    run = subprocess.run(
        [*command, *files], cwd=_ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-8000:]
    assert "passed" in run.stdout


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86-64 CPU")
@pytest.mark.parametrize("engine", ["fbgemm", "onednn"])
def test_audit_predicts_a_whole_model_layer_by_layer(engine: str) -> None:
    """simple_cnn without `reduce_range`: every code as predicted but for float32 at ties."""
    if engine not in available_engines():
        pytest.skip(f"no {engine} in this PyTorch")
    command = [sys.executable, "-m", "tests.invariants.real_kernels", "--engine", engine]
    environment = {**os.environ, **_CAPS["AVX2"], "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, "--images", "2"], cwd=_ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-4000:]
    layers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [layer["layer"] for layer in layers] == ["conv1", "conv2", "conv3", "fc1", "fc2", "fc3"]
    assert all(layer["unexplained"] == 0 for layer in layers), layers
    # Without overflows nothing would be confirmed.
    assert layers[0]["overflows"] > 1000
    assert layers[0]["differ_from_exact"] > 100
