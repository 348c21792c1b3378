"""Exported programs (.pt2), loaded without unpickling anything but tensors."""

from __future__ import annotations

import importlib
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import torch
from torch import fx

from qreg.errors import ModelFileError
from qreg.quantization.needs import logging_silenced

# Modules that define the quantize and dequantize operators of a graph.
_OPERATORS = (
    "torch.ao.quantization.fx._decomposed",
    "torchao.quantization.pt2e.quantize_pt2e",
)
_COMPILED = "/aotinductor/"


class PickledError(Exception):
    """A file asks to be unpickled."""


def load_program(path: Path, *, name: str) -> fx.GraphModule:
    """Load an exported program as a graph.

    `torch.export.load` itself unpickles: custom objects, weights that are tensor subclasses, and
    whatever its first attempt with ``weights_only=True`` refuses. Here nothing is unpickled but
    plain tensors, and machine code in the archive (AOTInductor's) is not loaded.

    Raises:
        ModelFileError: it is none, damaged, needs unpickling, or takes a single batch size.
    """
    _refuse_machine_code(path, name)
    for module in _OPERATORS:
        with suppress(ImportError), warnings.catch_warnings(), logging_silenced():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    try:
        with tensors_only(), logging_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            graph = program.module()
    except Exception as error:
        raise ModelFileError(
            f"{name} cannot be loaded as an exported program: {_reason(error)}",
            hint="write it with torch.export.save, with plain tensors as weights; only those are "
            "loaded",
        ) from error
    assert isinstance(graph, fx.GraphModule)
    _refuse_fixed_batch(graph, name)
    for refused in ("train", "eval"):  # which exported graphs refuse
        graph.__dict__.pop(refused, None)
    if hasattr(type(graph), "eval") and type(graph).eval is not torch.nn.Module.eval:
        graph.eval = lambda: graph  # type: ignore[method-assign]
    return graph


@contextmanager
def tensors_only() -> Iterator[None]:
    """Let `torch.load` read tensors only, and nothing else be unpickled, in this context."""
    load = torch.load

    def safely(*args: Any, **more: Any) -> Any:
        return load(*args, **(more | {"weights_only": True}))

    def refuse(*args: Any, **more: Any) -> NoReturn:
        raise PickledError("it holds pickled objects that are no tensors")

    with (
        patch.object(torch, "load", safely),
        patch.object(pickle, "loads", refuse),
        patch.object(pickle, "load", refuse),
    ):
        yield


def _refuse_machine_code(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [f"/{one}" for one in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            f"{name} is no exported program, or cut off: {error}",
            hint="write it with torch.export.save; copy it again",
        ) from error
    if any(_COMPILED in one for one in names):
        raise ModelFileError(
            f"{name} holds machine code (AOTInductor), which is not loaded",
            hint="give the exported program: torch.export.save",
        )


def _refuse_fixed_batch(graph: fx.GraphModule, name: str) -> None:
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor) and value.ndim:
            size = value.shape[0]
            if isinstance(size, int):
                raise ModelFileError(
                    f"{name} takes batches of {size} only, and of one and of many are measured",
                    hint="export it with dynamic_shapes={0: torch.export.Dim('batch')}",
                )


def _reason(error: BaseException) -> str:
    """The innermost reason, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    if "weights_only" in text.lower() or "Unsupported global" in text:
        found = text[text.find("GLOBAL ") :].partition(" was not")[0] if "GLOBAL " in text else ""
        return f"it holds pickled objects that are no tensors{f' ({found})' if found else ''}"
    return text.partition("\n")[0][:200] or type(error).__name__
