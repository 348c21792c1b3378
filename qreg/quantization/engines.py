"""The quantized kernel backends of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qreg.errors import UnavailableError, UnknownNameError

ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")


def check_engine(name: str) -> str:
    """Return `name` if it is a known engine.

    Raises:
        UnknownNameError: it is not.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    return name


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
