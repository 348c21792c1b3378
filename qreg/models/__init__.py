"""Model architectures by name, and the contract a factory keeps.

The contract of a factory, the shipped ones' and a user's ``package.module:factory``:

- called without arguments it returns a fresh, float `torch.nn.Module` with random weights;
- the module maps float images (N, 3, H, W) to logits (N, classes), and N may be 1;
- layers that are to be fused are modules of their own, used once each (`nn.ReLU()`, not
  `functional.relu`); sums go through `torch.ao.nn.quantized.FloatFunctional`;
- a `QuantStub` and `DeQuantStub` may be in it; where they are missing they are put around it;
- a method ``fuse_model(is_qat)`` as torchvision's quantizable models have it is used for
  fusing when there is one; else chains of Conv, BatchNorm and ReLU are found by torch.fx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qreg.errors import ContractError
from qreg.registry import Registry

if TYPE_CHECKING:
    from torch import nn


class ModelFactory(Protocol):
    """Builds a fresh float model with random weights."""

    def __call__(self) -> nn.Module: ...


MODELS: Registry[ModelFactory] = Registry("model")
MODELS.register("simple_cnn", "qreg.models.simple_cnn:SimpleCNN")
MODELS.register("linear_100", "qreg.models.linear_100:Linear100")
MODELS.register("resnet20", "qreg.models.resnet20:ResNet20")
MODELS.register("mobilenet_v2", "qreg.models.mobilenet_v2:mobilenet_v2")


def build_model(name: str, *, seed: int = 0) -> nn.Module:
    """Build a fresh float model, its random weights drawn from `seed`, in evaluation mode.

    Raises:
        UnknownNameError: `name` is neither registered nor ``package.module:factory``.
        ContractError: the factory needs arguments, or does not return a module.
    """
    import torch

    factory = MODELS.get(name)
    if not callable(factory):
        raise ContractError(f"model '{name}' is not callable", hint=_HINT)
    torch.manual_seed(seed)
    try:
        model = factory()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ContractError(f"model '{name}': {error}", hint=_HINT) from error
    if not isinstance(model, torch.nn.Module):
        found = type(model).__name__
        raise ContractError(f"model '{name}' returned {found}, not torch.nn.Module", hint=_HINT)
    from qreg.models.stubs import with_stubs

    return with_stubs(model).eval()


_HINT = "a model is a function without arguments that returns a fresh float torch.nn.Module"


def check_output(name: str, logits: object, *, batch: int, classes: int) -> None:
    """Check that a model's output is logits (batch, at least `classes`).

    Raises:
        ContractError: it is not a tensor of that shape.
    """
    import torch

    if not isinstance(logits, torch.Tensor):
        found = type(logits).__name__
    elif logits.ndim == 2 and logits.shape[0] == batch and logits.shape[1] >= classes:
        return
    else:
        found = f"a tensor of shape {tuple(logits.shape)}"
    raise ContractError(
        f"model '{name}' returned {found} for {batch} images",
        hint=f"its forward must map (N, 3, H, W) to logits (N, {classes})",
    )
