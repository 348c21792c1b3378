"""What a method is: one way to get from a float model to the model that is measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from qreg.records.method import MethodInfo, Need

if TYPE_CHECKING:
    from torch import nn

    from qreg.data.inputs import Inputs
    from qreg.quantization.sharing import SharedRanges


@dataclass(frozen=True)
class Context:
    """What a method may use.

    Attributes:
        engine: the kernel backend, already set as PyTorch's current one.
        calibration: yields the model inputs of the recorded calibration samples, in batches;
            nothing is loaded before it is called.
        example: model inputs (two samples) for tracing; their values do not matter. By default the
            first calibration batch.
        on_prepared: is given a copy of the fake-quantized graph before a method converts it.
        ranges: what other methods of the same model observed on the same samples; None where
            nothing is shared.
    """

    engine: str
    calibration: Callable[[], Iterator[Inputs]]
    example: Inputs | None = None
    on_prepared: Callable[[nn.Module], None] | None = None
    ranges: SharedRanges | None = None

    def prepared(self, graph: nn.Module) -> None:
        """Tell of a fake-quantized graph that is about to be converted."""
        if self.on_prepared is not None:
            self.on_prepared(copy.deepcopy(graph))

    def to_trace(self) -> Inputs:
        """A batch of model inputs."""
        return next(self.calibration()) if self.example is None else self.example


def _as_is(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class Method(MethodInfo):
    """A method: its facts (see `MethodInfo`) and its functions.

    Attributes:
        quantize: converts the loaded model, in evaluation mode, to the one to measure. It may
            modify its argument.
        skeleton: converts a new float model to the structure that fits the tensors of the
            method's kind of checkpoint.
        recipe: the functions to copy for the same result without qreg, in call order; they need
            no `Context`.
        keep: converts like `quantize`, and leaves the layers of these names in float; None where
            the method cannot.
        keep_recipe: the functions to copy for that.
        separate: whether `quantize` leaves its argument as it is and returns another model.
    """

    quantize: Callable[[nn.Module, Context], nn.Module]
    skeleton: Callable[[nn.Module], nn.Module] = _as_is
    recipe: tuple[Callable[..., Any], ...] = ()
    keep: Callable[[nn.Module, Context, tuple[str, ...]], nn.Module] | None = None
    keep_recipe: tuple[Callable[..., Any], ...] = ()
    separate: bool = False

    @classmethod
    def of(
        cls,
        info: MethodInfo,
        quantize: Callable[[nn.Module, Context], nn.Module],
        *,
        skeleton: Callable[[nn.Module], nn.Module] = _as_is,
        recipe: tuple[Callable[..., Any], ...] = (),
        keep: Callable[[nn.Module, Context, tuple[str, ...]], nn.Module] | None = None,
        keep_recipe: tuple[Callable[..., Any], ...] = (),
        separate: bool = False,
    ) -> Method:
        """The method with the facts with which it is registered."""
        facts = {field.name: getattr(info, field.name) for field in fields(MethodInfo)}
        return cls(
            **facts,
            quantize=quantize,
            skeleton=skeleton,
            recipe=recipe,
            keep=keep,
            keep_recipe=keep_recipe,
            separate=separate,
        )

    @property
    def info(self) -> MethodInfo:
        """The facts without the functions."""
        return MethodInfo(**{field.name: getattr(self, field.name) for field in fields(MethodInfo)})


__all__ = ["Context", "Method", "MethodInfo", "Need"]
