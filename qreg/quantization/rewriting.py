"""Rewriting a network so that eager-mode quantization can run it.

FX graph mode does this while it quantizes; here the result is a float network of modules:

- `rewritten` traces a network and makes modules of its sums, products, concatenations and
  functional activations (`FloatFunctional`, `nn.ReLU`), each used once;
- `place_stubs` puts a `DeQuantStub` before, and a `QuantStub` after, what has no quantized kernel.
  Which operators run on quantized tensors as they are is what FX's own configuration of the
  backend says (``torch.ao.quantization.backend_config``).
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import Any

import torch
from torch import fx, nn
from torch.ao import quantization as ao
from torch.ao.nn.quantized import FloatFunctional, FXFloatFunctional
from torch.ao.quantization import quantization_mappings
from torch.ao.quantization.backend_config import (
    ObservationType,
    get_native_backend_config,
    utils,  # noqa: F401  its parent needs it and does not import it
)
from torch.nn import functional

from qreg.data.inputs import Inputs, arguments
from qreg.models.copies import attributes_kept
from qreg.models.stubs import integer_inputs
from qreg.quantization.eager import fuse

#: What `FloatFunctional` computes, by function and by name of a tensor's method.
SUMS: dict[Any, str] = {
    operator.add: "add", operator.iadd: "add", torch.add: "add", "add": "add", "add_": "add",
    operator.mul: "mul", operator.imul: "mul", torch.mul: "mul", "mul": "mul", "mul_": "mul",
    operator.matmul: "matmul", torch.matmul: "matmul", "matmul": "matmul",
    torch.cat: "cat", torch.concat: "cat", torch.concatenate: "cat",
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "mul": torch.mul,
    "matmul": torch.matmul,
    "cat": torch.cat,
}
_RELUS = (functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_")
#: Functions with a module that eager mode converts; that module's arguments, in order.
_MODULES: dict[Any, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    **dict.fromkeys(_RELUS, (nn.ReLU, ())),
    functional.relu6: (nn.ReLU6, ()),
    functional.hardswish: (nn.Hardswish, ()),
    functional.leaky_relu: (nn.LeakyReLU, ("negative_slope",)),
    functional.elu: (nn.ELU, ("alpha",)),
}
#: What makes floats of integers.
_TO_FLOAT = ("float", "double", "half", "bfloat16", "to", "type", "type_as", operator.truediv)
#: What gives a number, a shape or a type, and no tensor.
_NUMBERS = frozenset(("size", "dim", "ndim", "numel", "shape", "dtype", "device", "item", "stride"))
#: Their quantized kernels know their output's range, as FX's fixed parameters do.
_FIXED = (
    torch.sigmoid, functional.sigmoid, functional.hardsigmoid, torch.tanh, functional.tanh,
    "sigmoid", "tanh", nn.Sigmoid, nn.Tanh, nn.Hardsigmoid,
)  # fmt: skip
#: They move or keep codes; FX's configuration does not list them because it needs no pattern.
_MOVING = (
    torch.channel_shuffle, functional.channel_shuffle, nn.ChannelShuffle, nn.ReflectionPad2d,
    nn.ZeroPad2d, nn.ConstantPad2d,
    operator.getitem, torch.chunk, torch.split, functional.pad, functional.dropout, nn.Flatten,
    nn.Unflatten, nn.Dropout, nn.Dropout2d, nn.Upsample, "chunk", "split", "flatten", "expand",
    "unflatten", "select", "narrow",
)  # fmt: skip
# prelu: PyTorch's quantized kernel is wrong (see static.py); embeddings have no float input
_NOT_CONVERTED = (nn.PReLU, nn.Embedding, nn.EmbeddingBag, nn.Dropout, ao.QuantStub, ao.DeQuantStub)


class _RewritingTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        stub = isinstance(m, (ao.QuantStub, ao.DeQuantStub))
        return stub or super().is_leaf_module(m, module_qualified_name)


def rewritten(model: nn.Module) -> fx.GraphModule:
    """The network as a graph of modules, with the same layer names, weights and outputs.

    Raises:
        Exception: torch.fx cannot trace it.
    """
    _inline_functionals(model)
    with attributes_kept(model):
        graph = _RewritingTracer().trace(model)
    traced = fx.GraphModule(model, graph)
    traced.train(model.training)
    _keep_state(traced, model)
    numbers = _numbers(traced.graph)
    for node in list(traced.graph.nodes):
        if node.op in ("call_function", "call_method") and node not in numbers:
            _as_module(traced, node, numbers)
    for node in list(traced.graph.nodes):
        if node.op == "call_method" and node.target == "add" and _functional(traced, node):
            _with_relu(traced, node)
    _used_once(traced)
    traced.graph.lint()
    traced.recompile()
    return traced


def _inline_functionals(model: nn.Module) -> None:
    """Tracing shows plain sums in the place of the author's own `FloatFunctional`."""
    for name, module in list(model.named_modules()):
        if isinstance(module, FloatFunctional):
            model.set_submodule(name, FXFloatFunctional())


def _keep_state(traced: fx.GraphModule, model: nn.Module) -> None:
    """Layers that never run stay: a file of weights has theirs, too."""
    there = {name for name, _ in traced.named_modules()}
    for name, module in model.named_modules():
        own = {
            **dict(module.named_parameters(recurse=False)),
            **dict(module.named_buffers(recurse=False)),
        }
        if own and name and name not in there:
            traced.add_submodule(name, module)


def _numbers(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that are no tensors."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        attribute = node.target is getattr and node.args[1] in _NUMBERS
        inputs = node.all_input_nodes
        derived = node.op == "call_function" and inputs and found.issuperset(inputs)
        if attribute or (node.op == "call_method" and node.target in _NUMBERS) or derived:
            found.add(node)
    return found


def _as_module(traced: fx.GraphModule, node: fx.Node, numbers: set[fx.Node]) -> None:
    if node.target in _MODULES:
        make, names = _MODULES[node.target]
        given = dict(zip(names, node.args[1:], strict=False))
        given |= {name: node.kwargs[name] for name in names if name in node.kwargs}
        kind = make(**given)
        name = _added(traced, node, type(kind).__name__.lower(), kind)
        _replace(traced, node, "call_module", name, node.args[:1])
    elif node.target in SUMS:
        _as_functional(traced, node, SUMS[node.target], numbers)


def _as_functional(traced: fx.GraphModule, node: fx.Node, name: str, numbers: set[fx.Node]) -> None:
    first, *others = node.args
    if name == "cat":
        dim = others[0] if others else node.kwargs.get("dim", 0)
        given: tuple[Any, ...] = (first, dim)
    elif node.kwargs or len(others) != 1:  # alpha=, out=
        return
    else:
        ones = [first, *others]
        plain = [one for one in ones if not isinstance(one, fx.Node) or one in numbers]
        if plain and name == "matmul":
            return
        given = (*(one for one in ones if one not in plain), *plain)
        name += "_scalar" if plain else ""
    path = _added(traced, node, name.partition("_")[0], FloatFunctional())
    with traced.graph.inserting_before(node):
        holder = traced.graph.get_attr(path)
    _replace(traced, node, "call_method", name, (holder, *given))


def _replace(
    traced: fx.GraphModule, node: fx.Node, op: str, target: str, args: tuple[Any, ...]
) -> fx.Node:
    with traced.graph.inserting_before(node):
        new = traced.graph.create_node(op, target, args)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    traced.graph.erase_node(node)
    return new


def _added(traced: fx.GraphModule, node: fx.Node, leaf: str, module: nn.Module) -> str:
    """Put a module next to the layers of the code that the node is from; returns its path."""
    stack = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    scope = stack[-1] if stack else ""
    if node.op == "call_module":
        scope = scope.rpartition(".")[0]
    there = dict(traced.named_modules())
    path = first = f"{scope}.{leaf}" if scope else leaf
    number = 1
    while path in there or (not scope and hasattr(traced, path)):
        path, number = f"{first}_{number}", number + 1
    traced.add_submodule(path, module.train(traced.training))
    return path


def _functional(traced: fx.GraphModule, node: fx.Node) -> bool:
    holder = node.args[0] if node.args else None
    return (
        isinstance(holder, fx.Node)
        and holder.op == "get_attr"
        and isinstance(_attribute(traced, str(holder.target)), FloatFunctional)
    )


def _attribute(traced: fx.GraphModule, path: str) -> Any:
    return operator.attrgetter(path)(traced)


def _with_relu(traced: fx.GraphModule, node: fx.Node) -> None:
    """One operator for a sum and the ReLU after it."""
    user = next(iter(node.users), None)
    if user is None or len(node.users) != 1 or user.op != "call_module":
        return
    if type(traced.get_submodule(str(user.target))) is nn.ReLU:
        node.target = "add_relu"
        user.replace_all_uses_with(node)
        traced.graph.erase_node(user)


def _used_once(traced: fx.GraphModule) -> None:
    """A ReLU for each use, so that each can be fused with the layer before it."""
    used: set[Any] = set()
    for node in list(traced.graph.nodes):
        if node.op != "call_module":
            continue
        module = traced.get_submodule(node.target)
        if node.target in used and isinstance(module, nn.ReLU):
            leaf = str(node.target).rpartition(".")[2]
            node.target = _added(traced, node, leaf, copy.deepcopy(module))
        used.add(node.target)


def ready_for_training(model: nn.Module) -> nn.Module:
    """A fused network with which eager QAT learns a range for each sum; the same where it does.

    It is rewritten where sums or operators without a quantized kernel would have no range, which
    no successor could be converted without. Branches and functional dropout are then those of
    evaluation mode. What has a `FloatFunctional` is left as its author made it.
    """
    if any(isinstance(module, FloatFunctional) for module in model.modules()):
        return fuse(model)
    try:
        traced = rewritten(copy.deepcopy(model).eval())
    except Exception:  # whatever the model's own code raises for proxies
        return fuse(model)
    whole = integer_inputs(model)
    ready = place_stubs(fuse(traced), integers=whole)  # type: ignore[arg-type]
    calls = [n for n in ready.graph.nodes if n.op == "call_method" and _functional(ready, n)]
    before = dict(model.named_modules())
    added = [n for n in ready.graph.nodes if _is_stub(ready, n) and n.target not in before]
    if not added and all(node.target == "cat" for node in calls):
        return fuse(model)
    return _as_plain_module(ready)


def _as_plain_module(graph: fx.GraphModule) -> nn.Module:
    """The same modules and code; torch.export reads the layers of its operators off the calls.

    Off a `GraphModule` it reads what was noted while tracing, before layers were fused.
    """
    made: nn.Module = type("Rewritten", (nn.Module,), {"forward": type(graph).forward})()
    for name, module in graph.named_children():
        made.add_module(name, module)
    for name, parameter in graph.named_parameters(recurse=False):
        made.register_parameter(name, parameter)
    for name, buffer in graph.named_buffers(recurse=False):
        made.register_buffer(name, buffer)
    return made.eval()


class _Kinds(fx.Interpreter):
    """Notes which nodes are tensors of floats, and which are other tensors."""

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        floats = [each.is_floating_point() for each in _tensors(found)]
        n.meta["is_float"], n.meta["is_other"] = any(floats), bool(floats) and not any(floats)
        return found


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    nested = value.values() if isinstance(value, dict) else value
    return [t for one in nested for t in _tensors(one)] if isinstance(nested, (list, tuple)) else []


@torch.no_grad()
def place_stubs(
    model: fx.GraphModule, example: Inputs | None = None, *, integers: Collection[int] = ()
) -> fx.GraphModule:
    """Convert between float and quantized tensors wherever an operator needs the other kind.

    Args:
        model: as `rewritten` returns it, with its layers fused; changed in place.
        example: inputs that tell tensors of floats from others; without them, what is looked up
            in an embedding is taken to be integers, and any other tensor floats.
        integers: positions of inputs that are known to be ids or masks.
    """
    if example is None:
        _assume_kinds(model, integers)
    else:
        _observe_kinds(model, example)
    quantized: set[fx.Node] = set()
    converted: dict[tuple[fx.Node, bool], fx.Node] = {}
    for node in list(model.graph.nodes):
        if any(one.meta.get("is_other") for one in node.all_input_nodes):
            node = _of_integers(model, node)
        if node.meta.get("is_float"):
            _give_its_kind(model, node, quantized, converted)
        elif node.meta.get("is_other") and not _is_stub(model, node):
            _give_floats(model, node, quantized, converted)
        elif _is_stub(model, node):  # ids and masks stay what they are
            node.replace_all_uses_with(node.all_input_nodes[0])
            model.graph.erase_node(node)
            _remove_unused(model, str(node.target))
    model.graph.lint()
    model.recompile()
    return model


def _give_its_kind(
    model: fx.GraphModule,
    node: fx.Node,
    quantized: set[fx.Node],
    converted: dict[tuple[fx.Node, bool], fx.Node],
) -> None:
    """Convert what a node is given, where that is not of the kind it computes with."""
    inputs = [one for one in node.all_input_nodes if one.meta.get("is_float")]
    wanted, stub = _wanted(model, node), _is_stub(model, node)
    if wanted is None:
        wanted = any(one in quantized for one in inputs)
    for one in inputs:
        if not stub and (one in quantized) is not wanted:
            node.replace_input_with(one, _converted(model, one, node, wanted, converted))
    if wanted:
        quantized.add(node)
    elif node.op == "call_module" and not stub:
        model.get_submodule(str(node.target)).qconfig = None  # type: ignore[assignment]


def _give_floats(
    model: fx.GraphModule,
    node: fx.Node,
    quantized: set[fx.Node],
    converted: dict[tuple[fx.Node, bool], fx.Node],
) -> None:
    """Dequantize what an operator is given whose result is complex, an index or a mask."""
    for one in node.all_input_nodes:
        if one in quantized:
            node.replace_input_with(one, _converted(model, one, node, False, converted))
    if node.op == "call_module":
        model.get_submodule(str(node.target)).qconfig = None  # type: ignore[assignment]


def _observe_kinds(model: fx.GraphModule, example: Inputs) -> None:
    positional, named = arguments(example)
    holders = [n for n in model.graph.nodes if n.op == "placeholder"]
    given = [named[n.target] for n in holders[len(positional) :] if n.target in named]
    _Kinds(model).run(*positional, *given)


def _assume_kinds(model: fx.GraphModule, integers: Collection[int]) -> None:
    numbers, holders = _numbers(model.graph), 0
    others: set[fx.Node] = set()
    for node in model.graph.nodes:
        floats = node not in numbers
        if node.op == "get_attr":
            found = _attribute(model, str(node.target))
            floats = isinstance(found, torch.Tensor) and found.is_floating_point()
        elif node.op == "placeholder":
            looked_up = [_embeds(model, user) for user in node.users]
            floats = not (looked_up and all(looked_up)) and holders not in integers
            holders += 1
            others |= {node} if holders - 1 in integers else set()
        elif node.op in ("call_function", "call_method") and node.target not in _TO_FLOAT:
            given = [one for one in node.all_input_nodes if one not in numbers]
            given = [one for one in given if one.op != "get_attr" or one.meta["is_float"]]
            # what is computed of masks alone: their sums, their negation
            if given and others.issuperset(given):
                others.add(node)
                floats = False
        node.meta["is_float"], node.meta["is_other"] = floats, node in others


def _embeds(model: fx.GraphModule, node: fx.Node) -> bool:
    """Whether integers are looked up here, also behind a stub."""
    if node.op != "call_module":
        return False
    module = model.get_submodule(str(node.target))
    if isinstance(module, ao.QuantStub):
        return bool(node.users) and all(_embeds(model, user) for user in node.users)
    return isinstance(module, (nn.Embedding, nn.EmbeddingBag))


def _of_integers(model: fx.GraphModule, node: fx.Node) -> fx.Node:
    """Arithmetic of integers, and of integers with floats, has no quantized kernel."""
    if node.op != "call_method" or not _functional(model, node):
        return node
    function = _FUNCTIONS[str(node.target).partition("_")[0]]
    with model.graph.inserting_before(node):
        plain = model.graph.call_function(function, node.args[1:])
        if node.target == "add_relu":
            plain = model.graph.call_function(torch.relu, (plain,))
    plain.meta = dict(node.meta)
    owner = node.args[0]
    node.replace_all_uses_with(plain)
    model.graph.erase_node(node)
    if isinstance(owner, fx.Node) and not owner.users:
        model.graph.erase_node(owner)
        _remove_unused(model, str(owner.target))
    return plain


def _remove_unused(model: fx.GraphModule, path: str) -> None:
    """Remove a stub or a functional that no node calls any more: no observer of it sees a thing."""
    if not any(str(node.target) == path for node in model.graph.nodes):
        model.delete_submodule(path)


def _is_stub(model: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(
        model.get_submodule(str(node.target)), (ao.QuantStub, ao.DeQuantStub)
    )


def _converted(
    model: fx.GraphModule,
    one: fx.Node,
    user: fx.Node,
    quantize: bool,
    converted: dict[tuple[fx.Node, bool], fx.Node],
) -> fx.Node:
    if (one, quantize) not in converted:
        stub = ao.QuantStub() if quantize else ao.DeQuantStub()
        path = _added(model, user, "quant" if quantize else "dequant", stub)
        with model.graph.inserting_before(user):
            converted[one, quantize] = model.graph.call_module(path, (one,))
        converted[one, quantize].meta = {"is_float": True}
    return converted[one, quantize]


def _wanted(model: fx.GraphModule, node: fx.Node) -> bool | None:
    """Whether a node computes with quantized tensors; None: with whatever it is given."""
    target: Any = node.target
    if node.op == "call_module":
        module = model.get_submodule(target)
        if isinstance(module, ao.QuantStub):
            return True
        if type(module) in _converted_modules():
            return True
        target = type(module)
    elif node.op == "call_method" and _functional(model, node):
        return True
    return None if target in _either() else False


@cache
def _converted_modules() -> frozenset[Any]:
    """Modules that eager mode replaces by quantized ones."""
    known = quantization_mappings.get_default_static_quant_module_mappings()
    return frozenset(known) - frozenset(_NOT_CONVERTED)


@cache
def _either() -> frozenset[Any]:
    """Operators that run on quantized tensors and keep scale and zero point."""
    config = get_native_backend_config()
    shared = ObservationType.OUTPUT_SHARE_OBSERVER_WITH_INPUT
    found = {
        one.pattern
        for one in config.configs
        if one.observation_type is shared and not isinstance(one.pattern, tuple)
    }
    # they give their result the first tensor's scale
    return frozenset((found | {*_FIXED, *_MOVING}) - {torch.cat, torch.stack})
