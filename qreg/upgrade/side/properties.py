"""Properties of quantization, checked for this PyTorch and its kernels with the integer oracle.

Each uses a few fixed random inputs; the project's `tests/invariants` cover more. Properties that
are broken in every known version are included: a fix is a change too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch.ao.quantization import observer as observers

from qreg.quantization import reference
from qreg.quantization.engines import ENGINES, available_engines
from qreg.upgrade.side.kernels import KERNELS

Array = npt.NDArray[np.float32]
_RANGES = {"qint8": (-128, 127), "quint8": (0, 255)}
HOLDS, BROKEN = "holds", "broken"


def check(name: str) -> str:
    """`HOLDS`, or how the property is violated."""
    try:
        return PROPERTIES[name]()
    except Exception as error:
        return f"{BROKEN}: raises {type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"


def _equal(values: npt.ArrayLike, expected: npt.ArrayLike) -> str:
    observed, wanted = np.asarray(values), np.asarray(expected)
    wrong = np.flatnonzero(~(observed == wanted).ravel())
    if not len(wrong):
        return HOLDS
    first = int(wrong[0])
    return (
        f"{BROKEN}: {len(wrong)} of {wanted.size}, {observed.ravel()[first]} instead of "
        f"{wanted.ravel()[first]} at {first}"
    )


def _values(scale: float) -> Array:
    rng = np.random.default_rng(0)
    halves = (np.arange(-8, 9) + 0.5) * scale
    return np.concatenate([rng.normal(0, 60 * scale, 400), halves]).astype(np.float32)


def _per_tensor(dtype: str) -> str:
    x, scale, zero = _values(0.25), 0.25, 3
    q = torch.quantize_per_tensor(torch.tensor(x), scale, zero, getattr(torch, dtype))
    low, high = _RANGES[dtype]
    return _equal(q.int_repr(), reference.quantize(x, scale, zero, qmin=low, qmax=high))


def _per_channel() -> str:
    x, scales, zeros = _values(0.25)[:400].reshape(4, 100), [0.25, 0.5, 1.0, 0.125], [0, 1, -2, 3]
    q = torch.quantize_per_channel(
        torch.tensor(x), torch.tensor(scales), torch.tensor(zeros), 0, torch.qint8
    )
    return _equal(q.int_repr(), reference.quantize(x, scales, zeros, qmin=-128, qmax=127, axis=0))


def _dequantize() -> str:
    codes = torch.arange(256, dtype=torch.uint8)
    made = torch._make_per_tensor_quantized_tensor(codes, 0.3, 7)
    return _equal(made.dequantize(), reference.dequantize(codes.numpy(), 0.3, 7))


def _fake_per_tensor() -> str:
    x = _values(0.25)
    found = torch.fake_quantize_per_tensor_affine(torch.tensor(x), 0.25, 3, -128, 127)
    return _equal(found, reference.fake_quantize(x, 0.25, 3, qmin=-128, qmax=127))


def _beyond(quantize: Callable[[torch.Tensor], torch.Tensor], top: float) -> str:
    """Values far beyond the range are clamped to its nearer end."""
    return _equal(quantize(torch.tensor([float("inf"), 3e38, 2.0**40])), [top] * 3)


def _fake_channels(x: torch.Tensor) -> torch.Tensor:
    zeros = torch.zeros(1, dtype=torch.int32)
    made = torch.fake_quantize_per_channel_affine(
        x.reshape(1, -1), torch.ones(1), zeros, 0, -128, 127
    )
    return made.reshape(-1)


def _min_max() -> str:
    x = _values(0.25)
    found = observers.MinMaxObserver()
    found(torch.tensor(x))
    scale, zero = found.calculate_qparams()
    wanted = reference.choose_affine(float(x.min()), float(x.max()), qmin=0, qmax=255)
    return _equal([scale.item(), zero.item()], [np.float32(wanted.scale), wanted.zero_point])


def _refuses_nan(kind: str) -> str:
    found = getattr(observers, kind)()
    try:
        found(torch.tensor([[float("nan"), 1.0]]))
        scale = found.calculate_qparams()[0]
    except Exception:
        return HOLDS
    good = bool(torch.isfinite(scale).all())
    return HOLDS if good else f"{BROKEN}: it returns {scale.flatten()[0].item()}"


def _counts() -> str:
    found = observers.HistogramObserver()
    for batch in ([1.0], [0.0, 2.0, 3.0]):
        found(torch.tensor(batch))
    return _equal(found.histogram.sum().item(), 4.0)


def _within() -> str:
    """A histogram's scale is at most that of the observed range, and at least a tenth of it."""
    x = torch.tensor(_values(0.25))
    wide, found = observers.MinMaxObserver(), observers.HistogramObserver()
    wide(x), found(x)
    share = (found.calculate_qparams()[0] / wide.calculate_qparams()[0]).item()
    return HOLDS if 0.1 <= share <= 1.01 else f"{BROKEN}: {share} of the range"


def _pools() -> str:
    codes = torch.arange(6, dtype=torch.uint8).reshape(1, 6, 1, 1)
    q = torch._make_per_tensor_quantized_tensor(codes, 1.0, 0)
    pooled = torch.nn.functional.max_pool2d(q, 3, stride=1, padding=(1, 1)).int_repr()
    wide = torch.nn.functional.max_pool2d(q, 2, stride=1, padding=1).int_repr()
    return _equal(np.concatenate([pooled.flatten(), wide.flatten()]),
                  np.concatenate([codes.flatten(), np.repeat(codes.flatten(), 4)]))  # fmt: skip


def _saved() -> str:
    x = torch.tensor(_values(0.25)[:400].reshape(4, 100))
    made = torch.quantize_per_channel(
        x, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 1, 2, 3]), 0, torch.qint8
    )
    buffer = io.BytesIO()
    torch.save(made, buffer)
    buffer.seek(0)
    return _equal(torch.load(buffer, weights_only=True).dequantize(), made.dequantize())


def _finite_dynamic() -> str:
    weight = torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)
    found = torch.ops.quantized.linear_dynamic(torch.tensor([[float("inf"), 1.0]]), packed)
    return HOLDS if not torch.isnan(found).any() else f"{BROKEN}: NaN"


def _on(engine: str, work: Callable[[], str]) -> str:
    if engine not in available_engines():
        return "unavailable"
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        return work()
    finally:
        torch.backends.quantized.engine = before


_QUANTIZE = partial(torch.quantize_per_tensor, scale=1.0, zero_point=0, dtype=torch.qint8)
_FAKE = partial(
    torch.fake_quantize_per_tensor_affine, scale=1.0, zero_point=0, quant_min=-128, quant_max=127
)
PROPERTIES: dict[str, Callable[[], str]] = {
    **{f"quantize_per_tensor to {d} equals the oracle": partial(_per_tensor, d) for d in _RANGES},
    "quantize_per_channel equals the oracle": _per_channel,
    "dequantize equals the oracle": _dequantize,
    "fake_quantize per tensor equals the oracle": _fake_per_tensor,
    "quantize_per_tensor clamps infinity": lambda: _beyond(lambda x: _QUANTIZE(x).int_repr(), 127),
    "fake_quantize per tensor clamps infinity": lambda: _beyond(_FAKE, 127.0),
    "fake_quantize per channel clamps infinity": lambda: _beyond(_fake_channels, 127.0),
    "MinMaxObserver gives the oracle's scale and zero point": _min_max,
    **{
        f"{kind} gives no scale for NaN": partial(_refuses_nan, kind)
        for kind in ("MinMaxObserver", "PerChannelMinMaxObserver", "HistogramObserver")
    },
    "HistogramObserver counts every value": _counts,
    "HistogramObserver stays within the range": _within,
    "max_pool2d of single pixels keeps channels separate": _pools,
    "a quantized tensor survives torch.save": _saved,
    "linear_dynamic of infinity is not NaN": lambda: _on("fbgemm", _finite_dynamic),
    **{
        f"{name} on {engine}": partial(_on, engine, partial(_run, _equal))
        for name, _run in KERNELS.items()
        for engine in ENGINES
    },
}
