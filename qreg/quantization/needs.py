"""Checking what a method needs of this machine: torchao, a C++ compiler."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.ao.nn import quantized as nnq

from qreg.artifacts.names import ONNXRUNTIME
from qreg.errors import UnavailableError
from qreg.quantization import PT2E_MODULES
from qreg.records.method import MethodInfo, Need

#: The oldest torchao that runs all methods under torch 2.14 and 2.15; what an older one fails at
#: is that version's fault, and no error of the case.
OLDEST_TORCHAO = (0, 18)
#: In the text that `torch.fx.GraphModule` prints.
_GRAPH_ERROR = "of the traced Module's generated forward function:"
_PARTIAL_GRAPH = "def forward(self,"


def check_needs(method: MethodInfo, engine: str) -> None:
    """Check that this machine has what a method requires.

    Raises:
        UnavailableError: it has no kernels for the engine, or something is not installed.
    """
    if engine == ONNXRUNTIME and not method.float_only and engine not in method.engines:
        raise UnavailableError(
            f"{method.name} has no kernels for {engine}",
            hint="onnxruntime runs ort-fp32, ort-static, ort-dynamic, and ONNX files: file:PATH",
        )
    if method.engines and engine not in method.engines:
        raise UnavailableError(
            f"{method.name} has no kernels for {engine}",
            hint=f"choose from {', '.join(method.engines)}",
        )
    for need in method.requires:
        _CHECKS[need]()


def check_packing(model: nn.Module, engine: str) -> None:
    """Check that the engine keeps the weights of transposed convolutions that it was given.

    PyTorch's x86 and fbgemm pack those of kernels with a height of 2 wrongly (2.14.1, AVX2): they
    give back other weights each time, and their results are not those of the layer.

    Raises:
        UnavailableError: it does not.
    """
    kinds = (nnq.ConvTranspose1d, nnq.ConvTranspose2d, nnq.ConvTranspose3d)
    for name, layer in model.named_modules():
        if not isinstance(layer, kinds):
            continue
        tried: Any = copy.deepcopy(layer)
        for _ in range(_PACKINGS):
            weight = tried.weight()
            tried.set_weight_bias(weight, tried.bias())
            if not torch.equal(tried.weight().int_repr(), weight.int_repr()):
                size = " x ".join(map(str, layer.kernel_size))
                raise UnavailableError(
                    f"{engine} loses the weights of {name}, a {type(layer).__name__} with a "
                    f"kernel of {size}: PyTorch's kernel is wrong on this CPU",
                    hint="choose --engine qnnpack, another size of the kernel, or a method that "
                    "leaves the layer in float, such as pt2e-static",
                )


# What is read beside the weights is sometimes right by accident.
_PACKINGS = 3
_LONGEST = 160


def need_torchao() -> None:
    """Import torchao silently.

    Raises:
        UnavailableError: it is not installed, or incompatible with this PyTorch.
    """
    try:
        with logging_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchao")
            for name in PT2E_MODULES:  # their warnings at import belong to no case
                _import_early(name)
    except ImportError as error:
        raise UnavailableError(f"torchao: {error}", hint=_HINT) from error


def _import_early(name: str) -> None:
    """Import what a method imports later; an old torchao has no PT2E, and weights all the same."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("torchao."):
            raise


@contextmanager
def logging_silenced() -> Iterator[None]:
    """Suppress logged warnings, which are about PyTorch's internals and not about the model.

    What torch.fx prints of an exception too (see `graph_errors_silenced`), and PyTorch's trace,
    which `logging.disable` does not reach: pytest adds its handlers there and captures it.
    """
    trace, before = logging.getLogger("torch.__trace"), logging.root.manager.disable
    others = [one for one in trace.handlers if not type(one).__module__.startswith("torch.")]
    for one in others:
        trace.removeHandler(one)
    logging.disable(logging.WARNING)
    try:
        with graph_errors_silenced():
            yield
    finally:
        logging.disable(before)
        for one in others:
            trace.addHandler(one)


@contextmanager
def graph_errors_silenced() -> Iterator[None]:
    """Suppress what PyTorch prints of an exception that it raises too.

    torch.fx prints a traceback of its own in a graph, torch.export the graph as far as it came.

    Everything else that is written to standard error is passed on.
    """
    with contextlib.redirect_stderr(_WithoutGraphErrors(sys.stderr)):
        yield


class _WithoutGraphErrors:
    """A stream that drops those texts, and the line break that `print` adds."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._dropped = stream, False

    def write(self, text: str) -> int:
        dropped = self._dropped
        self._dropped = _GRAPH_ERROR in text or text.lstrip().startswith(_PARTIAL_GRAPH)
        if self._dropped or (dropped and text == "\n"):
            return len(text)
        written: int = self._stream.write(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def need_compiler() -> None:
    """Check that inductor has a C++ compiler.

    Raises:
        UnavailableError: it has none.
    """
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise UnavailableError(
            f"torch.compile has no C++ compiler: {error}", hint="install g++ or clang, or set CXX"
        ) from error


def failed_by_old_torchao(error: BaseException) -> UnavailableError | None:
    """What to say of a method that failed with a torchao older than the oldest tested."""
    torchao: Any = sys.modules.get("torchao")
    if torchao is None:
        return None
    version = str(torchao.__version__)
    if tuple(int(part) for part in version.split("+")[0].split(".")[:2]) >= OLDEST_TORCHAO:
        return None
    text = " ".join(str(error).split())[:_LONGEST]
    what = f"torchao {version} fails with torch {torch.__version__}"
    return UnavailableError(f"{what}: {type(error).__name__}: {text}", hint=_HINT)


def need_onnxruntime() -> None:
    """Import onnx and onnxruntime.

    Raises:
        UnavailableError: one is not installed.
    """
    from qreg.artifacts.onnx_file import need_onnx

    need_onnx()


_CHECKS = {
    Need.TORCHAO: need_torchao,
    Need.COMPILER: need_compiler,
    Need.ONNXRUNTIME: need_onnxruntime,
}
_HINT = f"pip install 'torchao>={'.'.join(map(str, OLDEST_TORCHAO))}'"
