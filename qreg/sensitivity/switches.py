"""Switches: one site of a float model, quantized or not, by what the converted model recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from qreg.data.inputs import Inputs, call
from qreg.models.copies import attributes_kept
from qreg.sensitivity.records import Site

#: Rounds a float tensor to the values that its quantized form has.
FakeQuantize = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Switch:
    """A site with what turns its quantization on and off.

    Attributes:
        target: the module at whose run it takes effect, by its name in the model.
        kernel: of an activation: whether a quantized kernel writes it, so that it can only be float
            where its layer is.
    """

    site: Site
    target: str
    turn: Callable[[bool], None]
    kernel: bool = False


@dataclass(frozen=True, eq=False)
class Simulation:
    """A float model whose sites can be quantized one by one.

    Attributes:
        model: it is run with the case's inputs; all switches are off at first.
        traced: the same as a graph that uses the same modules; None where it cannot be traced.
    """

    model: nn.Module
    switches: tuple[Switch, ...]
    traced: fx.GraphModule | None

    def set(self, on: Collection[int]) -> None:
        """Quantize the sites at these positions, and no others."""
        for number, switch in enumerate(self.switches):
            switch.turn(number in on)

    def run(self, inputs: Inputs) -> Any:
        """Outputs of a batch."""
        return call(self.model, inputs)


class OutputSwitch(nn.Module):
    """Rounds what passes through where it is on."""

    def __init__(self, rounds: FakeQuantize) -> None:
        super().__init__()
        self.rounds, self.on = rounds, False

    def turn(self, on: bool) -> None:
        """Switch it."""
        self.on = on

    def forward(self, x: Any) -> Any:
        floats = isinstance(x, torch.Tensor) and x.is_floating_point()
        return self.rounds(x) if self.on and floats else x


class WeightSwitch(nn.Module):
    """Returns a weight: the float one, or the values of the quantized one where it is on."""

    def __init__(self, plain: torch.Tensor, rounded: torch.Tensor) -> None:
        super().__init__()
        self.plain, self.rounded, self.on = plain, rounded, False

    def turn(self, on: bool) -> None:
        """Switch it."""
        self.on = on

    def forward(self) -> torch.Tensor:
        return self.rounded if self.on else self.plain


def affine_rounding(scale: float, zero_point: int, low: int, high: int) -> FakeQuantize:
    """Rounding to ``scale * (code - zero_point)`` with codes from `low` to `high`."""

    def rounds(x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero_point, low, high)

    return rounds


def dtype_rounding(scale: float, zero_point: int, dtype: torch.dtype) -> FakeQuantize:
    """Rounding as to a quantized tensor of that dtype, quint8 or qint8."""
    low, high = (0, 255) if dtype in (torch.quint8, torch.uint8) else (-128, 127)
    return affine_rounding(scale, zero_point, low, high)


def dynamic_rounding(x: torch.Tensor) -> torch.Tensor:
    """Rounding of a dynamic layer's input, as `torch.ao.nn.quantized.dynamic` does it."""
    scale, zero_point = torch.ops.aten._choose_qparams_per_tensor(x, True)
    return torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero_point), 0, 255)


def row_rounding(x: torch.Tensor) -> torch.Tensor:
    """Symmetric rounding to int8 with a scale a row, as torchao quantizes inputs at run time."""
    scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5) / 127.5
    return torch.clamp(torch.round(x / scale), -128, 127) * scale


def on_output(module: nn.Module, rounds: FakeQuantize) -> Callable[[bool], None]:
    """A switch that rounds what a module returns."""
    switch = OutputSwitch(rounds)

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        return switch(output) if switch.on else None

    module.register_forward_hook(hook)
    return switch.turn


def on_input(module: nn.Module, rounds: FakeQuantize) -> Callable[[bool], None]:
    """A switch that rounds the first tensor that a module is given."""
    switch = OutputSwitch(rounds)

    def hook(module: nn.Module, inputs: Any) -> Any:
        return (switch(inputs[0]), *inputs[1:]) if switch.on and inputs else None

    module.register_forward_pre_hook(hook)
    return switch.turn


def on_parameters(module: nn.Module, rounded: dict[str, torch.Tensor]) -> Callable[[bool], None]:
    """A switch between a module's own parameters and these values for them."""
    own: dict[str, Any] = {name: getattr(module, name) for name in rounded}
    plain = {name: parameter.data for name, parameter in own.items()}

    def turn(on: bool) -> None:
        for name, parameter in own.items():
            parameter.data = rounded[name] if on else plain[name]

    return turn


class _SwitchTracer(fx.Tracer):
    """Records the modules of switches as single calls, whatever is in them."""

    def __init__(self, whole: Sequence[str]) -> None:
        super().__init__()
        self.whole = frozenset(whole)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.whole or super().is_leaf_module(
            m, module_qualified_name
        )


def traced(model: nn.Module, targets: Sequence[str]) -> fx.GraphModule | None:
    """The model as a graph that runs the same modules; None where it cannot be traced."""
    try:
        with attributes_kept(model):
            graph = _SwitchTracer(targets).trace(model)
        return fx.GraphModule(model, graph)
    except Exception:  # whatever the model's own code raises for proxies
        return None
