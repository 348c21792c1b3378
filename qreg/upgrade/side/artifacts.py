"""Model files written by one PyTorch version and loaded by another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qreg.data import inputs
from qreg.data.inputs import Inputs, Run
from qreg.upgrade.case_files import KINDS


def write_artifacts(model: nn.Module, images: Inputs, stem: str) -> dict[str, str]:
    """Write all kinds; returns for each why it could not be written, "" where it was."""
    return {
        kind: _attempt(partial(_WRITE[kind], model, images, _path(stem, kind))) for kind in KINDS
    }


def load_artifact(kind: str, stem: str, skeleton: nn.Module) -> Run:
    """A function that runs a file's model; a state dict is loaded into `skeleton`.

    Raises:
        Exception: whatever PyTorch raises for a file that it cannot load.
    """
    return _LOAD[kind](_path(stem, kind), skeleton)


def _path(stem: str, kind: str) -> Path:
    return Path(f"{stem}.{KINDS[kind]}")


def _attempt(write: Callable[[], None]) -> str:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return ""


def _write_state(model: nn.Module, images: Inputs, path: Path) -> None:
    torch.save(model.state_dict(), path)


def _load_state(path: Path, skeleton: nn.Module) -> Run:
    skeleton.load_state_dict(torch.load(path, weights_only=True))
    return partial(inputs.call, skeleton)


def _write_script(model: nn.Module, images: Inputs, path: Path) -> None:
    args, named = inputs.arguments(images)
    given: Any = {"example_kwarg_inputs": named} if named else {"example_inputs": args}
    traced: Any = torch.jit.trace(model, check_trace=False, **given)
    torch.jit.save(traced, str(path))


def _load_script(path: Path, skeleton: nn.Module) -> Run:
    loaded: Any = torch.jit.load(str(path))

    def run(images: Inputs) -> Any:
        # without the profiling executor, which may fuse later calls: the stored graph is compared
        with _unoptimized():
            return inputs.call(loaded, images)

    return run


@contextmanager
def _unoptimized() -> Iterator[None]:
    jit: Any = torch.jit
    with jit.optimized_execution(False):
        yield


def _write_program(model: nn.Module, images: Inputs, path: Path) -> None:
    torch.export.save(torch.export.export(model, *inputs.arguments(images)), path)


def _load_program(path: Path, skeleton: nn.Module) -> Run:
    return partial(inputs.call, torch.export.load(path).module())


_WRITE = {
    "state dict": _write_state,
    "TorchScript": _write_script,
    "exported program": _write_program,
}
_LOAD = {"state dict": _load_state, "TorchScript": _load_script, "exported program": _load_program}
