"""Known kinds of quantization exceptions and their diagnoses; pure functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from qreg.diagnosis.records import Diagnosis, Raised, Tracer

#: The methods that rewrite a network instead of asking its author to.
REWRITING = ("static-auto", "fx-static", "pt2e-static")
_COULD_NOT = re.compile(
    r"Could not run '(?P<space>\w+)::(?P<name>\w+)(?:\.\w+)?' with arguments from the "
    r"'(?P<backend>\w+)' backend"
)
_SYMBOLS = {
    "Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "MatMult": "@", "Pow": "**",
    "FloorDiv": "//", "Mod": "%",
}  # fmt: skip
#: What FloatFunctional can do, by the operator's name in aten.
_FUNCTIONAL = {
    "add": "add", "add_": "add", "mul": "mul", "mul_": "mul", "cat": "cat", "_cat": "cat",
    "matmul": "matmul", "bmm": "matmul", "mm": "matmul", "iadd": "add",
    "sub": "", "div": "",
}  # fmt: skip
#: What the kernel of a BatchNorm without weight and bias says.
NO_WEIGHT = "Weight must be provided"
#: Functions without a quantized kernel whose module eager mode replaces by a quantized one.
_MODULES = {"hardswish": "Hardswish", "layer_norm": "LayerNorm", "group_norm": "GroupNorm",
            "instance_norm": "InstanceNorm2d", "batch_norm": "BatchNorm2d"}  # fmt: skip
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "bmm": "@", "mm": "@"}
_NAMES = {"+": "add", "*": "mul"}
_ATEN = {"native_batch_norm": "batch_norm", "native_layer_norm": "layer_norm",
         "native_group_norm": "group_norm", "_softmax": "softmax",
         "_native_batch_norm_legit": "batch_norm"}  # fmt: skip
_OF_QUANTIZED = ("qscheme", "q_scale", "q_zero_point", "q_per_channel_scales")
#: Reasons and advice are of one line; a longer text of PyTorch's is cut here.
_LONGEST = 160


def diagnose(raised: Raised) -> Diagnosis:
    """The first known kind that matches the facts; else the exception's own first line."""
    for kind in _KINDS:
        if found := kind(raised):
            return Diagnosis(where(raised.layer, raised.source), *found)
    raise AssertionError("the last kind fits all")


def untried(instead: tuple[str, ...], works: Mapping[str, bool]) -> tuple[str, ...]:
    """The methods to try next: all that are advised; if none works, those that rewrite a network.

    Args:
        works: the outcome of each method that was tried, the blocked one too.
    """
    if left := tuple(name for name in instead if name not in works):
        return left
    if not instead or any(works[name] for name in instead):
        return ()
    return tuple(name for name in REWRITING if name not in works)


def that_work(instead: tuple[str, ...], works: Mapping[str, bool]) -> tuple[tuple[str, ...], bool]:
    """The methods to use instead, and whether they are known to work."""
    for names in (instead, REWRITING) if instead else ():
        if found := tuple(name for name in names if works.get(name)):
            return found, True
    return tuple(name for name in instead if name not in works), False


def where(layer: str, source: str) -> str:
    """``layer1.0 (nets.py:12)``, or the one of the two that is known."""
    return f"{layer} ({source})" if layer and source else layer or source


def one_line(text: str) -> str:
    """The first sentence or line of a longer text."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    line = re.split(r"(?<=[a-z)\]'])\. (?=[A-Z])", line)[0].rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3].rstrip()}..."


def called(code: str) -> str:
    """The operator of an expression or statement: ``+``, ``view``, ``if``; "" if there is none."""
    try:
        tree = ast.parse(code if not code.rstrip().endswith(":") else f"{code} pass")
    except SyntaxError:
        return "if" if re.match(r"(el)?if |while |assert ", code) else ""
    return next((name for node in ast.walk(tree) if (name := _called_by(node))), "")


def _called_by(node: ast.AST) -> str:
    if isinstance(node, (ast.If, ast.IfExp, ast.While, ast.Assert)):
        return "if"
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        return _SYMBOLS.get(type(node.op).__name__, "")
    if isinstance(node, ast.Call):
        name = node.func
        return name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")
    return ""


def _calls(code: str, name: str) -> bool:
    """Whether an operator is one of an expression's, which on Python 3.10 is a whole line."""
    try:
        return any(_called_by(node) == name for node in ast.walk(ast.parse(code)))
    except SyntaxError:
        return False


def _takes_number(code: str) -> bool:
    """Whether one operand of an operator is a number, as far as its code shows."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:
        return False
    operands = [x for n in nodes if isinstance(n, ast.BinOp) for x in (n.left, n.right)]
    operands += [n.value for n in nodes if isinstance(n, ast.AugAssign)]
    return any(isinstance(one, ast.Constant) for one in operands)


_EAGER, _GRAPH = ("static", "dynamic"), ("fx-static", "static")
# operator, reason, remedy, and the methods to use instead
Found = tuple[str, str, str, tuple[str, ...]] | None


def _quote(raised: Raised) -> str:
    """The code in question, if it is short enough to quote."""
    code = raised.code.strip()
    return f" in `{code}`" if 0 < len(code) <= 60 else ""


def _operator(raised: Raised, name: str = "") -> str:
    """As the author wrote it: a module's class, an operator's sign, a function's name."""
    aten = _ATEN.get(name, name).rstrip("_")
    # Python 3.10 knows the line and not the operator in it; PyTorch's message names that
    for written in () if raised.layer_kind else (aten, _SIGNS.get(aten, "")):
        if written and _calls(raised.code, written):
            return written
    return raised.layer_kind or called(raised.code) or aten


def _float_into_quantized(raised: Raised) -> Found:
    found = _COULD_NOT.search(raised.message)
    if not found or found["space"] != "quantized" or found["backend"] != "CPU":
        return None
    name = f"quantized::{found['name']}"
    reason = f"{raised.layer_kind or name} is quantized and is given a float tensor"
    return name, reason, "put a QuantStub before it", REWRITING


def _no_kernel(raised: Raised) -> Found:
    found = _COULD_NOT.search(raised.message)
    if not found or not found["backend"].startswith("Quantized"):
        return None
    name, aten = _operator(raised, found["name"]), found["name"].rstrip("_")
    reason = f"{name} has no kernel for quantized tensors{_quote(raised)}"
    if name in _MODULES:
        return name, reason, f"use the module nn.{_MODULES[name]}", REWRITING
    if aten in _FUNCTIONAL and name.strip("_") in (*_SYMBOLS.values(), *_FUNCTIONAL):
        return name, reason, _functional(_FUNCTIONAL[aten]), REWRITING
    return name, reason, _keep_float(name), REWRITING


def _mixed(raised: Raised) -> Found:
    """The scale of a float tensor is asked for, as where it is joined to a quantized one."""
    found = _COULD_NOT.search(raised.message)
    if not found or found["backend"] != "CPU" or found["name"] not in _OF_QUANTIZED:
        return None
    name = _operator(raised)
    reason = f"{name} of a quantized and a float tensor{_quote(raised)}"
    return name, reason, "quantize both (QuantStub) or neither", REWRITING


def _functional(method: str) -> str:
    if not method:
        return "dequantize before it and quantize after it (DeQuantStub, QuantStub)"
    return (
        "make it a module: self.f = torch.ao.nn.quantized.FloatFunctional(), then "
        f"self.f.{method}(...)"
    )


def _keep_float(name: str) -> str:
    return f"leave {name} in float: a DeQuantStub before it and a QuantStub after it"


def _scalar(raised: Raised) -> Found:
    name = _operator(raised)
    reason = f"{name} has no kernel for quantized tensors{_quote(raised)}"
    if "empty_strided not supported on quantized tensors" in raised.message:
        scalar = "_scalar" if _takes_number(raised.code) else ""
        method = f"{_NAMES[name]}{scalar}" if name in _NAMES else ""
        return name, reason, _functional(method), REWRITING
    if "promoteTypes with quantized numbers" in raised.message:
        mixed = f"{name} of a quantized and a float tensor{_quote(raised)}"
        return name, mixed, "quantize both (QuantStub) or neither", REWRITING
    if "Got QUInt8" in raised.message or "Got QInt8" in raised.message:
        return name, reason, _keep_float(name), REWRITING
    if "must have the same dtype, but got Q" in raised.message:
        mixed = f"{name} of a quantized and a float tensor{_quote(raised)}"
        return name, mixed, _keep_float(name), REWRITING
    if "Quantized copy only works with" in raised.message:
        text = f"a part of a quantized tensor cannot be written to{_quote(raised)}"
        return name or "copy", text, "make a new tensor: torch.where, torch.cat", REWRITING
    return None


_DTYPES = {
    "BFloat16": "bfloat16", "Half": "float16", "Double": "float64", "float64": "float64",
    "bfloat16": "bfloat16", "float16": "float16",
}  # fmt: skip
_DTYPE = re.compile(
    r"(?:expected scalar type Float but found|works? on Float Tensor, got|Float Tensor, got"
    r"|Unsupported input dtype: torch\.|float32, but got dtype: torch\.) ?"
    rf"(?P<dtype>{'|'.join(_DTYPES)})"
)
_TWO_DTYPES = re.compile(
    r"Input type \([\w.]+\) and (?:bias|weight) type \([\w.]+\) should be the same"
    r"|mat1 and mat2 must have the same dtype, but got [A-PR-Z]"
)


def _other_floats(raised: Raised) -> Found:
    """Layers of another float type than float32."""
    if found := _DTYPE.search(raised.message):
        name = _operator(raised)
        dtype = _DTYPES[found["dtype"]]
        reason = f"{name or 'the kernel'} is of {dtype}, and quantization starts from float32"
        remedy = "give the model in float32: return model.float()"
        return name, f"{reason}{_quote(raised)}", remedy, (*REWRITING, *_BY_TENSOR)
    if _TWO_DTYPES.search(raised.message):
        reason = f"{_operator(raised)} is of another float type than what it is given"
        remedy = "give the model in float32, model.float(), or convert in forward: x.to(dtype)"
        return _operator(raised), f"{reason}{_quote(raised)}", remedy, ()
    return None


def _quantized_into_float(raised: Raised) -> Found:
    if "Input type (c10::q" not in raised.message:
        return None
    name = _operator(raised)
    reason = f"{name} is in float and is given a quantized tensor{_quote(raised)}"
    return name, reason, "put a DeQuantStub before it, or call it by one name only", REWRITING


def _in_a_layer(raised: Raised) -> Found:
    """torchao takes all operators of a layer for the layer's own; a hook's are among them."""
    alone = raised.message == "'int' object has no attribute 'op'"
    if not alone and not re.search(r"is not an aten \w+ operator", raised.message):
        return None
    reason = "torchao finds an operator in this layer that is not the layer's own: a hook's"
    remedy = "compute in the model's forward what the hook computes"
    return "hook", reason, remedy, ("static-auto", "fx-static", "static")


def _syntax(raised: Raised) -> Found:
    """A graph's code says ``self.class(x)``."""
    if not re.search(r"invalid syntax \((?:<eval_with_key>|\S+:\d+ in forward)", raised.message):
        return None
    reason = "torch.fx cannot write code that calls a module whose name is a Python keyword"
    return "", reason, 'rename the module: add_module("class_", ...) for "class"', _EAGER


def _script(raised: Raised) -> Found:
    found = re.search(r"entry for parameter ([\w.]+) is not an instance of", raised.message)
    if not found:
        return None
    layer = found[1].removeprefix("model.").rpartition(".")[0]
    reason = f"torch.export takes no TorchScript module, and {layer} is one"
    return "torch.jit.script", reason, "use the nn.Module that it was made from", _GRAPH


def _view(raised: Raised) -> Found:
    if "view size is not compatible" not in raised.message:
        return None
    reason = f"view needs another memory order than channels_last{_quote(raised)}"
    remedy = "write reshape (or flatten) for view: it copies only where it must"
    return "view", reason, remedy, REWRITING


def _control_flow(raised: Raised) -> Found:
    if raised.tracer is not Tracer.FX and "TraceError" not in raised.kind:
        return None
    name = called(raised.code)
    if "inputs to control flow" in raised.message:
        name = "if"
        what = "a branch depends on the input's values or shape, which torch.fx cannot trace"
    elif "item assignment" in raised.message:
        text = "a part of a tensor is written to, which torch.fx cannot trace"
        remedy = "make a new tensor: torch.where, torch.cat"
        return "[]=", f"{text}{_quote(raised)}", remedy, ("pt2e-static", "static")
    elif "iterated" in raised.message:
        what = "a tensor is unpacked or looped over, which torch.fx cannot trace"
    elif "Proxy" in raised.message:
        what = "a number is taken out of a tensor or its shape, which torch.fx cannot trace"
    else:
        return None
    remedy = "keep that function out of the graph: torch.fx.wrap"
    if raised.code.startswith("assert "):
        what = "an assert looks at the input's values or shape, which torch.fx cannot trace"
        remedy = "take it out of forward, or write torch._assert(condition, text)"
    return name, f"{what}{_quote(raised)}", remedy, ("pt2e-static", "static")


# the second is how PyTorch 2.6 says it
_DATA_DEPENDENT = re.compile(r"data-dependent|Dynamic control flow is not supported")


def _export(raised: Raised) -> Found:
    if raised.tracer is not Tracer.EXPORT:
        return None
    if "GuardOnDataDependentSymNode" in raised.kind or _DATA_DEPENDENT.search(raised.message):
        what = "the branch or size depends on the input's values, which torch.export cannot follow"
        remedy = "use torch.where or torch.cond there"
        return called(raised.code), f"{what}{_quote(raised)}", remedy, _EAGER
    if "Constraints violated" in raised.message or "specialized" in raised.message:
        what = "the model fixes the batch size, and torch.export finds a graph for that one only"
        return "", what, "compute with x.shape[0] as it is: no int(), no loop over it", _GRAPH
    text = one_line(raised.message) or raised.kind[0]
    return called(raised.code), f"torch.export: {text}", "", _GRAPH


def _per_channel(raised: Raised) -> Found:
    if "Per channel weight observer is not supported" not in raised.message:
        return None
    reason = "weights of transposed convolutions cannot be quantized per channel"
    return "conv_transpose", reason, "", ("static-per-tensor",)


# what Python and PyTorch say of a method where a tensor is wanted
_METHOD = re.compile(
    r"argument '(?P<which>\w+)' .*must be Tensor, not (?:method|function)"
    r"|'(?:method|function)' object has no attribute '(?P<called>\w+)'"
    r"|'(?:method|function)' object is not (?:subscriptable|iterable)"
    r"|unsupported operand type.*'(?:method|function)'"
    r"|expected Tensor.* but got (?:method|function)"
)


def _weight_of_a_quantized_layer(raised: Raised) -> Found:
    """The author's code reads the weight or bias of a layer, and computes with it itself."""
    found = _METHOD.search(raised.message)
    if not found:
        return None
    asked = found["called"] in _OF_TENSORS
    if not (raised.read or found["which"] or asked or _READS.search(raised.code)):
        return None
    name = _operator(raised) or found["called"] or found["which"] or "weight"
    what = raised.read or f"the {found['which'] or 'weight'} of a quantized layer"
    reason = f"the code reads {what} as a tensor; in a quantized layer it is a method"
    remedy = "call the layer itself, not a function of its weight and bias"
    if asked:
        remedy = f"take the {found['called']} from the input, not from a layer's weight"
    return name, f"{reason}{_quote(raised)}", remedy, (*REWRITING, *_BY_TENSOR)


_READS = re.compile(r"\.(weight|bias)\b(?!\()")
# what code asks a weight for that does not compute with it
_OF_TENSORS = ("device", "dtype")
#: Methods that leave layers what they are, and put a quantized tensor into them.
_BY_TENSOR = ("torchao-int8-dynamic",)

#: What to do about a parametrization that computes a layer's weight.
FIXED_BEFORE = 'fix it before: torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")'
#: By the layer's attribute that is gone: what computes the weight, and how it is fixed.
_COMPUTED = {
    "weight_g": "weight_norm", "weight_v": "weight_norm", "weight_orig": "spectral_norm",
}  # fmt: skip
# what PyTorch and torchao say of a layer whose class torch.nn.utils.parametrize has changed
_PARAMETRIZED = re.compile(
    r"from_float only works for.*torch\.nn\.utils\.parametrize|attribute 'weight' already exists"
)


def _computed_weight(raised: Raised) -> Found:
    """What computes a layer's weight before each call goes with the quantized layer."""
    found = re.search(r"object has no attribute '(weight_g|weight_v|weight_orig)'", raised.message)
    if found and "AttributeError" in raised.kind:
        name = _COMPUTED[found[1]]
        reason = f"{name} computes the layer's weight at each call, and a quantized layer has none"
        return name, reason, f"fix it before: torch.nn.utils.remove_{name}(layer)", REWRITING
    kinds = ("AssertionError", "KeyError")
    if any(kind in raised.kind for kind in kinds) and _PARAMETRIZED.search(raised.message):
        reason = "a parametrization (spectral_norm, weight_norm, ...) computes the layer's weight"
        return "parametrization", f"{reason} at each call", FIXED_BEFORE, ("static", *REWRITING)
    if "cannot assign" in raised.message and "as parameter 'weight'" in raised.message:
        reason = "a hook (weight_norm, spectral_norm) computes the layer's weight at each call"
        remedy = "fix it before: torch.nn.utils.remove_weight_norm or remove_spectral_norm(layer)"
        return "weight", reason, remedy, REWRITING
    return None


def _complex(raised: Raised) -> Found:
    """Observers and quantized kernels are of floats."""
    if not re.search(r"(?i)complex(float|double|half|64|128|<)", raised.message):
        return None
    reason = "complex numbers have no quantized kernel"
    remedy = "keep the layer in float: static-keep:LAYER, dynamic-keep:LAYER, and so on"
    return _operator(raised), f"{reason}{_quote(raised)}", remedy, REWRITING


def _float_dtype(raised: Raised) -> Found:
    """A function that makes a result of another dtype than its input, as fft does."""
    if "Creation of quantized tensor requires quantized dtype" not in raised.message:
        return None
    name = _operator(raised)
    reason = f"{name} has no kernel for quantized tensors{_quote(raised)}"
    return name, reason, _keep_float(name), REWRITING


def _length(raised: Raised) -> Found:
    if "'len' is not supported in symbolic tracing" not in raised.message:
        return None
    reason = "len() of a tensor is a number, which torch.fx cannot trace"
    remedy = "write x.shape[0]"
    return "len", f"{reason}{_quote(raised)}", remedy, ("pt2e-static", "static")


def _number_beside(raised: Raised) -> Found:
    if "isinstance(extra_input_node, Node)" not in raised.message:
        return None
    reason = "torchao's quantizer cannot annotate the sum of a layer's output and a number"
    remedy = 'make the number a tensor: self.register_buffer("one", torch.tensor(1.0))'
    return "+", reason, remedy, REWRITING


def _unknown_output(raised: Raised) -> Found:
    found = re.search(r"Found <class '([\w.]+)'> in output, which is not", raised.message)
    if not found:
        return None
    name = found[1].rpartition(".")[2]
    reason = f"torch.export knows no outputs of the class {name}"
    return name, reason, f"register it: torch.export.register_dataclass({name})", _GRAPH


def _no_weight(raised: Raised) -> Found:
    if NO_WEIGHT not in raised.message:
        return None
    reason = "BatchNorm with affine=False has no quantized kernel: that needs a weight and a bias"
    remedy = "make it affine=True: its weight starts as 1 and its bias as 0, which changes nothing"
    return "batch_norm", reason, remedy, REWRITING


def _gone(raised: Raised) -> Found:
    """The code reads a tensor of a layer that was fused with the one after it."""
    found = re.search(r"Node referenced nonexistent target (?:model\.)?([\w.]+)", raised.message)
    if not found:
        return None
    layer, _, leaf = found[1].rpartition(".")
    reason = f"the code reads the {leaf} of {layer}, which is fused with the layer after it"
    return leaf, reason, "call the layer itself, not a function of its weight", REWRITING


def _memory(raised: Raised) -> Found:
    if "MemoryError" not in raised.kind and "can't allocate memory" not in raised.message:
        return None
    return "", f"out of memory: {one_line(raised.message)}", "use a smaller input or batch", ()


def _other(raised: Raised) -> Found:
    text = one_line(raised.message)
    reason = f"{raised.kind[0]}: {text}" if text else raised.kind[0]
    if raised.code.startswith("raise"):  # the author's own message suffices
        return "", reason, _LOOK, ()
    return _operator(raised), f"{reason}{_quote(raised)}", _LOOK, REWRITING if raised.layer else ()


_LOOK = "see the traceback: --traceback, or -vv in pytest"
_KINDS: tuple[Callable[[Raised], Found], ...] = (
    _float_into_quantized,
    _no_kernel,
    _float_dtype,
    _mixed,
    _scalar,
    _other_floats,
    _quantized_into_float,
    _in_a_layer,
    _syntax,
    _script,
    _view,
    _length,
    _control_flow,
    _number_beside,
    _unknown_output,
    _export,
    _per_channel,
    _weight_of_a_quantized_layer,
    _computed_weight,
    _no_weight,
    _complex,
    _gone,
    _memory,
    _other,
)
