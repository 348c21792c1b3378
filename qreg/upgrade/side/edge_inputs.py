"""Expressions with edge inputs, for which quantization has no defined result."""

from __future__ import annotations

_T = "torch.quantize_per_tensor({x}, {s}, {z}, torch.{d})"
_C = (
    "torch.quantize_per_channel({x}.reshape(1, -1), torch.tensor([{s}]), torch.tensor([{z}]), 0,"
    " torch.{d})"
)
_FT = "torch.fake_quantize_per_tensor_affine({x}, {s}, {z}, -128, 127)"
_FC = (
    "torch.fake_quantize_per_channel_affine({x}.reshape(1, -1), torch.tensor([{s}]),"
    " torch.tensor([{z}], dtype=torch.int32), 0, -128, 127)"
)
_X = "torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])"
_ODD = "torch.tensor([nan, inf, -inf])"
_DTYPES = {"qint8": (128, -129), "quint8": (256, -1), "qint32": (2**31, -(2**31) - 1)}


def probes() -> dict[str, str]:
    """Expressions by name; each evaluates to a tensor, a tuple or a number."""
    found: dict[str, str] = {}
    for dtype, beyond in _DTYPES.items():
        for way, form in (("per tensor", _T), ("per channel", _C)):
            for scale in ("-1.0", "0.0", "nan", "inf", "1e-45"):
                text = form.format(x=_X, s=scale, z=1, d=dtype)
                found[f"{way} {dtype} scale {scale}"] = f"({text}).int_repr()"
            for zero in beyond:
                text = form.format(x=_X, s=1.0, z=zero, d=dtype)
                found[f"{way} {dtype} zero point {zero}"] = f"({text}).int_repr()"
            text = form.format(x=_ODD, s=1.0, z=0, d=dtype)
            found[f"{way} {dtype} nan, inf, -inf"] = f"({text}).int_repr()"
    for way, form in (("per tensor", _FT), ("per channel", _FC)):
        for scale in ("-1.0", "0.0", "nan", "inf"):
            found[f"fake {way} scale {scale}"] = form.format(x=_X, s=scale, z=1)
        for zero in (128, -129):
            found[f"fake {way} zero point {zero}"] = form.format(x=_X, s=1.0, z=zero)
        found[f"fake {way} nan, inf, -inf"] = form.format(x=_ODD, s=1.0, z=0)
    return {**found, **_observers(), **_dynamic()}


def _observers() -> dict[str, str]:
    kinds = {
        "min-max": "MinMaxObserver()",
        "moving average": "MovingAverageMinMaxObserver()",
        "per channel": "PerChannelMinMaxObserver()",
        "histogram": "HistogramObserver()",
    }
    data = ("nan, 1.0", "inf, 1.0", "-inf, inf", "", "0.0", "3e38, -3e38")
    found = {}
    for name, make in kinds.items():
        for values in data:
            x = f"torch.tensor([[{values}]])"
            run = f"(lambda o: (o({x}), o.calculate_qparams())[1])(torch.ao.quantization.{make})"
            found[f"observer {name} of [{values}]"] = run
    return found


def _dynamic() -> dict[str, str]:
    weight = "torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.qint8)"
    run = "torch.ops.quantized.linear_dynamic(torch.tensor([[{}]]), {})"
    packed = f"torch.ops.quantized.linear_prepack({weight}, None)"
    data = ("nan, 1.0", "inf, 1.0", "0.0, 0.0", "3e38, -3e38", "1e-45, 0.0")
    return {f"dynamic linear of [{x}]": run.format(x, packed) for x in data}


#: Expressions that kill the process in some PyTorch version.
LETHAL = {
    "per channel float zero points": (
        "torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.tensor([0.5, 1.5]), 0,"
        " torch.qint32).dequantize()"
    ),
    "dynamic linear of no rows": (
        "torch.ops.quantized.linear_dynamic(torch.ones(0, 2), torch.ops.quantized.linear_prepack("
        "torch.quantize_per_tensor(torch.ones(1, 2), 0.5, 0, torch.qint8), None))"
    ),
    "linear of no columns": (
        "torch.ops.quantized.linear_prepack("
        "torch.quantize_per_tensor(torch.ones(1, 0), 0.5, 0, torch.qint8), None)"
    ),
    "convolution of no images": (
        "torch.ops.quantized.conv2d(torch.quantize_per_tensor(torch.ones(0, 1, 3, 3), 1, 0,"
        " torch.quint8), torch.ops.quantized.conv2d_prepack(torch.quantize_per_tensor("
        "torch.ones(1, 1, 1, 1), 1, 0, torch.qint8), None, [1, 1], [0, 0], [1, 1], 1), 1.0, 0)"
        ".int_repr()"
    ),
}


def show(value: object) -> str:
    """A result as text, including its values."""
    import torch

    if isinstance(value, torch.Tensor):
        return str(value.tolist())
    if isinstance(value, tuple | list):
        return str([show(part) for part in value])
    return type(value).__name__
