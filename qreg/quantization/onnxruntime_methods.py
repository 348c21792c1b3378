"""onnxruntime's own quantization of the exported float model: ort-fp32, ort-static, ort-dynamic.

onnx and onnxruntime are extras of the project, imported when a method is used.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.artifacts.onnx_file import OnnxModel, model_of
from qreg.data.inputs import arguments, call, named
from qreg.errors import UnavailableError
from qreg.quantization import METHODS
from qreg.quantization.method import Context, Method
from qreg.quantization.needs import logging_silenced


def export_onnx(model: nn.Module, example: Any) -> bytes:
    """Export a float model in evaluation mode to ONNX, for batches of any size.

    Args:
        example: inputs of two samples.
    """
    args, keywords = arguments(example)
    names = list(keywords) or [f"input{n}" if n else "input" for n in range(len(args))]
    buffer: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is deprecated
        torch.onnx.export(
            model,
            args,
            buffer,
            kwargs=keywords,
            input_names=names,
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    content: bytes = buffer.getvalue()
    return content


def quantize_bytes_static(
    exported: bytes,
    names: list[str],
    calibration: Iterable[tuple[Any, ...]],
    *,
    per_channel: bool = True,
    reduce_range: bool = True,
    qdq: bool = True,
) -> bytes:
    """Quantize an exported float model by `onnxruntime.quantization.quantize_static`.

    Args:
        names: of its inputs.
        calibration: batches of their values, in this order.
        per_channel: a scale for each output channel of a weight.
        reduce_range: weights of seven bits, which cannot saturate on CPUs without VNNI.
        qdq: float operators between QuantizeLinear and DequantizeLinear; else operators on codes.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    feeds = ({n: x.numpy() for n, x in zip(names, batch, strict=True)} for batch in calibration)

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "quantized.onnx")
        quantize_static(
            onnx.load_model_from_string(exported),
            path,
            Batches(),
            quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
            per_channel=per_channel,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def quantize_bytes_dynamic(
    exported: bytes, *, per_channel: bool = True, reduce_range: bool = True
) -> bytes:
    """Quantize an exported float model by `onnxruntime.quantization.quantize_dynamic`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "quantized.onnx")
        quantize_dynamic(
            onnx.load_model_from_string(exported),
            path,
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def run_onnx(content: bytes) -> Callable[..., torch.Tensor]:
    """A function that runs an ONNX model with one output by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.use_deterministic_compute = True
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        feed = {n: x.contiguous().numpy() for n, x in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@torch.no_grad()
def quantize_onnx_static(
    model: nn.Module, example: Any, calibration: Iterable[Any]
) -> Callable[..., torch.Tensor]:
    """Export a float model in evaluation mode, and quantize it by what onnxruntime observes."""
    batches = (tuple(x.contiguous() for x in arguments(one)[0]) for one in calibration)
    names = [f"input{n}" if n else "input" for n in range(len(arguments(example)[0]))]
    return run_onnx(quantize_bytes_static(export_onnx(model, example), names, batches))


@torch.no_grad()
def quantize_onnx_dynamic(model: nn.Module, example: Any) -> Callable[..., torch.Tensor]:
    """Export a float model in evaluation mode, and quantize its weights by onnxruntime."""
    return run_onnx(quantize_bytes_dynamic(export_onnx(model, example)))


def _exported(model: nn.Module, context: Context) -> bytes:
    if isinstance(model, OnnxModel):
        return model.embedded()
    try:
        return export_onnx(model, context.to_trace())
    except TypeError as error:  # a PyTorch without this exporter
        if "dynamo" not in str(error):
            raise
        raise UnavailableError(
            f"this PyTorch has no ONNX exporter of its own: {error}",
            hint="export the model by torch.onnx.export, and measure the file: file:PATH",
        ) from error


def _made(content: bytes, name: str, model: nn.Module, context: Context) -> nn.Module:
    with torch.no_grad():
        return model_of(content, name=name).like(call(model, context.to_trace()))


def _fp32(model: nn.Module, context: Context) -> nn.Module:
    return _made(_exported(model, context), "the export", model, context)


def _static(model: nn.Module, context: Context, *, name: str, **options: bool) -> nn.Module:
    exported = _exported(model, context)
    floats = model_of(exported, name="the export")
    batches = (_values(floats, one) for one in context.calibration())
    with logging_silenced():  # it recommends a preprocessing that the export does already
        content = quantize_bytes_static(exported, list(floats.input_names), batches, **options)
    return _made(content, name, model, context)


def _values(model: OnnxModel, inputs: Any) -> tuple[torch.Tensor, ...]:
    """The values of a batch in the order of the model's inputs."""
    by_name = dict(named(inputs))
    ordered = (
        [by_name[name] for name in model.input_names]
        if set(model.input_names) <= by_name.keys()
        else by_name.values()
    )
    return tuple(each.contiguous() for each in ordered)


def _dynamic(model: nn.Module, context: Context, *, name: str, **options: bool) -> nn.Module:
    with logging_silenced():
        content = quantize_bytes_dynamic(_exported(model, context), **options)
    return _made(content, name, model, context)


def ort_static(name: str = "ort-static", **options: bool) -> Method:
    """`ort-static` with other options, as a method of a project's own.

    Args:
        name: of the method.
        options: of `quantize_bytes_static`: per_channel, reduce_range, qdq.
    """
    info = replace(METHODS.info("ort-static"), name=name, replaces="")
    quantize: Any = partial(_static, name=name, **options)  # type: ignore[arg-type]
    return Method.of(info, quantize, separate=True)


def ort_dynamic(name: str = "ort-dynamic", **options: bool) -> Method:
    """`ort-dynamic` with other options: per_channel, reduce_range."""
    info = replace(METHODS.info("ort-dynamic"), name=name, replaces="")
    quantize: Any = partial(_dynamic, name=name, **options)  # type: ignore[arg-type]
    return Method.of(info, quantize, separate=True)


ORT_FP32 = Method.of(METHODS.info("ort-fp32"), _fp32, separate=True)
ORT_STATIC = Method.of(
    METHODS.info("ort-static"),
    partial(_static, name="ort-static"),
    recipe=(quantize_onnx_static,),
    separate=True,
)
ORT_STATIC_PER_TENSOR = Method.of(
    METHODS.info("ort-static-per-tensor"),
    partial(_static, name="ort-static-per-tensor", per_channel=False),
    separate=True,
)
ORT_STATIC_FULL_RANGE = Method.of(
    METHODS.info("ort-static-full-range"),
    partial(_static, name="ort-static-full-range", reduce_range=False),
    separate=True,
)
ORT_STATIC_QOPERATOR = Method.of(
    METHODS.info("ort-static-qoperator"),
    partial(_static, name="ort-static-qoperator", qdq=False),
    separate=True,
)
ORT_DYNAMIC = Method.of(
    METHODS.info("ort-dynamic"),
    partial(_dynamic, name="ort-dynamic"),
    recipe=(quantize_onnx_dynamic,),
    separate=True,
)
