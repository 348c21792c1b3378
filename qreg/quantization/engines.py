"""The quantized kernel backends of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qreg.artifacts.names import ONNXRUNTIME
from qreg.errors import UnavailableError, UnknownNameError
from qreg.records.method import MethodInfo

#: Those of PyTorch.
ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
#: Those that can be asked for: onnxruntime runs files and methods of its own.
ALL_ENGINES = (*ENGINES, ONNXRUNTIME)


def check_engine(name: str) -> str:
    """Return `name` if it is a known engine.

    Raises:
        UnknownNameError: it is not.
    """
    if name not in ALL_ENGINES:
        raise UnknownNameError("engine", name, ALL_ENGINES)
    return name


def engines_for(method: MethodInfo, chosen: Sequence[str]) -> tuple[str, ...]:
    """The engines on which a method is measured, out of the chosen ones.

    What onnxruntime runs is measured there, whatever is chosen, and nothing else is.
    """
    if method.engines == (ONNXRUNTIME,):
        return method.engines
    of_torch = tuple(one for one in chosen if one != ONNXRUNTIME)
    if chosen and not of_torch and method.float_only:
        return (default_engine(),)
    return of_torch or tuple(chosen)


def available_engines() -> tuple[str, ...]:
    """The engines available in this machine's PyTorch, in the order of `ENGINES`."""
    import torch

    supported = torch.backends.quantized.supported_engines
    return tuple(name for name in ENGINES if name in supported)


def default_engine() -> str:
    """The default engine: the first available one.

    Raises:
        UnavailableError: this PyTorch has no quantized engine.
    """
    engines = available_engines()
    if not engines:
        raise UnavailableError("this PyTorch has no quantized engine", hint="install another build")
    return engines[0]


@contextmanager
def use_engine(name: str) -> Iterator[None]:
    """Set the engine to `name` in this context, and restore the previous one at the end.

    Raises:
        UnavailableError: this machine's PyTorch lacks it.
    """
    import torch

    if name == ONNXRUNTIME:  # PyTorch's own engine is of no matter
        yield
        return
    if name not in available_engines():
        available = ", ".join(available_engines()) or "none"
        raise UnavailableError(
            f"engine '{name}' is not in this PyTorch", hint=f"available engines: {available}"
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
