"""Methods by name: ways from a float model to the model that is measured."""

from __future__ import annotations

from typing import Any

from qreg.errors import ContractError
from qreg.quantization.method import Context, Method
from qreg.registry import Registry, is_object_path

METHODS: Registry[Any] = Registry("method")
METHODS.register("fp32", "qreg.quantization.fp32:FP32")
METHODS.register("dynamic", "qreg.quantization.dynamic:DYNAMIC")
METHODS.register("static", "qreg.quantization.static:STATIC")
METHODS.register("static-per-tensor", "qreg.quantization.static:STATIC_PER_TENSOR")
METHODS.register("fp32-finetuned", "qreg.quantization.fp32_finetuned:FP32_FINETUNED")
METHODS.register("qat", "qreg.quantization.qat:QAT")
METHODS.register("qat-per-tensor", "qreg.quantization.qat:QAT_PER_TENSOR")
#: What a project's gate judges unless it names its methods: present without torchao.
DEFAULT_METHODS = METHODS.names()
#: What stands on eager quantization, which PyTorch is to drop.
DEPRECATED = ("dynamic", "static", "qat")
METHODS.register("fx-static", "qreg.quantization.fx_graph:FX_STATIC")
METHODS.register("fx-qat", "qreg.quantization.fx_graph:FX_QAT")
METHODS.register("pt2e-static", "qreg.quantization.pt2e:PT2E_STATIC")
METHODS.register("pt2e-qat", "qreg.quantization.pt2e:PT2E_QAT")
METHODS.register("pt2e-static-compiled", "qreg.quantization.pt2e:PT2E_STATIC_COMPILED")
METHODS.register("pt2e-qat-compiled", "qreg.quantization.pt2e:PT2E_QAT_COMPILED")
METHODS.register("torchao-int8-dynamic", "qreg.quantization.torchao_int8:INT8_DYNAMIC")
METHODS.register("torchao-int8-weight-only", "qreg.quantization.torchao_int8:INT8_WEIGHT_ONLY")


def successors(name: str) -> tuple[Method, ...]:
    """The registered methods that replace the deprecated method of that name."""
    registered = (METHODS.get(each) for each in METHODS.names())
    return tuple(method for method in registered if method.replaces == name)


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


__all__ = [
    "DEFAULT_METHODS",
    "DEPRECATED",
    "METHODS",
    "Context",
    "Method",
    "get_method",
    "successors",
]
