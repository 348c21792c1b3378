"""What a user's model must be, checked before anything slow begins."""

from __future__ import annotations

import torch
from torch import nn

from qreg.errors import ContractError

_PACKED = "_packed_params"
_QUANTIZED = (torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4)


def refuse_quantized(model: nn.Module, *, name: str) -> None:
    """Refuse a model that is quantized already, or prepared to be.

    Raises:
        ContractError: a layer of it is.
    """
    for layer, module in model.named_modules():
        found = _quantized_kind(module)
        if found:
            raise ContractError(
                f"model '{name}' is quantized already: {layer or 'the model'} is {found}",
                hint="return the float model; an int8 artifact is a method: "
                "see 'Your own method' in the docs",
            )


def _quantized_kind(module: nn.Module) -> str:
    kind = f"{type(module).__module__}.{type(module).__name__}"
    if hasattr(module, _PACKED) or (".ao.nn.quantized" in kind and "FloatFunctional" not in kind):
        return kind
    if hasattr(module, "weight_fake_quant") or isinstance(
        module, torch.ao.quantization.FakeQuantizeBase | torch.ao.quantization.ObserverBase
    ):
        return kind
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    for tensor in tensors:
        # torchao's weights are subclasses of tensors that say float
        if tensor.dtype in _QUANTIZED or hasattr(tensor, "__tensor_flatten__"):
            return f"{kind} with a tensor {type(tensor).__name__} of {tensor.dtype}"
    return ""
