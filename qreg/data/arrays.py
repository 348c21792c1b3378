"""Samples whose inputs and targets are arrays, of any dtype and shape, perhaps mapped."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qreg.data.samples import Batch, Rows, Samples, check_index
from qreg.errors import DataError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
# What PyTorch has a dtype for.
_DTYPES = {"bool", "float16", "complex64", "complex128"}
_DTYPES |= {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
_DTYPES |= {"float32", "float64"}


def fits_tensor(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a dtype, of whatever byte order, can be tensors."""
    return dtype.newbyteorder("=").name in _DTYPES


@dataclass(frozen=True, eq=False)
class ArraySamples(Samples):
    """Arrays.

    Attributes:
        inputs: by name, "" for a single one; the first dimension of each counts the samples.
        targets: likewise; none where the task needs none.
        index: int64 (N,), canonical indices, ascending.
        labels: int64 (N,), where the targets are class labels.
    """

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array]
    index: Rows
    labels: Rows | None = None

    def __post_init__(self) -> None:
        for name, array in (*self.inputs.items(), *self.targets.items()):
            if not fits_tensor(array.dtype) or not array.ndim or len(array) != len(self.index):
                raise DataError(
                    f"array {name or 'inputs'} is {array.dtype} of shape {array.shape}",
                    hint=f"it must hold numbers, of {len(self.index)} samples",
                )
        check_index(self.index)

    def rows(self, rows: Rows) -> ArraySamples:
        """The samples at these positions, ascending."""
        return replace(
            self,
            inputs={name: array[rows] for name, array in self.inputs.items()},
            targets={name: array[rows] for name, array in self.targets.items()},
            index=self.index[rows],
            labels=None if self.labels is None else self.labels[rows],
        )

    def read(self, rows: Rows) -> Batch:
        """The samples at these positions as one batch."""
        given, targets = _tensors(self.inputs, rows), _tensors(self.targets, rows)
        return Batch(given, targets, self.index[rows])

    def digests(self) -> tuple[int, ...]:
        """CRC-32 of inputs and targets of each."""
        arrays = [array for _, array in sorted(self.inputs.items())]
        arrays += [array for _, array in sorted(self.targets.items())]
        return tuple(_crc([array[row] for array in arrays]) for row in range(len(self)))


def _tensors(arrays: Mapping[str, Array], rows: Rows) -> Any:
    found = {name: _tensor(array[rows]) for name, array in arrays.items()}
    return found[""] if set(found) == {""} else found or None


def _tensor(array: Array) -> torch.Tensor:
    import torch

    # of this machine's byte order, and a copy: a mapped file is read-only
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _crc(parts: list[Any]) -> int:
    crc = 0
    for part in parts:
        little = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
        crc = zlib.crc32(little.tobytes(), crc)
    return crc
