"""What a method is: one way to get from a float model to the model that is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Context:
    """What a method may use.

    Attributes:
        engine: the kernel backend, already set as PyTorch's current one.
        calibration: yields the model inputs of the recorded calibration images, float32
            (N, 3, H, W) each; nothing is loaded before it is called.
        example: model inputs (2, 3, H, W) to trace a graph with; what they show changes nothing.
            Without them the first calibration batch is taken.
    """

    engine: str
    calibration: Callable[[], Iterator[torch.Tensor]]
    example: torch.Tensor | None = None

    def to_trace(self) -> torch.Tensor:
        """A batch of model inputs."""
        return next(self.calibration()) if self.example is None else self.example


def _as_is(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: as in tables and file names.
        checkpoint: the kind of checkpoint it starts from.
        skeleton: from a fresh float model to the structure that checkpoint's tensors fit.
        quantize: from the loaded model, in evaluation mode, to the one that is measured. It may
            change the model it is given.
        control: the method whose accuracy this one's is fair to compare with.
        replaces: the deprecated method that this one is a successor of, "" if it is none.
        recipe: the functions to copy for doing the same outside of qreg, in the order they are
            called; they need nothing of a `Context`.
    """

    name: str
    quantize: Callable[[nn.Module, Context], nn.Module]
    checkpoint: str = "fp32"
    skeleton: Callable[[nn.Module], nn.Module] = _as_is
    control: str = "fp32"
    replaces: str = ""
    recipe: tuple[Callable[..., Any], ...] = ()
