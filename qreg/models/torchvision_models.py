"""torchvision's networks: ``torchvision:resnet18``, ``torchvision.quantization:resnet18``."""

from __future__ import annotations

import difflib
import inspect
from functools import partial
from typing import Any

from torch import nn

from qreg.errors import UnavailableError, UnknownNameError


def classifier(name: str) -> Any:
    """A factory of the network of that name, with random weights unless its arguments say more.

    Raises:
        UnavailableError: torchvision is not installed, or does not fit this PyTorch.
        UnknownNameError: torchvision has no such network.
    """
    return _factory(name, prefix="")


def quantizable(name: str) -> Any:
    """A factory of the quantizable float network of that name, as `classifier`."""
    return _factory(name, prefix="quantized_")


def _factory(name: str, *, prefix: str) -> Any:
    models = _torchvision()
    registered = models.list_models()
    if prefix + name not in registered:
        names = [one.removeprefix(prefix) for one in registered if one.startswith(prefix)]
        source = "torchvision.quantization" if prefix else "torchvision"
        near = difflib.get_close_matches(name, names, n=8, cutoff=0.3) or names
        raise UnknownNameError("model", f"{source}:{name}", (f"{source}:{one}" for one in near))
    builder = models.get_model_builder(prefix + name)
    return partial(_build, builder, quantize=False) if prefix else partial(_build, builder)


def _build(builder: Any, **arguments: Any) -> nn.Module:
    given: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        given["weights_backbone"] = None  # it would be downloaded
    if any(name in builder.__name__ for name in ("googlenet", "inception")):
        given["init_weights"] = True  # torchvision warns where it is not said
    model: nn.Module = builder(**{**given, **arguments})
    return model


def _torchvision() -> Any:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # one built for another PyTorch raises either
        raise UnavailableError.of_package("torchvision", error) from error
    return models
