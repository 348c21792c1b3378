"""Model inputs: one tensor, several, or named ones, of any dtype and shape.

The first dimension of each tensor counts the samples of a batch. Only this file knows how inputs
are cut, joined, counted, digested and handed to a model; everything else passes them on.
What the code shown by `qreg migrate` calls names no type of this package.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from qreg.errors import DataError

#: ``model(x)``, ``model(*x)``, ``model(**x)``.
Inputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]
#: Runs a model: inputs to outputs.
Run: TypeAlias = Callable[[Inputs], Any]


def as_inputs(found: Any) -> Inputs:
    """What a collate function returned, as inputs.

    Raises:
        DataError: it is not a tensor, nor a tuple, list or mapping of tensors of one length.
    """
    inputs: Any = found
    if isinstance(found, Mapping):
        inputs = {str(name): each for name, each in found.items()}
    elif isinstance(found, Sequence) and not isinstance(found, str):
        inputs = tuple(found)
    wrong = next((each for _, each in named(inputs) if not isinstance(each, torch.Tensor)), None)
    if wrong is not None:
        raise DataError(
            f"inputs hold a {type(wrong).__name__}",
            hint="give a tensor, or a tuple or dict of tensors",
        )
    lengths = {each.shape[0] if each.ndim else -1 for _, each in named(inputs)}
    if len(lengths) != 1 or -1 in lengths:
        shapes = ", ".join(f"{name or 'inputs'} {tuple(x.shape)}" for name, x in named(inputs))
        raise DataError(
            f"a batch of inputs has tensors of several lengths: {shapes or 'none'}",
            hint="the first dimension of each counts the samples",
        )
    return inputs  # type: ignore[no-any-return]


def named(inputs: Any) -> tuple[tuple[str, Any], ...]:
    """The tensors with their names; "" for a single one."""
    if isinstance(inputs, Mapping):
        return tuple(inputs.items())
    if isinstance(inputs, tuple):
        return tuple((str(number), each) for number, each in enumerate(inputs))
    return (("", inputs),)


def tensors(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The tensors."""
    return tuple(each for _, each in named(inputs))


def mapped(inputs: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`change` applied to each tensor."""
    if isinstance(inputs, dict):
        return {name: change(each) for name, each in inputs.items()}
    return tuple(map(change, inputs)) if isinstance(inputs, tuple) else change(inputs)


def mapped_float(inputs: Inputs, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
    """`change` applied to each tensor of floats; others (token ids, masks) as they are."""
    found: Inputs = mapped(inputs, lambda each: change(each) if each.is_floating_point() else each)
    return found


def count(inputs: Inputs) -> int:
    """How many samples there are."""
    return int(tensors(inputs)[0].shape[0])


def cut(inputs: Any, start: int, stop: int) -> Any:
    """The samples from `start` up to `stop`."""
    return mapped(inputs, lambda each: each[start:stop])


def head(inputs: Any, number: int) -> Any:
    """The first samples."""
    return cut(inputs, 0, number)


def singles(inputs: Inputs) -> tuple[Inputs, ...]:
    """Each sample as a batch of one."""
    return tuple(cut(inputs, row, row + 1) for row in range(count(inputs)))


def repeated(inputs: Any, times: int) -> Any:
    """The same samples, several times over."""
    return mapped(inputs, lambda each: torch.cat([each] * times))


def join(parts: Sequence[Inputs]) -> Inputs:
    """Batches one after the other, as one batch."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: torch.cat([part[name] for part in parts]) for name in first}  # type: ignore[index, call-overload]
    if isinstance(first, tuple):
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))
    return torch.cat(list(parts))  # type: ignore[arg-type]


def call(model: Callable[..., Any], inputs: Any) -> Any:
    """The model's outputs."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments that a model is called with."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def positional(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The tensors in the order of a model's parameters, for tools that know no names.

    Raises:
        DataError: they have names.
    """
    args, named_ones = arguments(inputs)
    if named_ones:
        raise DataError(
            "named inputs have no order", hint="give the model a tuple, in its parameters' order"
        )
    return args


def shapes(inputs: Inputs) -> str:
    """Shapes and dtypes as text, for messages: ``ids int64 (2, 16), mask bool (2, 16)``."""
    return ", ".join(
        f"{name} {str(each.dtype).removeprefix('torch.')} {tuple(each.shape)}".strip()
        for name, each in named(inputs)
    )


def has_floats(value: Any) -> bool:
    """Whether a tensor of it, however nested, is of floating point."""
    if isinstance(value, Mapping):
        return any(has_floats(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(has_floats(each) for each in value)
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def digest(value: Any, crc: int = 0) -> int:
    """CRC-32 of one sample: dtype, shape and content, of whatever nesting."""
    if isinstance(value, torch.Tensor):
        plain = value if value.layout is torch.strided else value.to_dense()
        value = plain.detach().contiguous().numpy()
    if isinstance(value, np.ndarray):
        crc = zlib.crc32(f"{value.dtype.str}{value.shape}".encode(), crc)
        return zlib.crc32(np.ascontiguousarray(value).data.cast("B") if value.size else b"", crc)
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            crc = digest(value[name], zlib.crc32(str(name).encode(), crc))
        return crc
    if isinstance(value, (list, tuple)):
        for each in value:
            crc = digest(each, crc)
        return crc
    return zlib.crc32(repr(value).encode(), crc)
