"""Codes of predictions that are more than one number: equal where the predictions are."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import torch


def row_codes(predictions: torch.Tensor) -> npt.NDArray[np.int64]:
    """CRC-32 of each row of whole numbers (N, ...), as codes (N,)."""
    rows = np.ascontiguousarray(predictions.reshape(len(predictions), -1).numpy(), dtype="<i8")
    return np.array([zlib.crc32(row.tobytes()) for row in rows], dtype=np.int64)
