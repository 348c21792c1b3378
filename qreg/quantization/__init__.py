"""Quantization methods by name.

Nothing here imports torch: a method is registered with its facts and the path of its object.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qreg.artifacts.names import (
    FILE,
    FILE_PATH,
    FLOAT_FILE,
    ONNXRUNTIME,
    file_method_info,
    is_file_name,
)
from qreg.errors import ContractError, UnknownNameError
from qreg.quantization.keeping import Keeping, keeping_name, kept_layers
from qreg.quantization.method import Context, Method
from qreg.records.method import CheckpointKind, Form, MethodInfo, Need
from qreg.registry import Registry, is_object_path

if TYPE_CHECKING:
    from torch import nn

#: What the methods by PT2E import at the first network that they quantize.
PT2E_MODULES = (
    "torch.export",
    "torchao.quantization.pt2e.quantize_pt2e",
    "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer",
)


class MethodRegistry(Registry[Any]):
    """Methods by name, each with its facts."""

    def __init__(self) -> None:
        super().__init__("method")
        self._facts: dict[str, MethodInfo] = {}

    def add(self, info: MethodInfo, path: str) -> None:
        """Register the method with these facts, whose object is at ``package.module:object``.

        Raises:
            ValueError: the name is taken, or the path is not of that form.
        """
        self.register(info.name, path)
        self._facts[info.name] = info

    def facts(self) -> tuple[MethodInfo, ...]:
        """The facts of all methods, in the order of registration."""
        return tuple(self.info(name) for name in self.names())

    def info(self, name: str) -> MethodInfo:
        """The facts registered under that name, without importing the method.

        Nothing is known of a user's own ``package.module:object``; see `method_info`.

        Raises:
            UnknownNameError: it is neither registered nor an object path.
        """
        if is_file_name(name) and name not in self._defined:
            return file_method_info(name)
        if name in self._defined:
            found: Method = self._defined[name]()
            return found.info
        if kept := kept_layers(name):
            return _keeping_info(name, self.info(kept.method))
        return self._facts.get(self.check(name), MethodInfo(name))

    def module(self, name: str) -> str:
        """The module of a registered method's object; "" for any other name."""
        return "" if name in self._defined else self._paths.get(name, "").partition(":")[0]

    def knows(self, name: str) -> bool:
        """Whether `name` is registered, an object path, or leaves layers of a method in float."""
        kept = kept_layers(name)
        return super().knows(name) or (kept is not None and kept.method in self._paths)

    def get(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            ContractError: the method can leave no layer in float, or none at 16 bits.
        """
        kept = kept_layers(name)
        if kept is None or name in self._defined:
            return super().get(name)
        self.check(name)
        return _keeping(name, super().get(kept.method), kept)


def _keeping_info(name: str, base: MethodInfo) -> MethodInfo:
    return replace(base, name=name, default=False, variant_of="", replaces="")


def _keeping(name: str, base: Method, kept: Keeping) -> Method:
    """A method with layers left in float, or at 16 bits."""
    if base.keep is None:
        raise ContractError(
            f"method '{name}': '{base.name}' can leave no layer in float",
            hint="name a method that quantizes layers: static-keep:conv1+fc3",
        )
    keep = base.keep
    if kept.form is Form.FLOAT32:

        def quantize(model: nn.Module, context: Context) -> nn.Module:
            return keep(model, context, tuple(_layer(name, model, one) for one in kept.layers))

        recipe = base.keep_recipe
    else:
        if base.exported:
            raise ContractError(
                f"method '{name}': the layers of '{base.name}' are operators of an exported graph, "
                "and no modules that could run at 16 bits",
                hint=f"leave them in float: {keeping_name(base.name, kept.layers)}",
            )
        from qreg.quantization.half_precision import dtype_of, keep_at_16_bits

        dtype = dtype_of(kept.form)

        def quantize(model: nn.Module, context: Context) -> nn.Module:
            layers = tuple(_layer(name, model, one) for one in kept.layers)
            return keep_at_16_bits(keep(model, context, layers), layers, dtype)

        recipe = (*base.keep_recipe, keep_at_16_bits) if base.keep_recipe else ()
    return Method.of(
        _keeping_info(name, base.info),
        quantize,
        skeleton=base.skeleton,
        recipe=recipe,
    )


def _layer(method: str, model: nn.Module, layer: str) -> str:
    """The layer's name in the model, which qreg may have put between stubs.

    Raises:
        UnknownNameError: the model has no such layer.
    """
    names = [name for name, _ in model.named_modules() if name]
    for name in (layer, f"model.{layer}"):
        if name in names:
            return name
    raise UnknownNameError(f"layer in '{method}':", layer, names)


METHODS = MethodRegistry()
METHODS.add(
    MethodInfo("fp32", float_only=True, default=True, takes_file=True),
    "qreg.quantization.fp32:FP32",
)
METHODS.add(
    MethodInfo("dynamic", float_only=False, default=True),
    "qreg.quantization.dynamic:DYNAMIC",
)
METHODS.add(
    MethodInfo("static", float_only=False, default=True),
    "qreg.quantization.static:STATIC",
)
METHODS.add(
    MethodInfo(
        "static-per-tensor", float_only=False, default=True, per_tensor=True, variant_of="static"
    ),
    "qreg.quantization.static:STATIC_PER_TENSOR",
)
METHODS.add(
    MethodInfo("static-auto", float_only=False),
    "qreg.quantization.static:STATIC_AUTO",
)
METHODS.add(
    MethodInfo(
        "fp32-finetuned", float_only=True, default=True, checkpoint=CheckpointKind.FINETUNED
    ),
    "qreg.quantization.fp32_finetuned:FP32_FINETUNED",
)
METHODS.add(
    MethodInfo(
        "qat",
        float_only=False,
        default=True,
        checkpoint=CheckpointKind.QAT,
        control="fp32-finetuned",
    ),
    "qreg.quantization.qat:QAT",
)
METHODS.add(
    MethodInfo(
        "qat-per-tensor",
        float_only=False,
        default=True,
        per_tensor=True,
        variant_of="qat",
        checkpoint=CheckpointKind.QAT_PER_TENSOR,
        control="fp32-finetuned",
    ),
    "qreg.quantization.qat:QAT_PER_TENSOR",
)
METHODS.add(
    MethodInfo("fx-static", float_only=False, replaces="static"),
    "qreg.quantization.fx_graph:FX_STATIC",
)
METHODS.add(
    MethodInfo(
        "fx-qat",
        float_only=False,
        replaces="qat",
        checkpoint=CheckpointKind.QAT,
        control="fp32-finetuned",
    ),
    "qreg.quantization.fx_graph:FX_QAT",
)
_PT2E: dict[str, Any] = {
    "float_only": False,
    "exported": True,
    "engines": ("x86", "onednn"),  # X86InductorQuantizer is for their kernels
}
METHODS.add(
    MethodInfo("pt2e-static", **_PT2E, requires=(Need.TORCHAO,), replaces="static"),
    "qreg.quantization.pt2e:PT2E_STATIC",
)
METHODS.add(
    MethodInfo(
        "pt2e-qat",
        **_PT2E,
        requires=(Need.TORCHAO,),
        replaces="qat",
        checkpoint=CheckpointKind.QAT,
        control="fp32-finetuned",
    ),
    "qreg.quantization.pt2e:PT2E_QAT",
)
METHODS.add(
    MethodInfo(
        "pt2e-static-compiled",
        **_PT2E,
        requires=(Need.COMPILER, Need.TORCHAO),
        compiled=True,
        variant_of="pt2e-static",
        replaces="static",
    ),
    "qreg.quantization.pt2e:PT2E_STATIC_COMPILED",
)
METHODS.add(
    MethodInfo(
        "pt2e-qat-compiled",
        **_PT2E,
        requires=(Need.COMPILER, Need.TORCHAO),
        compiled=True,
        variant_of="pt2e-qat",
        replaces="qat",
        checkpoint=CheckpointKind.QAT,
        control="fp32-finetuned",
    ),
    "qreg.quantization.pt2e:PT2E_QAT_COMPILED",
)
_TORCHAO: dict[str, Any] = {
    "float_only": False,
    "requires": (Need.TORCHAO,),
    "replaces": "dynamic",
    "operators_by_cpu": True,  # torchao.kernel.intmm checks for VNNI
}
METHODS.add(
    MethodInfo("torchao-int8-dynamic", **_TORCHAO),
    "qreg.quantization.torchao_int8:INT8_DYNAMIC",
)
METHODS.add(
    MethodInfo("torchao-int8-weight-only", **_TORCHAO),
    "qreg.quantization.torchao_int8:INT8_WEIGHT_ONLY",
)
METHODS.add(
    MethodInfo("torchao-int4-weight-only", **(_TORCHAO | {"replaces": ""})),
    "qreg.quantization.torchao_int8:INT4_WEIGHT_ONLY",
)
_ORT: dict[str, Any] = {
    "engines": (ONNXRUNTIME,),
    "requires": (Need.ONNXRUNTIME,),
    "takes_file": True,
    "operators_by_cpu": True,  # its optimizer chooses layouts and fusions by the CPU
}
_ORT_QUANTIZED: dict[str, Any] = {**_ORT, "float_only": False, "control": "ort-fp32"}
_ORT_MODULE = "qreg.quantization.onnxruntime_methods"
METHODS.add(MethodInfo("ort-fp32", float_only=True, **_ORT), f"{_ORT_MODULE}:ORT_FP32")
METHODS.add(
    MethodInfo("ort-static", replaces="static", **_ORT_QUANTIZED), f"{_ORT_MODULE}:ORT_STATIC"
)
METHODS.add(
    MethodInfo("ort-static-per-tensor", per_tensor=True, variant_of="ort-static", **_ORT_QUANTIZED),
    f"{_ORT_MODULE}:ORT_STATIC_PER_TENSOR",
)
METHODS.add(
    MethodInfo("ort-static-full-range", **_ORT_QUANTIZED), f"{_ORT_MODULE}:ORT_STATIC_FULL_RANGE"
)
METHODS.add(
    MethodInfo("ort-static-qoperator", **_ORT_QUANTIZED), f"{_ORT_MODULE}:ORT_STATIC_QOPERATOR"
)
METHODS.add(
    MethodInfo("ort-dynamic", replaces="dynamic", **_ORT_QUANTIZED), f"{_ORT_MODULE}:ORT_DYNAMIC"
)
for _name in ("bfloat16", "float16"):
    METHODS.add(
        MethodInfo(_name, float_only=True), f"qreg.quantization.half_precision:{_name.upper()}"
    )
for _prefix, _path in ((FILE, "quantized_file"), (FLOAT_FILE, "float_file")):
    METHODS.register_library(_prefix, f"qreg.artifacts.load:{_path}", names=FILE_PATH)

#: The methods that a project's gate judges by default.
DEFAULT_METHODS = tuple(info.name for info in METHODS.facts() if info.default)
#: Deprecated methods: those of eager quantization, which other methods replace.
DEPRECATED = tuple(
    name for name in METHODS.names() if any(info.replaces == name for info in METHODS.facts())
)


def successors(name: str) -> tuple[MethodInfo, ...]:
    """The registered methods that replace the deprecated method of that name."""
    return tuple(info for info in METHODS.facts() if info.replaces == name)


def alternatives(name: str, advised: tuple[str, ...]) -> tuple[str, ...]:
    """The methods to use in place of one, of those that its diagnosis advises.

    In place of one that starts from a trained checkpoint, those that start from the same one.
    """
    try:
        info = METHODS.info(name)
    except UnknownNameError:
        return advised
    if info.checkpoint != MethodInfo(name).checkpoint and advised:
        same = [m for m in METHODS.facts() if m.checkpoint == info.checkpoint and not m.compiled]
        advised = tuple(m.name for m in same if m.quantizes)
    return tuple(one for one in advised if one != name)


#: What `qreg train` takes as a method: the kinds of checkpoints, and the methods that start from
#: one; those that compile take too long to try.
_STARTING = tuple(
    info.name
    for info in METHODS.facts()
    if info.checkpoint != CheckpointKind.FP32 and not info.compiled
)
TRAINED = tuple(dict.fromkeys((*map(str, CheckpointKind), *_STARTING)))


def train_command(model: str, dataset: str, method: str) -> str:
    """The command that trains what a method starts from, and tries that it can convert it."""
    info = method_info(method)
    name = next((n for n in (method, info.variant_of) if n in TRAINED), str(info.checkpoint))
    return f"qreg train --model {model} --dataset {dataset} --method {name}"


def get_method(name: str) -> Method:
    """The method of that name, or at ``package.module:object``.

    A user's object is a `Method`, or a function ``(model, context) -> model`` that is given the
    model with its fp32 weights.

    Raises:
        UnknownNameError: it is neither registered nor an object path.
        ContractError: the object is neither of the two.
    """
    found = METHODS.get(name)
    if isinstance(found, Method):
        return found
    if is_object_path(name) and callable(found):
        return Method(name=name, quantize=found)
    raise ContractError(
        f"method '{name}' is a {type(found).__name__}",
        hint="it must be a qreg.quantization.Method or a function (model, context) -> model",
    )


def method_info(name: str) -> MethodInfo:
    """The facts of a method: as registered, or as given by a user's own object.

    A registered method is not imported; a user's own is, if possible. If not, for example where a
    baseline is read without the code, nothing is known of it.

    Raises:
        UnknownNameError: it is neither registered nor an object path.
    """
    if is_file_name(name) or not is_object_path(name):
        return METHODS.info(name)
    try:
        return get_method(name).info
    except ContractError:
        return METHODS.info(name)


__all__ = [
    "DEFAULT_METHODS",
    "DEPRECATED",
    "METHODS",
    "TRAINED",
    "Context",
    "Method",
    "MethodInfo",
    "Need",
    "alternatives",
    "get_method",
    "method_info",
    "successors",
    "train_command",
]
