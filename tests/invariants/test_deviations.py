"""What torch does beyond the reach of its implementations, pinned: a fix is a finding too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.ao.quantization import observer as observers

from qreg.quantization import reference
from tests.invariants import deviations
from tests.invariants.implementations import FAKE, TENSORS
from tests.invariants.snippet import expect_equal, snippet
from tests.invariants.strategies import INFINITIES, any_scales, tensor_cases, zero_points

_FAR = np.array([2.0**31 - 128, 2.0**31, 2.0**33, 2.0**62, 2.0**64], dtype=np.float64)


@given(data=st.data())
def test_quantize_per_tensor_wraps_beyond_int32(data: st.DataObject) -> None:
    case = data.draw(tensor_cases(TENSORS.ranges, infinite=True))
    expected = deviations.wrapping_quantize(case.x.values, case.scale, case.zero_point, case.codes)
    expect_equal(snippet(TENSORS.expression("quantize", case.codes), **case.inputs), expected)


@pytest.mark.parametrize("codes", TENSORS.ranges, ids=str)
@given(data=st.data())
def test_quantize_per_channel_saturates_beyond_int32(
    codes: tuple[int, int], data: st.DataObject
) -> None:
    scale, zero = data.draw(any_scales(-60, 60)), data.draw(zero_points(codes))
    x = np.concatenate([_FAR * scale, -_FAR * scale, INFINITIES]).astype(np.float32)[None, :]
    expected = reference.quantize(x, [scale], [zero], qmin=codes[0], qmax=codes[1], axis=0)
    call = snippet(
        TENSORS.expression("quantize", codes, channels=True),
        x=x, s=np.array([scale], np.float32), z=np.array([zero]), axis=0,
    )  # fmt: skip
    expect_equal(call, expected)


@pytest.mark.parametrize("channels", [False, True], ids=["per tensor", "per channel"])
@given(data=st.data())
def test_fake_quantize_beyond_int64(channels: bool, data: st.DataObject) -> None:
    """To the nearer end of the range, or in the pinned cases always to the lower one."""
    casts = deviations.FAKE_QUANTIZE_CHANNELS_CASTS if channels else deviations.FAKE_QUANTIZE_CASTS
    codes = data.draw(st.sampled_from(FAKE.ranges))
    scale, zero = data.draw(any_scales(-60, 50)), data.draw(zero_points(codes))
    far = np.float32(2.0**64 * scale)
    x = np.array([[far, np.inf, -far, -np.inf]], dtype=np.float32)
    up = codes[0] if casts else codes[1]
    q = np.array([[up, up, codes[0], codes[0]]])
    parameters = (
        {"s": np.array([scale], np.float32), "z": np.array([zero]), "axis": 0}
        if channels
        else {"s": scale, "z": zero}
    )
    text = FAKE.expression("fake_quantize", codes, channels=channels)
    call = snippet(text, x=x, **parameters, lo=codes[0], hi=codes[1])
    expect_equal(call, reference.dequantize(q, scale, zero))


@pytest.mark.parametrize("beyond", [0.1, 0.3, 0.9])
def test_reduce_range_does_not_clamp(beyond: float) -> None:
    """It widens the steps; codes above 127 remain for what lies beyond the observed range."""
    found = observers.MinMaxObserver(reduce_range=True)
    found(torch.tensor([0.0, 1.0]))
    scale, zero = (value.item() for value in found.calculate_qparams())
    x = np.array([1.0 + beyond], dtype=np.float32)
    expected = reference.quantize(x, scale, zero, qmin=0, qmax=255)
    expect_equal(snippet(TENSORS.expression("quantize", (0, 255)), x=x, s=scale, z=zero), expected)
    assert int(expected[0]) > 127
