"""What a method is: one way to get from a float model to the model that is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from qreg.records.method import MethodInfo, Need

if TYPE_CHECKING:
    from torch import nn

    from qreg.data.inputs import Inputs


@dataclass(frozen=True)
class Context:
    """What a method may use.

    Attributes:
        engine: the kernel backend, already set as PyTorch's current one.
        calibration: yields the model inputs of the recorded calibration samples, in batches;
            nothing is loaded before it is called.
        example: model inputs, two samples, to trace a graph with; what they show changes nothing.
            Without them the first calibration batch is taken.
    """

    engine: str
    calibration: Callable[[], Iterator[Inputs]]
    example: Inputs | None = None

    def to_trace(self) -> Inputs:
        """A batch of model inputs."""
        return next(self.calibration()) if self.example is None else self.example


def _as_is(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class Method(MethodInfo):
    """A method: its facts, see `MethodInfo`, and the functions that do the work.

    Attributes:
        quantize: from the loaded model, in evaluation mode, to the one that is measured. It may
            change the model it is given.
        skeleton: from a fresh float model to the structure that the tensors of the method's
            kind of checkpoint fit.
        recipe: the functions to copy for doing the same outside of qreg, in the order they are
            called; they need nothing of a `Context`.
    """

    quantize: Callable[[nn.Module, Context], nn.Module]
    skeleton: Callable[[nn.Module], nn.Module] = _as_is
    recipe: tuple[Callable[..., Any], ...] = ()

    @classmethod
    def of(
        cls,
        info: MethodInfo,
        quantize: Callable[[nn.Module, Context], nn.Module],
        *,
        skeleton: Callable[[nn.Module], nn.Module] = _as_is,
        recipe: tuple[Callable[..., Any], ...] = (),
    ) -> Method:
        """The method with the facts that it was registered with."""
        facts = {field.name: getattr(info, field.name) for field in fields(MethodInfo)}
        return cls(**facts, quantize=quantize, skeleton=skeleton, recipe=recipe)

    @property
    def info(self) -> MethodInfo:
        """The facts alone."""
        return MethodInfo(**{field.name: getattr(self, field.name) for field in fields(MethodInfo)})


__all__ = ["Context", "Method", "MethodInfo", "Need"]
