"""What each layer computes: its quantization parameters, its output's digest and its SQNR."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional, QFunctional

from qreg.numerics import EQUAL_DB, Layer, Quantizer
from qreg.quantization.eager import fuse

_SHORT = 16  # hex digits of a digest that names a difference and guards nothing
# A sum's result passes through this child of FloatFunctional and QFunctional.
_RESULT = "activation_post_process"
_SILENT = (nn.Identity, nn.Dropout, nn.Flatten, ao.QuantStub, ao.DeQuantStub)
See = Callable[[str, torch.Tensor], None]


def float_twin(model: nn.Module, quantized: nn.Module) -> nn.Module:
    """The float model whose layers line up with a quantized one's.

    `model` holds the weights that `quantized` was made from: float, or with fake quantization,
    which is switched off. It is fused where the quantized model has no BatchNorm or ReLU left.
    """
    model.apply(ao.disable_fake_quant)
    model.apply(ao.disable_observer)
    gone = {name for name, module in quantized.named_modules() if type(module) is nn.Identity}
    fusable = (nn.BatchNorm2d, nn.ReLU)
    if any(name in gone and isinstance(m, fusable) for name, m in model.named_modules()):
        fuse(model)
    return model.eval()


@torch.no_grad()
def layer_numerics(
    run: Callable[[torch.Tensor], torch.Tensor],
    model: nn.Module,
    source: nn.Module,
    images: torch.Tensor,
) -> tuple[Layer, ...]:
    """Describe every layer of a model, in the order they run.

    Args:
        run: runs `model`.
        source: what it was quantized from; it is changed.
        images: model inputs, float32 (N, 3, H, W).
    """
    twin, modules = float_twin(source, model), dict(model.named_modules())
    names = {name for name, module in modules.items() if name and _is_layer(module)}
    wanted: dict[str, torch.Tensor] = {}
    layers: list[Layer] = []

    def keep(name: str, output: torch.Tensor) -> None:
        wanted[name] = output.clone()  # a later layer may work in place

    def describe(name: str, output: torch.Tensor) -> None:
        layers.append(_layer(name, modules, output, wanted.get(name)))

    with _watched(twin, names, keep):
        twin(images)
    with _watched(model, names, describe):
        run(images)
    return tuple(layers)


@torch.no_grad()
def layer_outputs(
    run: Callable[[torch.Tensor], torch.Tensor], model: nn.Module, images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The output of every layer of a model, in the order they run."""
    names = {name for name, module in model.named_modules() if name and _is_layer(module)}
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        outputs[name] = output.clone()  # a later layer may work in place

    with _watched(model, names, keep):
        run(images)
    return outputs


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, _SILENT):
        return False
    return not list(module.children()) or hasattr(module, "_packed_params")


@contextmanager
def _watched(model: nn.Module, names: set[str], see: See) -> Iterator[None]:
    """Call `see` with each output; a module that runs again is ``name#2``, ``name#3``, ..."""
    handles = []
    for name, module in model.named_modules():
        parent, _, leaf = name.rpartition(".")
        if leaf == _RESULT and isinstance(
            model.get_submodule(parent), (FloatFunctional, QFunctional)
        ):
            handles.append(module.register_forward_hook(_numbered(parent, see)))
        elif name in names:
            handles.append(module.register_forward_hook(_numbered(name, see)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _numbered(name: str, see: See) -> Callable[[nn.Module, Any, Any], None]:
    runs = 0

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal runs
        if isinstance(output, torch.Tensor):
            runs += 1
            see(name if runs == 1 else f"{name}#{runs}", output.detach())

    return hook


def _layer(
    name: str, modules: dict[str, nn.Module], output: torch.Tensor, twin: torch.Tensor | None
) -> Layer:
    module = modules[name.partition("#")[0]]
    weight, bias = _parameter(module, "weight"), _parameter(module, "bias")
    return Layer(
        name=name,
        kind=_kind(module),
        weight=_quantizer(weight),
        weight_digest=_digest(weight),
        bias_digest=_digest(bias),
        output=_quantizer(output),
        output_digest=_digest(output),
        sqnr_db=_sqnr(output, twin),
    )


def _kind(module: nn.Module) -> str:
    """``quantized.Conv2d``, ``intrinsic.quantized.ConvReLU2d``, ``Conv2d``, ``mine.nets.Block``."""
    path = type(module).__module__
    if path.startswith("torch."):
        path = path.removeprefix("torch.").removeprefix("ao.").removeprefix("nn.")
        path = path.partition("modules")[0].strip(".")
    return ".".join(part for part in (path, type(module).__name__) if part)


def _parameter(module: nn.Module, name: str) -> torch.Tensor | None:
    """A float module holds a tensor, a quantized one a method that returns it."""
    found: Any = getattr(module, name, None)
    if callable(found) and not isinstance(found, torch.Tensor):
        found = found()
    return found.detach() if isinstance(found, torch.Tensor) else None


def _quantizer(tensor: torch.Tensor | None) -> Quantizer | None:
    if tensor is None or not tensor.is_quantized:
        return None
    scheme = str(tensor.qscheme()).removeprefix("torch.")
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return Quantizer(scheme, dtype, (tensor.q_scale(),), (tensor.q_zero_point(),))
    scales = tensor.q_per_channel_scales().tolist()
    zeros = [int(zero) for zero in tensor.q_per_channel_zero_points().tolist()]
    return Quantizer(scheme, dtype, tuple(scales), tuple(zeros))


def _digest(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return ""
    values = tensor.int_repr() if tensor.is_quantized else tensor
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()[:_SHORT]


def _sqnr(output: torch.Tensor, twin: torch.Tensor | None) -> float | None:
    """10 log10 of the twin's energy over the difference's.

    Source: Lin et al., "Fixed point quantization of deep convolutional networks" (2016).
    """
    if twin is None or twin.shape != output.shape:
        return None
    seen = output.dequantize() if output.is_quantized else output
    if torch.equal(seen, twin):
        return EQUAL_DB
    noise, signal = _energy(twin - seen), _energy(twin)
    if not math.isfinite(noise) or not math.isfinite(signal) or signal == 0.0:
        return -EQUAL_DB
    return round(max(-EQUAL_DB, min(EQUAL_DB, 10 * math.log10(signal / noise))), 4)


def _energy(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2
