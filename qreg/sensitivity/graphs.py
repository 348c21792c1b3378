"""Simulations of quantized graphs: those of FX graph mode, and exported ones (PT2E)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn
from torch.ao.quantization import quantize_fx

from qreg.data.inputs import Inputs, head, repeated
from qreg.errors import UnavailableError
from qreg.metrics.graphs import is_dequantize, is_quantize, layer_of, operator
from qreg.metrics.parameters import weights
from qreg.metrics.tensors import quantizer
from qreg.sensitivity.records import Site, SitePart
from qreg.sensitivity.switches import (
    OutputSwitch,
    Simulation,
    Switch,
    WeightSwitch,
    affine_rounding,
    dtype_rounding,
    on_parameters,
)

_SWITCH = "switch_"


def _named(name: str, taken: set[str]) -> str:
    """A name that no other site has."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}#{number}"
    taken.add(found)
    return found


def _relu(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: torch.relu(function(*args))


def _cat(tensors: Any, dim: int = 0) -> Any:
    return torch.cat(tensors, dim)


#: Quantized operators of FX graphs, without scale and zero point: their last arguments, or named.
_FLOAT: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "add_relu": _relu(torch.add),
    "mul": torch.mul,
    "mul_relu": _relu(torch.mul),
    "matmul": torch.matmul,
    "cat": _cat,
    "dropout": lambda x, *_: x,  # of a model that is evaluated
    "hardswish": nn.functional.hardswish,
    "leaky_relu": lambda x, slope, *_: nn.functional.leaky_relu(x, slope),
    "layer_norm": torch.layer_norm,
    "instance_norm": lambda x, w, b, eps: torch.instance_norm(
        x, w, b, None, None, True, 0.0, eps, False
    ),
}


class _FromFx:
    """Makes a float graph with switches of a graph that FX graph mode converted."""

    def __init__(self, converted: fx.GraphModule, plain: nn.Module, sample: Inputs) -> None:
        self.converted, self.plain = converted, plain
        self.graph = fx.Graph()
        self.root: dict[str, Any] = {}
        self.copies: dict[fx.Node, fx.Node] = {}
        self.switches: list[Switch] = []
        self.taken: set[str] = set()
        self.values = _values(converted, sample)

    def simulation(self) -> Simulation:
        for node in self.converted.graph.nodes:
            self.copies[node] = self._made(node)
        model = fx.GraphModule(self.root, self.graph)
        model.graph.eliminate_dead_code()
        model.recompile()
        return Simulation(model, tuple(self.switches), model)

    def _made(self, node: fx.Node) -> fx.Node:
        if node.op == "call_module":
            return self._module(node)
        if node.op == "get_attr":
            self.root[str(node.target)] = attrgetter(str(node.target))(self.converted)
        if _named_like(node, "dequantize"):
            return self.copies[node.all_input_nodes[0]]
        if _named_like(node, "quantize_per_tensor"):
            source = node.all_input_nodes[0]
            return self._rounded(node, self.copies[source], _layer(source), kernel=False)
        if _named_like(node, "_choose_qparams_per_tensor"):
            raise _unknown("dynamic quantization in an FX graph")
        target: Any = node.target
        own = node.op == "call_function" and "quantized" in str(getattr(target, "__module__", ""))
        namespace = str(getattr(target, "_qualified_op_name", ""))
        if own or namespace.startswith("quantized::"):
            return self._operator(node)
        made = self.graph.node_copy(node, lambda one: self.copies[one])
        return self._rounded(node, made, _layer(node)) if self._requantizes(node) else made

    def _module(self, node: fx.Node) -> fx.Node:
        name = str(node.target)
        module, float_module = self.converted.get_submodule(name), self._float(name)
        self.root[name] = float_module
        made = self.graph.node_copy(node, lambda one: self.copies[one])
        rounded = {
            key: value.dequantize()
            for key, value in weights(module).items()
            if quantizer(value) is not None
        }
        if rounded and f"{name} weight" not in self.taken:
            self.taken.add(f"{name} weight")
            holder: Any = float_module
            if not all(hasattr(holder, key) for key in rounded):
                holder = float_module.get_submodule("0")
            elements = sum(value.numel() for value in rounded.values())
            saved = sum(getattr(holder, key).nbytes for key in rounded) - elements
            site = Site(name, SitePart.WEIGHT, elements, max(0, saved))
            self.switches.append(Switch(site, name, on_parameters(holder, rounded)))
        own = hasattr(module, "scale") and hasattr(module, "zero_point")
        if own or self._requantizes(node):
            return self._rounded(node, made, name, keepable=own)
        return made

    def _float(self, name: str) -> nn.Module:
        try:
            return self.plain.get_submodule(name)
        except AttributeError:
            return self.converted.get_submodule(name)

    def _operator(self, node: fx.Node) -> fx.Node:
        target: Any = node.target
        name = str(getattr(target, "__name__", "")).partition(".")[0]
        if name not in _FLOAT:
            raise _unknown(f"operator quantized::{name}")
        unscaled = "output_scale" in node.kwargs or _with_number(node)
        given = node.args if unscaled else node.args[:-2]
        args = fx.node.map_arg(given, lambda one: self.copies[one])
        made = self.graph.call_function(_FLOAT[name], args)
        return self._rounded(node, made, _layer(node))

    def _requantizes(self, node: fx.Node) -> bool:
        """Whether an operator on codes gives its result another range, or rounds it again."""
        value = self.values.get(node)
        if value is None:
            return False
        given = [self.values[one] for one in node.all_input_nodes if one in self.values]
        return not given or given[0] != value or "avg_pool" in str(node.target).lower()

    def _rounded(
        self,
        node: fx.Node,
        argument: fx.Node,
        layer: str,
        *,
        kernel: bool = True,
        keepable: bool = False,
    ) -> fx.Node:
        switch = OutputSwitch(dtype_rounding(*self.values[node]))
        name = f"{_SWITCH}{len(self.switches)}"
        self.root[name] = switch
        site = Site(_named(layer, self.taken), SitePart.OUTPUT, keepable=keepable)
        self.switches.append(Switch(site, name, switch.turn, kernel))
        return self.graph.call_module(name, (argument,))


def _with_number(node: fx.Node) -> bool:
    """Whether its second operand is a number: its result's scale follows from the first's."""
    return len(node.args) == 2 and isinstance(node.args[1], int | float)


def _layer(node: fx.Node) -> str:
    """What a node's value is called: its module, or its own name."""
    if node.op == "placeholder":
        return f"input {node.target}"
    return str(node.target) if node.op == "call_module" else node.name


def _named_like(node: fx.Node, name: str) -> bool:
    target: Any = node.target
    called = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    return node.op in ("call_function", "call_method") and called.partition(".")[0] == name


def _unknown(what: str) -> UnavailableError:
    return UnavailableError(
        f"sites cannot be switched one by one: {what} has no float counterpart here",
        hint="use another method for this model: --method static or pt2e-static",
    )


def is_rounded_as_one(value: Any) -> bool:
    """Whether it is a quantized tensor with one scale."""
    if not isinstance(value, torch.Tensor) or not value.is_quantized:
        return False
    return value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)


def _values(graph: fx.GraphModule, sample: Inputs) -> dict[fx.Node, tuple[float, int, torch.dtype]]:
    """How each quantized value of a graph is rounded."""
    found: dict[fx.Node, tuple[float, int, torch.dtype]] = {}

    class Recording(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if is_rounded_as_one(value):
                found[n] = (value.q_scale(), value.q_zero_point(), value.dtype)
            return value

    Recording(graph).run(*_positional(graph, sample))
    return found


def _positional(graph: fx.GraphModule, sample: Inputs) -> tuple[Any, ...]:
    if not isinstance(sample, dict):
        return sample if isinstance(sample, tuple) else (sample,)
    places = [node for node in graph.graph.nodes if node.op == "placeholder"]
    return tuple(
        sample.get(str(node.target), node.args[0] if node.args else None) for node in places
    )


def is_fx_converted(graph: fx.GraphModule) -> bool:
    """Whether FX graph mode converted it: it quantizes by functions, not by modules."""
    return any(_named_like(node, "quantize_per_tensor") for node in graph.graph.nodes)


def fx_simulation(converted: fx.GraphModule, plain: nn.Module, sample: Inputs) -> Simulation:
    """Of a model that FX graph mode converted from `plain`, a float model."""
    fused = quantize_fx.fuse_fx(plain) if not _is_fused(plain) else plain
    return _FromFx(converted, fused, sample).simulation()


def _is_fused(model: nn.Module) -> bool:
    return any("intrinsic" in type(module).__module__ for module in model.modules())


def exported_simulation(graph: fx.GraphModule, plain: nn.Module, sample: Inputs) -> Simulation:
    """Of an exported graph that was converted from `plain`, a float model."""
    model = copy.deepcopy(graph)
    for refused in ("train", "eval"):
        model.__dict__.pop(refused, None)
    switches: list[Switch] = []
    taken: set[str] = set()
    floats = _float_weights(graph, plain, sample)
    for number, node in enumerate(list(model.graph.nodes)):
        name = f"{_SWITCH}{number}"
        if is_dequantize(node) and _stored(node.args[0]):
            switch = _exported_weight(model, node, floats, name, taken)
        elif is_quantize(node):
            switch = _exported_output(model, node, name, taken)
        else:
            continue
        if switch is not None:
            switches.append(switch)
    model.graph.eliminate_dead_code()
    model.recompile()
    order = {str(node.target): number for number, node in enumerate(model.graph.nodes)}
    switches.sort(key=lambda one: order.get(one.target, len(order)))
    return Simulation(model, tuple(switches), model)


def _stored(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def _exported_weight(
    model: fx.GraphModule,
    node: fx.Node,
    floats: dict[str, torch.Tensor],
    name: str,
    taken: set[str],
) -> Switch | None:
    target: Any = node.target
    args: tuple[Any, ...] = node.args
    given = [attrgetter(str(a.target))(model) if _stored(a) else a for a in args]
    rounded = target(*given, **node.kwargs)
    user = next(iter(node.users))
    stored = str(args[0].target)
    if stored not in floats:
        return None
    switch = WeightSwitch(floats[stored], rounded)
    model.add_module(name, switch)
    with model.graph.inserting_before(user):
        made = model.graph.call_module(name)
    node.replace_all_uses_with(made)
    layer = _named(f"{layer_of(user) or user.name} ", taken).replace(" ", "")
    saved = floats[stored].nbytes - rounded.numel()
    site = Site(layer, SitePart.WEIGHT, rounded.numel(), saved, keepable="#" not in layer)
    return Switch(site, name, switch.turn)


def _exported_output(
    model: fx.GraphModule, node: fx.Node, name: str, taken: set[str]
) -> Switch | None:
    args: tuple[Any, ...] = node.args
    source, scale, zero_point, low, high = (
        attrgetter(str(a.target))(model) if _stored(a) else a for a in args[:5]
    )
    if not isinstance(source, fx.Node) or "per_tensor" not in operator(node):
        raise _unknown(f"operator {operator(node)}")
    switch = OutputSwitch(affine_rounding(float(scale), int(zero_point), int(low), int(high)))
    model.add_module(name, switch)
    with model.graph.inserting_after(node):
        made = model.graph.call_module(name, (source,))
    for user in list(node.users):
        if is_dequantize(user):
            user.replace_all_uses_with(made)
    layer = layer_of(source) or source.name
    layer = f"input {source.target}" if source.op == "placeholder" else layer
    # what is quantized is the input of those that read it: they are left in float, not this one
    return Switch(Site(_named(layer, taken), SitePart.OUTPUT, keepable=False), name, switch.turn)


def _float_weights(
    graph: fx.GraphModule, plain: nn.Module, sample: Inputs
) -> dict[str, torch.Tensor]:
    """The float weights of a converted graph, by the names of their codes.

    They are those of the graph prepared without any annotation, which folds BatchNorm as the
    converted one did: the operators with weights are the same, in the same order.
    """
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from qreg.quantization.pt2e import export_graph

    two = head(repeated(sample, 2), 2)
    unchanged = prepare_pt2e(
        export_graph(copy.deepcopy(plain).eval(), two), x86.X86InductorQuantizer()
    )
    found: dict[str, torch.Tensor] = {}
    pairs = zip(_weighted(graph), _weighted(unchanged), strict=True)
    for (node, codes), (other, weight) in pairs:
        if node.target != other.target:
            raise _unknown(f"operator {operator(node)} at {layer_of(node)}")
        values = attrgetter(weight)(unchanged).detach()
        found[codes] = values
    return found


def _weighted(graph: fx.GraphModule) -> Iterator[tuple[fx.Node, str]]:
    """The operators with a stored second argument of two dimensions or more, and its name."""
    for node in graph.graph.nodes:
        if node.op != "call_function" or len(node.args) < 2 or not operator(node):
            continue
        if is_dequantize(node) or is_quantize(node):
            continue
        given = node.args[1]
        stored = given.args[0] if isinstance(given, fx.Node) and is_dequantize(given) else given
        if not isinstance(stored, fx.Node) or stored.op != "get_attr":
            continue
        value = attrgetter(str(stored.target))(graph)
        if isinstance(value, torch.Tensor) and value.ndim >= 2:
            yield node, str(stored.target)
