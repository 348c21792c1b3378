"""Loading a model's file by its format."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from qreg.artifacts.names import (
    FILE,
    FLOAT_FILE,
    FileFormat,
    file_format,
    file_method_info,
    find_file,
)
from qreg.artifacts.onnx_file import OnnxModel, load_onnx
from qreg.artifacts.program import load_program
from qreg.artifacts.torchscript import load_script
from qreg.data import inputs
from qreg.data.files import file_sha256
from qreg.errors import ModelFileError
from qreg.quantization.method import Context, Method
from qreg.records.model_file import ModelFile

_FACTS = "_qreg_file"


def load_file(name: str) -> nn.Module:
    """The model in the file that a name stands for, in evaluation mode.

    Raises:
        MissingFileError: there is none.
        ModelFileError: it is damaged, or needs what is not loaded.
        UnavailableError: what runs it is not installed.
    """
    path, kind = find_file(name), file_format(name)
    shown = path.name
    if kind is FileFormat.ONNX:
        return load_onnx(path, name=shown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load = load_program if kind is FileFormat.PROGRAM else load_script
        model: nn.Module = load(path, name=shown)
    facts = ModelFile(kind.value, file_sha256(path), path.stat().st_size)
    object.__setattr__(model, _FACTS, facts)
    return model


def file_of(model: nn.Module) -> ModelFile | None:
    """The facts of the file that a model was loaded from; None for a model that is no file.

    Of an ONNX model that was just made they are those of the file that it would be.
    """
    found = model.file if isinstance(model, OnnxModel) else model.__dict__.get(_FACTS)
    return found if isinstance(found, ModelFile) else None


def float_model(path: str) -> Callable[[], nn.Module]:
    """A factory of the float model in a file, for the registry of models."""
    return partial(load_file, f"{FILE}:{path}")


def quantized_file(path: str) -> Method:
    """The method that stands for a file, for the registry of methods."""
    return _method(f"{FILE}:{path}")


def float_file(path: str) -> Method:
    """The method that stands for a float file."""
    return _method(f"{FLOAT_FILE}:{path}")


def _method(name: str) -> Method:
    def quantize(model: nn.Module, context: Context) -> nn.Module:
        loaded = load_file(name)
        if isinstance(loaded, OnnxModel):
            with torch.no_grad():
                loaded.like(inputs.call(model, context.to_trace()))
        return loaded

    return Method.of(file_method_info(name), quantize, separate=True)


def refuse_quantized_file(model: nn.Module, *, name: str) -> None:
    """Refuse a file as the float model in which something is quantized.

    Raises:
        ModelFileError: something is.
    """
    if isinstance(model, OnnxModel) and model.graph.is_quantized():
        raise ModelFileError(
            f"{name} is quantized already",
            hint=f"give the float model's file, and this one as a method: --methods {name}",
        )
