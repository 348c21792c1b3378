"""The simulation of a quantized model: its float twin with a switch for each site.

Scales, zero points and quantized weights are those of the converted model, whatever method made
it. What the simulation leaves out is the arithmetic of int8 kernels: sums are float, and nothing
saturates in 16 bits.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.ao.nn.quantized import FloatFunctional, QFunctional
from torch.ao.nn.quantized import dynamic as nnqd
from torch.ao.nn.quantized import modules as nnq

from qreg.data.inputs import Inputs, head
from qreg.errors import QregError
from qreg.measure.subject import Subject
from qreg.metrics.graphs import can_be_watched, exported_graph, uncompiled
from qreg.metrics.layers import float_twin
from qreg.metrics.parameters import is_packed_recurrent, weights
from qreg.metrics.quantized import leaves_quantized
from qreg.metrics.tensors import quantizer
from qreg.quantization.engines import use_engine
from qreg.quantization.rewriting import place_stubs
from qreg.quantization.transfer import trained_float
from qreg.sensitivity.graphs import exported_simulation, fx_simulation, is_fx_converted
from qreg.sensitivity.records import Site, SitePart
from qreg.sensitivity.switches import (
    FakeQuantize,
    Simulation,
    Switch,
    dtype_rounding,
    dynamic_rounding,
    on_input,
    on_output,
    on_parameters,
    row_rounding,
    traced,
)

_RESULT = "activation_post_process"
Rounding = tuple[float, int, torch.dtype]


@torch.no_grad()
def simulation(subject: Subject, sample: Inputs) -> Simulation:
    """The simulation of a case, all sites in float.

    Args:
        sample: a batch of its inputs.

    Raises:
        QregError: nothing of the model is quantized, or not in a form that is known.
    """
    with warnings.catch_warnings(), use_engine(subject.case.engine):
        warnings.simplefilter("ignore")
        found = _simulation(subject, sample)
    if not found.switches:
        name = subject.method.name
        other = subject.method.quantizes and leaves_quantized(subject.model, head(sample, 1))
        raise QregError(
            f"{subject.case} has no sites: "
            + (
                f"what '{name}' quantizes is not in PyTorch's modules, where it could be switched"
                if other
                else f"method '{name}' quantizes nothing of this model"
            ),
            hint="choose another method; `qreg check` says which can quantize the model",
        )
    names = Counter(switch.site for switch in found.switches)
    twice = next((site for site, count in names.items() if count > 1), None)
    assert twice is None, f"two sites are called {twice}"
    found.set(())
    return found


def _simulation(subject: Subject, sample: Inputs) -> Simulation:
    source, converted = copy.deepcopy(subject.source).eval(), uncompiled(subject.model)
    fake = any(hasattr(module, "weight_fake_quant") for module in source.modules())
    plain = trained_float(source) if fake else source
    if graph := exported_graph(converted):
        return exported_simulation(graph, plain, sample)
    if isinstance(converted, fx.GraphModule) and is_fx_converted(converted):
        return fx_simulation(converted, plain, sample)
    twin = plain if fake else float_twin(plain, converted)
    if isinstance(twin, fx.GraphModule):  # rewritten: its conversion added stubs
        twin = place_stubs(twin, sample)
    switches = tuple(_module_switches(converted, twin, sample))
    return Simulation(twin, switches, traced(twin, [switch.target for switch in switches]))


def _module_switches(converted: nn.Module, twin: nn.Module, sample: Inputs) -> Iterator[Switch]:
    """The switches of a model that consists of quantized modules, in execution order."""
    outputs, order = _recorded(converted, sample)
    modules = dict(converted.named_modules())
    names = dict.fromkeys(order)
    names |= {name: None for name in modules if name not in names}
    for name in names:
        module = modules[name]
        rounded = {
            key: value.dequantize()
            for key, value in weights(module).items()
            if quantizer(value) is not None
        }
        if rounded:
            yield from _weight_switches(name, module, twin, rounded)
        if name in outputs:
            yield _output_switch(name, module, twin, outputs[name])


def _weight_switches(
    name: str, module: nn.Module, twin: nn.Module, rounded: dict[str, torch.Tensor]
) -> Iterator[Switch]:
    float_layer = twin.get_submodule(name)
    holder: Any = float_layer
    if not all(hasattr(holder, key) for key in rounded):
        holder = float_layer.get_submodule("0")  # of a fused layer
    if dynamic := _dynamic_rounding(module):
        site = Site(name, SitePart.INPUT)
        yield Switch(site, name, on_input(float_layer, dynamic))
    plain = sum(getattr(holder, key).nbytes for key in rounded)
    elements = sum(value.numel() for value in rounded.values())
    saved = max(0, plain - elements)
    yield Switch(Site(name, SitePart.WEIGHT, elements, saved), name, on_parameters(holder, rounded))


def _dynamic_rounding(module: nn.Module) -> FakeQuantize | None:
    """How a layer rounds its input at run time; None where it does not, or it is not known how."""
    if isinstance(module, nnqd.Linear) and not is_packed_recurrent(module):
        return dynamic_rounding
    weight = getattr(module, "weight", None)
    if getattr(weight, "act_quant_kwargs", None) is not None:
        return row_rounding
    return None


def _output_switch(name: str, module: nn.Module, twin: nn.Module, recorded: Rounding) -> Switch:
    functional = isinstance(module, QFunctional)
    target = f"{name}.{_RESULT}" if functional else name
    turn = on_output(twin.get_submodule(target), dtype_rounding(*recorded))
    stub = isinstance(module, nnq.Quantize)
    keepable = not stub and (functional or not isinstance(module, _PASSING))
    return Switch(Site(name, SitePart.OUTPUT, keepable=keepable), target, turn, kernel=not stub)


#: Modules that compute on codes without a range of their own.
_PASSING = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Softmax)


def _recorded(model: nn.Module, sample: Inputs) -> tuple[dict[str, Rounding], list[str]]:
    """How outputs are rounded that are quantized anew, and the modules in execution order."""
    found: dict[str, Rounding] = {}
    order: dict[str, None] = {}
    handles = []

    def hook(name: str, own: bool, module: nn.Module, inputs: Any, output: Any) -> None:
        order.setdefault(name)
        if not isinstance(output, torch.Tensor) or not output.is_quantized:
            return
        before = next((_rounding(x) for x in inputs if _is_quantized(x)), None)
        averages = "AvgPool" in type(module).__name__
        now = _rounding(output)
        if now is not None and (own or averages or before != now):
            found.setdefault(name, now)

    for name, module in model.named_modules():
        parent, _, leaf = name.rpartition(".")
        if not can_be_watched(module):
            continue
        if leaf == _RESULT and isinstance(
            model.get_submodule(parent), (FloatFunctional, QFunctional)
        ):
            handles.append(module.register_forward_hook(partial(hook, parent, True)))
        elif name and (hasattr(module, "scale") or not list(module.children())):
            own = hasattr(module, "scale") and hasattr(module, "zero_point")
            handles.append(module.register_forward_hook(partial(hook, name, own)))
        elif name and weights(module):
            handles.append(module.register_forward_hook(partial(hook, name, False)))
    try:
        from qreg.data.inputs import call

        call(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    return found, list(order)


def _is_quantized(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_quantized


def _rounding(value: torch.Tensor) -> Rounding | None:
    if value.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return None
    return value.q_scale(), value.q_zero_point(), value.dtype


def unkeepable(simulation: Simulation) -> Simulation:
    """The same simulation of a method that can leave no layer in float."""
    switches = tuple(
        replace(one, site=replace(one.site, keepable=False)) for one in simulation.switches
    )
    return replace(simulation, switches=switches)
