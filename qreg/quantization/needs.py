"""Checking what a method needs of this machine: torchao, a C++ compiler."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from qreg.errors import UnavailableError
from qreg.records.method import MethodInfo, Need

#: The oldest tested torchao; up to 0.15 its PT2E fails under torch 2.14.
OLDEST_TORCHAO = (0, 18)
# Modules that methods import later: their import-time warnings belong to no case.
_MODULES = (
    "torch.export",
    "torchao.quantization.pt2e.quantize_pt2e",
    "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer",
)


def check_needs(method: MethodInfo, engine: str) -> None:
    """Check that this machine has what a method requires.

    Raises:
        UnavailableError: it has no kernels for the engine, or something is not installed.
    """
    if method.engines and engine not in method.engines:
        raise UnavailableError(
            f"{method.name} has no kernels for {engine}",
            hint=f"choose from {', '.join(method.engines)}",
        )
    for need in method.requires:
        _CHECKS[need]()


def need_torchao() -> None:
    """Import torchao silently.

    Raises:
        UnavailableError: it is not installed, too old, or incompatible with this PyTorch.
    """
    try:
        with logging_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check(str(importlib.import_module("torchao").__version__))
            for name in _MODULES:
                importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"torchao: {error}", hint=_HINT) from error


@contextmanager
def logging_silenced() -> Iterator[None]:
    """Suppress logged warnings, which are about PyTorch's internals and not about the model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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


def _check(version: str) -> None:
    found = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if found < OLDEST_TORCHAO:
        raise UnavailableError(f"torchao {version} is too old", hint=_HINT)


_CHECKS = {Need.TORCHAO: need_torchao, Need.COMPILER: need_compiler}
_HINT = f"pip install 'torchao>={'.'.join(map(str, OLDEST_TORCHAO))}'"
