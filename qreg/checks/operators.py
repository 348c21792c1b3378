"""Operators compared with the baseline's: which ones run, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qreg.records.method import MethodInfo
from qreg.records.numerics import Layer, Numerics, OperatorCount, Work
from qreg.records.verdict import Check, Finding, Outcome

# Operators that compute layers; PyTorch versions may differ in the operators around them.
_FLOAT_WORK = ("aten::convolution", "aten::addmm", "aten::mm", "aten::bmm", "aten::linear")
_QUANTIZED = (
    "quantized::",
    "quantized_decomposed::",
    "onednn::",
    "torchao::",
    "aten::_int_mm",
    "onnx::QLinear",
    "onnx::ConvInteger",
    "onnx::MatMulInteger",
    "microsoft::QLinear",
    "microsoft::MatMulInteger",
    "microsoft::QGemm",
    "microsoft::DynamicQuantize",
    "microsoft::MatMulNBits",
)
# onnxruntime's, in whatever layout; which one it chooses depends on the CPU
_ONNX_FLOAT = ("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul")
_ONNX_DOMAINS = ("onnx", "microsoft", "microsoft.nchwc")
# Dequantizing is not quantized work: a graph with only this left computes in float.
_ONLY_READ = "quantized_decomposed::dequantize"
_CONVERTING = "quantized_decomposed::"
# Pooling codes, as `quantized::max_pool2d` does, is not a layer's work either.
_INT8_WORK = tuple(name for name in _QUANTIZED if name != _CONVERTING)
# Inductor's replacements of them, which do not occur in a baseline's counts.
_COMPILED_FLOAT_WORK = ("mkldnn::_convolution_pointwise", "mkldnn::_linear_pointwise")


def judge_quantized(method: MethodInfo, observed: Numerics) -> Iterator[Finding]:
    """A quantizing method must leave something quantized, independently of any baseline.

    A user's own method without such facts may be a float one, and is not judged by this.
    """
    if not method.quantizes or quantizes(observed.operators, observed.layers):
        return
    yield Finding(
        check=Check.OPERATORS,
        outcome=Outcome.REGRESSED,
        expected="quantized work",
        observed="none: no activation is quantized, no layer computes with int8 weights",
        allowed="at least one quantized operator or layer",
    )


def quantizes(operators: Sequence[OperatorCount], layers: Sequence[Layer]) -> bool:
    """Whether anything quantized ran: an operator, or a layer with int8 weights or output."""
    names = [each.name for each in operators]
    if any(name.startswith(_QUANTIZED) and not name.startswith(_ONLY_READ) for name in names):
        return True
    read = any(name.startswith(_ONLY_READ) for name in names)
    return not read and any(layer.weight or layer.output for layer in layers)


def judge_operators(
    observed: Sequence[OperatorCount], baseline: Sequence[OperatorCount], *, same_version: bool
) -> Iterator[Finding]:
    """Under the same PyTorch all operators must match, otherwise those that compute layers."""
    here, there = _counts(observed, same_version), _counts(baseline, same_version)
    changed = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    if changed:
        yield Finding(
            check=Check.OPERATORS,
            outcome=Outcome.REGRESSED,
            expected=_text(changed, there),
            observed=_text(changed, here),
            allowed="the same operators, as often",
        )


def judge_kinds(observed: Sequence[Layer], baseline: Sequence[Layer]) -> Iterator[Finding]:
    """Layers must have the same kinds in the same order; reports layers that stayed float."""
    here, there = {x.name: x.kind for x in observed}, {x.name: x.kind for x in baseline}
    changed = [name for name in {**there, **here} if here.get(name) != there.get(name)]
    if changed:
        yield Finding(
            check=Check.OPERATORS,
            outcome=Outcome.REGRESSED,
            expected=_kinds(changed, there),
            observed=_kinds(changed, here),
            allowed="the same kinds of layers",
            where=", ".join(changed[:4]) + (" ..." if len(changed) > 4 else ""),
        )
    elif list(here) != list(there):
        old, new = next((a, b) for a, b in zip(there, here, strict=True) if a != b)
        yield Finding(
            check=Check.OPERATORS,
            outcome=Outcome.REGRESSED,
            expected=f"{old} first",
            observed=f"{new} first",
            allowed="layers in the same order",
            where=new,
        )


def _counts(operators: Sequence[OperatorCount], everything: bool) -> dict[str, int]:
    if everything:
        return {each.name: each.count for each in operators}
    counts: dict[str, int] = {}
    for each in operators:
        if each.name in _FLOAT_WORK or each.name.startswith(_QUANTIZED) or _is_onnx_float(each):
            name = _without_layout(each.name)
            counts[name] = counts.get(name, 0) + each.count
    return counts


def _is_onnx_float(operator: OperatorCount) -> bool:
    domain, _, kind = operator.name.partition("::")
    return domain in _ONNX_DOMAINS and kind in _ONNX_FLOAT


def _without_layout(name: str) -> str:
    """``onnx::Conv`` for any layout of it and with any activation fused."""
    domain, _, kind = name.partition("::")
    return f"onnx::{kind.removeprefix('Fused')}" if domain in _ONNX_DOMAINS else name


def _text(names: Sequence[str], counts: dict[str, int]) -> str:
    shown = [f"{counts.get(name, 0)} x {name}" for name in names[:4]]
    return ", ".join(shown) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _kinds(names: Sequence[str], kinds: dict[str, str]) -> str:
    return ", ".join(kinds.get(name, "none") for name in names[:4])


def layers_work(operators: Sequence[OperatorCount], layers: Sequence[Layer]) -> Work:
    """The operators of one forward pass that compute layers."""
    return Work(
        int8=tuple(o for o in operators if o.name.startswith(_INT8_WORK) and "pool" not in o.name),
        floating=tuple(
            o
            for o in operators
            if o.name in (*_FLOAT_WORK, *_COMPILED_FLOAT_WORK) or _is_onnx_float(o)
        ),
        converting=sum(o.count for o in operators if o.name.startswith(_CONVERTING)),
        quantized=quantizes(operators, layers),
    )
