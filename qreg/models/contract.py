"""What a user's model must be, checked before anything slow begins."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from qreg.errors import ContractError, QregError

if TYPE_CHECKING:
    from qreg.data.inputs import Inputs

_PACKED = "_packed_params"
_QUANTIZED = (torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4)


def refuse_script(model: nn.Module, *, name: str) -> None:
    """Refuse a model of TorchScript that a factory returned.

    Raises:
        ContractError: it is one.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ContractError(
            f"model '{name}' is TorchScript ({type(model).__name__}): no method can replace its "
            "layers",
            hint="return the nn.Module that it was made from; a delivered TorchScript file is "
            "judged as it is: name the method file:PATH",
        )


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


@torch.no_grad()
def tried(
    model: nn.Module, sample: Inputs, *, name: str, classes: int, task: str = "classification"
) -> nn.Module:
    """Run a float model on a batch and on a batch of one, and check what comes out.

    Returns:
        The model; where it cannot take images in channels_last order (``view`` after a
        convolution), one that is given them in contiguous order; where it writes to its inputs,
        one that is given copies.

    Raises:
        ContractError: it fails for a batch of one, or its outputs are no logits.
    """
    from qreg.data import inputs
    from qreg.models import CONTIGUOUS, check_logits
    from qreg.models.stubs import is_contiguous

    model, outputs = _run(model.eval(), sample)
    if is_contiguous(model):
        warnings.warn(CONTIGUOUS, stacklevel=2)
    check_logits(name, outputs, batch=inputs.count(sample), classes=classes, task=task)
    try:
        alone = inputs.call(model, inputs.head(sample, 1))
    except QregError:
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        raise ContractError(
            f"model '{name}' fails for a batch of one: {type(error).__name__}: {text}",
            hint="batches of one are measured too: reshape with flatten(1), not squeeze()",
        ) from error
    check_logits(name, alone, batch=1, classes=classes, task=task)
    return model


@torch.no_grad()
def takes(model: nn.Module, sample: Inputs) -> nn.Module:
    """The model, given images in the order that it can take, and copies if it writes to them."""
    return _run(model, sample)[0]


def _run(model: nn.Module, sample: Inputs) -> tuple[nn.Module, Any]:
    from qreg.data import inputs
    from qreg.models.stubs import with_contiguous_inputs, with_copied_inputs

    given = inputs.mapped(sample, torch.clone)  # in the same memory order
    try:
        outputs = inputs.call(model, given)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        model = with_contiguous_inputs(model)
        outputs = inputs.call(model, given)
    pairs = zip(inputs.tensors(given), inputs.tensors(sample), strict=True)
    if any(_written(*pair) for pair in pairs):
        model = with_copied_inputs(model)
    return model, outputs


def _written(given: torch.Tensor, sample: torch.Tensor) -> bool:
    """Whether a run changed floats or ids; tensors of other kinds are not looked at."""
    if sample.layout is not torch.strided or sample.dtype not in _COMPARED:
        return False
    return not torch.equal(given.nan_to_num(), sample.nan_to_num())


_COMPARED = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
             torch.uint8)  # fmt: skip
