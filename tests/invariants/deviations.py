"""Where torch does not do what quantization means, and what it does instead.

The properties stop at `Implementation.reach`; `test_deviations` pins what lies beyond, so that
a fix in torch is a finding too. Versions are those this suite was run on: 2.6.0, 2.9.1, 2.14.1
and 2.15.0.

    python -m tests.invariants.deviations     prints the table of docs/evidence/deviations.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])

#: `quantize_per_tensor` converts to int32 before it adds the zero point, and the sum wraps: a
#: value beyond 2**31 steps becomes the far end of the range when the zero point pushes it over.
#: Seen in all of 2.6 .. 2.15; https://github.com/pytorch/pytorch/issues/133557 (open in 2024).
QUANTIZE_WRAPS = True

#: `fake_quantize_per_tensor_affine` cast to int64 before clamping, and a value beyond 2**63
#: steps, +inf included, became quant_min: https://github.com/pytorch/pytorch/issues/116992,
#: mended by https://github.com/pytorch/pytorch/pull/155109. Seen in 2.6, mended in 2.9; 2.7 and
#: 2.8 were not tried.
FAKE_QUANTIZE_CASTS = VERSION < (2, 8)

#: `fake_quantize_per_channel_affine` still does so: seen in all of 2.6 .. 2.15;
#: https://github.com/pytorch/pytorch/issues/111471.
FAKE_QUANTIZE_CHANNELS_CASTS = True

#: oneDNN's ``brg_conv_fwd`` for AVX-512, with or without VNNI, takes the zero point's correction
#: for an output that sees nothing but padding (which needs a dilation) from memory that nothing
#: has written: the output changes from call to call. Found by this suite in 2.9, 2.14 and 2.15,
#: not in 2.6; 2.7 and 2.8 were not tried. No issue was found; uxlfoundation/oneDNN#5080 is of the
#: same code.
ONEDNN_READS_UNWRITTEN = VERSION >= (2, 8)

#: max_pool2d and avg_pool2d of a quantized tensor of 1 x 1 pixels, which is channels_last and
#: contiguous at once, compute a larger output in one order and label it the other: channels are
#: mixed up. Found by this suite in all of 2.6 .. 2.15 (not with qnnpack); no issue was found.
POOLS_MIX_CHANNELS = True

#: HistogramObserver spread a histogram of one single value with the count of the new batch, not
#: its own: ``bin_value = torch.sum(update_hist)`` in ``_combine_histograms``:
#: https://github.com/pytorch/pytorch/issues/156414, mended by
#: https://github.com/pytorch/pytorch/pull/156457. Seen in 2.6, mended in 2.9; 2.7 and 2.8 were
#: not tried.
HISTOGRAM_MISCOUNTS = VERSION < (2, 8)


def is_fbgemm_depthwise(w: npt.NDArray[Any], where: dict[str, Any]) -> bool:
    """Whether fbgemm has a depthwise kernel for this: these add saturating pairs on every CPU.

    Found by this suite's nightly run in 2.14, seen in 2.6 too; FBGEMM's src/FbgemmConv.cc,
    ``takeDepthWiseFastPath``, says for which shapes; no issue was found.
    """
    (out, width, kh, kw), groups = w.shape, where["groups"]
    channels = width == 1 and groups % 8 == 0 and out in (groups, 2 * groups)
    window = kh == kw and kh in (3, 5) and where["padding"] == (kh // 2, kh // 2)
    plain = where["dilation"] == (1, 1) and set(where["stride"]) <= {1, 2}
    return bool(channels and window and plain)


def wrapping_quantize(
    x: npt.NDArray[np.float32], scale: float, zero_point: int, codes: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """What fbgemm's vector code does, NaN included.

    Source: FBGEMM, src/QuantUtilsAvx2.cc, ``QuantizeAvx2``: multiply, MINPS with the largest
    float32 below 2**31 (which takes NaN to that), CVTPS2DQ (which takes all that does not fit
    to -2**31), add the zero point in int32, clamp.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scaled = x * (np.float32(1) / np.float32(scale))
        least = np.where(scaled < np.float32(2147483520), scaled, np.float32(2147483520))
        rounded = np.rint(least.astype(np.float64))
    whole = np.where(rounded >= -(2.0**31), rounded, -(2.0**31)).astype(np.int64) + zero_point
    wrapped = (whole + 2**31) % 2**32 - 2**31
    return np.clip(wrapped, *codes)


def histogram_mass(batches: list[list[float]]) -> int:
    """How many values a HistogramObserver holds after these batches, of one value or more."""
    mass, seen = 0, batches[0]
    for batch in batches:
        low, high = min(seen), max(seen)
        seen = [*seen, *batch]
        grows = (min(seen), max(seen)) != (low, high)
        if HISTOGRAM_MISCOUNTS and mass and grows and low == high:
            mass = 2 * len(batch)
        else:
            mass += len(batch)
    return mass


@dataclass(frozen=True)
class Deviation:
    """A row of the table: what torch does, in which versions, the issue, and what pins it here."""

    what: str
    where: str
    issue: str
    pinned_by: str


FOUND = (
    Deviation(
        "`quantize_per_tensor` wraps: a value 2^31 steps or more from zero, an infinity "
        "included, becomes the opposite end of the range when adding the zero point overflows",
        "all versions tested; per channel is right",
        "pytorch/pytorch#133557",
        "test_deviations.py",
    ),
    Deviation(
        "`fake_quantize_per_tensor_affine` maps +inf to `quant_min`",
        "2.6; right from 2.9 on",
        "pytorch/pytorch#116992, fixed by #155109",
        "test_deviations.py",
    ),
    Deviation(
        "`fake_quantize_per_channel_affine` maps +inf to `quant_min`",
        "all versions tested",
        "pytorch/pytorch#111471",
        "test_deviations.py",
    ),
    Deviation(
        "an observer that receives NaN used to raise, and now silently returns a scale of "
        "NaN: `assert min_val <= max_val` became `if min_val > max_val: raise`",
        "raises in 2.6 and 2.9, silent in 2.14 and 2.15",
        "none found",
        "odd_inputs.json",
    ),
    Deviation(
        "`HistogramObserver` counts a first batch of one single value with the size of the "
        "second batch",
        "2.6; right from 2.9 on",
        "pytorch/pytorch#156414, fixed by #156457",
        "test_observers.py",
    ),
    Deviation(
        "quantized `max_pool2d` and `avg_pool2d` of an image of 1 x 1 pixels with padding mix "
        "up channels",
        "all versions tested, not with qnnpack",
        "none found",
        "test_pointwise.py",
    ),
    Deviation(
        "quantized `avg_pool2d` rounds ties before adding the zero point in channels_last, "
        "after it in the other layout: the layout changes a code",
        "all versions tested, not with qnnpack",
        "none found",
        "test_pointwise.py",
    ),
    Deviation(
        "oneDNN's int8 convolution reads uninitialized memory for outputs that see only "
        "padding (which requires dilation): the output changes from call to call",
        "2.9, 2.14, 2.15, on AVX-512; right in 2.6",
        "none found; uxlfoundation/oneDNN#5080 is of the same code",
        "test_conv.py",
    ),
    Deviation(
        "fbgemm's depthwise convolutions (3 x 3 and 5 x 5, groups a multiple of 8) add "
        "saturating 16-bit pairs on every CPU, with VNNI too; the `x86` engine runs them for "
        "more than 100 groups",
        "all versions tested",
        "none found",
        "test_conv.py",
    ),
    Deviation(
        "oneDNN's kernels round after adding the zero point, fbgemm's and qnnpack's before "
        "it; the `x86` engine takes oneDNN's convolutions with VNNI, and fbgemm's linear "
        "layers",
        "all versions tested",
        "documented",
        "test_engines.py",
    ),
    Deviation(
        "qnnpack's add rounds ties away from zero",
        "all versions tested",
        "",
        "test_pointwise.py",
    ),
    Deviation(
        "`reduce_range` does not clamp: an activation beyond the observed range gets a code "
        "above 127",
        "all versions tested",
        "",
        "test_deviations.py",
    ),
    Deviation(
        "`quantize_per_channel` with float zero points and qint32 kills the process on "
        "`dequantize()` (SIGILL)",
        "all versions tested",
        "",
        "odd_inputs.json",
    ),
)


def table() -> str:
    """The table in Markdown."""
    rows = [(one.what, one.where, one.issue, f"`{one.pinned_by}`") for one in FOUND]
    head = ("what torch does", "versions", "issue", "pinned by")
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * 4, *rows))


if __name__ == "__main__":
    print(table())
