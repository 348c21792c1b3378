"""The arrays of a baseline, as safetensors: too long and unreadable for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from qreg.baselines.schema import MOST_RANGES
from qreg.records.baseline import Snapshot
from qreg.records.codes import Codes
from qreg.records.decode import MismatchError
from qreg.records.numerics import Images, Layer, Logits, Quantizer
from qreg.records.score import Score

Array = npt.NDArray[Any]
# exceptions of safetensors for foreign content, including unknown dtypes
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, OverflowError)
_PALETTE = 256
_LABELS = ("uint8", "uint16", "int32")
_FLOATS = ("float32", "float64")
_CODES = ("uint8", "uint16", "int32", "int64")
_ZERO_POINTS = ("int8", "uint8", "int16", "int32")
# `dtype.name` is computed anew each time, and takes longer than all else about an array
_NAMES = {np.dtype(name): name for name in ("uint32", *_FLOATS, *_CODES, *_ZERO_POINTS)}


class Arrays:
    """The arrays of a sidecar; each must be taken exactly once."""

    def __init__(self, content: bytes) -> None:
        try:
            self._left: dict[str, Array] = load(content)
        except _DAMAGE as error:
            raise MismatchError("safetensors", f"{error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, dtypes: Sequence[str], *shape: int | None) -> Array:
        """Take an array of one of these dtypes and this shape, None for any length.

        Raises:
            MismatchError: there is no such array.
        """
        found = self._left.pop(name, None)
        if found is None or not _fits(found, dtypes, shape):
            lengths = ", ".join("any" if length is None else str(length) for length in shape)
            expected = f"{' or '.join(dtypes)} of shape ({lengths})"
            raise MismatchError(expected, _described(found), key=name)
        return found

    def finish(self) -> None:
        """Raise a `MismatchError` if an array was not taken."""
        for name in sorted(self._left):
            raise MismatchError("no more arrays", "this one", key=name)


def _fits(array: Array, dtypes: Sequence[str], shape: tuple[int | None, ...]) -> bool:
    if _NAMES.get(array.dtype) not in dtypes or len(array.shape) != len(shape):
        return False
    return all(map(_is_length, array.shape, shape))


def _is_length(length: int, wanted: int | None) -> bool:
    return wanted in (None, length)


def _described(array: Array | None) -> str:
    if array is None:
        return "no such array"
    return f"{array.dtype.name} of shape ({', '.join(map(str, array.shape))})"


def encode_images(images: Images) -> bytes:
    """`index`, `labels` and `digests`."""
    arrays = {
        "index": _smallest(images.index, ("int32",)),
        "digests": _smallest(images.digests, ("uint32",)),
    }
    if images.labels:
        arrays["labels"] = _smallest(images.labels, _LABELS)
    return save(arrays)


def decode_images(content: bytes) -> Images:
    """The images of a sidecar.

    Raises:
        MismatchError: it is none.
    """
    arrays = Arrays(content)
    index = arrays.take("index", ("int32",), None)
    labels = np.zeros(0, np.uint8)
    if "labels" in arrays:
        labels = arrays.take("labels", _LABELS, len(index))
    digests = arrays.take("digests", ("uint32",), len(index))
    arrays.finish()
    if min(index.min(initial=0), labels.min(initial=0)) < 0:
        raise MismatchError("indices and labels of 0 or more", "negative ones", key="index")
    try:
        return Images(_whole(index), _codes(labels), _whole(digests))
    except ValueError as error:
        raise MismatchError("images in canonical order", str(error), key="index") from None


def encode_arrays(snapshot: Snapshot) -> bytes:
    """Predictions, disagreements, logits, scores, and the quantization of weights by layer."""
    numerics = snapshot.numerics
    arrays = {
        **_predictions(snapshot),
        "disagreements": _smallest(numerics.disagreements, ("int32",)),
        **_logits_arrays(numerics.logits),
        **(_score_arrays(snapshot.score) if snapshot.score else {}),
        **_kept_rows(numerics.logits),
    }
    if len(calibration_ranges(snapshot.calibration)) > MOST_RANGES:
        arrays["calibration"] = _smallest(snapshot.calibration, ("int32",))
    for name, weight in _weights(numerics.layers).items():
        arrays[f"{name}.weight.scales"] = _exact(weight.scales)
        if any(weight.zero_points):
            arrays[f"{name}.weight.zero_points"] = _smallest(weight.zero_points, _ZERO_POINTS)
    return save(arrays)


def _predictions(snapshot: Snapshot) -> dict[str, Array]:
    """Predicted classes, unless they are those of the score."""
    if snapshot.score is not None and snapshot.predictions == (snapshot.score.predictions or ()):
        return {}
    dtype = _predicted(snapshot.numerics.logits.classes)
    return {"predictions": _smallest(snapshot.predictions, (dtype,))}


def calibration_ranges(indices: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Ranges [start, stop) of the indices, in their order."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return tuple(found)


def take_calibration(arrays: Arrays) -> tuple[int, ...]:
    """Canonical indices of the calibration samples, where the sidecar has them."""
    if "calibration" not in arrays:
        return ()
    return _whole(arrays.take("calibration", ("int32",), None))


def _weights(layers: Sequence[Layer]) -> dict[str, Quantizer]:
    """Quantized weights by layer; a layer may run twice."""
    found: dict[str, Quantizer] = {}
    for layer in layers:
        if layer.weight and found.setdefault(layer.name, layer.weight) != layer.weight:
            raise ValueError(f"two weights are called {layer.name}")
    return found


def take_predictions(arrays: Arrays, images: int, classes: int) -> Codes:
    """The predicted class of each image."""
    return _codes(arrays.take("predictions", (_predicted(classes),), images))


def take_disagreements(arrays: Arrays) -> tuple[int, ...]:
    """Canonical indices."""
    return _whole(arrays.take("disagreements", ("int32",), None))


def take_logits(
    arrays: Arrays, count: int, classes: int, digest: str, *, elements: int = 0
) -> Logits:
    """The logits, stored with a palette or directly.

    Raises:
        MismatchError: their sha256 is not `digest`.
    """
    if "logits.values" in arrays:
        palette = arrays.take("logits.values", ("float32",), None)
        codes = arrays.take("logits.codes", ("uint8",), count, classes)
        if codes.size and codes.max() >= len(palette):
            raise MismatchError(f"codes below {len(palette)}", f"{codes.max()}", key="logits.codes")
        values = palette[codes]
    else:
        values = arrays.take("logits", ("float32",), count, classes)
    rows: tuple[int, ...] = ()
    if "logits.rows" in arrays:
        rows = _whole(arrays.take("logits.rows", ("int32",), count))
    found = Logits(count, classes, values.astype("<f4", copy=False).tobytes(), elements, rows)
    if found.digest != digest:
        raise MismatchError(f"logits of sha256 {digest}", f"sha256 {found.digest}", key="logits")
    return found


def take_score(arrays: Arrays, samples: int) -> dict[str, Any]:
    """Values, rows and predictions of scores, by field.

    Raises:
        MismatchError: they do not fit each other.
    """
    values = arrays.take("score.values", _FLOATS, samples)
    found: dict[str, Any] = {"values": tuple(values.tolist())}
    if "score.rows" in arrays:
        lengths = arrays.take("score.lengths", ("int32",), samples)
        flat = arrays.take("score.rows", _FLOATS, int(lengths.clip(min=0).sum()))
        if (lengths < 0).any():
            raise MismatchError("lengths of 0 or more", "negative ones", key="score.lengths")
        parts = np.split(flat.astype(float), np.cumsum(lengths)[:-1])
        found["rows"] = tuple(tuple(part.tolist()) for part in parts)
    if "score.predictions" in arrays:
        codes = arrays.take("score.predictions", _CODES, samples)
        found["predictions"] = _whole(codes)
    return found


def _score_arrays(score: Score) -> dict[str, Array]:
    arrays = {"score.values": _exact(score.values)}
    if score.rows:
        arrays["score.rows"] = _exact([value for row in score.rows for value in row])
        arrays["score.lengths"] = _smallest([len(row) for row in score.rows], ("int32",))
    if score.predictions is not None:
        arrays["score.predictions"] = _smallest(score.predictions, _CODES)
    return arrays


def take_quantizer(arrays: Arrays, layer: str, qscheme: str, dtype: str) -> Quantizer:
    """The quantization of a layer's weight."""
    name = f"{layer}.weight"
    scales = arrays.take(f"{name}.scales", _FLOATS, None)
    values, zero_points = tuple(scales.tolist()), (0,) * len(scales)
    if not values or not all(map(math.isfinite, values)):
        raise MismatchError("finite scales", f"{len(scales)}, some not", key=f"{name}.scales")
    if f"{name}.zero_points" in arrays:
        zero_points = _whole(arrays.take(f"{name}.zero_points", _ZERO_POINTS, len(scales)))
    return Quantizer(qscheme, dtype, values, zero_points)


def _kept_rows(logits: Logits) -> dict[str, Array]:
    return {"logits.rows": _smallest(logits.rows, ("int32",))} if logits.rows else {}


def _predicted(classes: int) -> str:
    return "uint8" if classes <= 1 << 8 else "uint16"


def _logits_arrays(logits: Logits) -> dict[str, Array]:
    # by bit pattern, because -0.0 == 0.0 and NaN != NaN
    bits = np.frombuffer(logits.values, dtype="<u4").reshape(logits.count, logits.classes)
    palette, codes = np.unique(bits, return_inverse=True)
    if len(palette) > _PALETTE:
        return {"logits": bits.view("<f4")}
    codes = np.ascontiguousarray(codes.reshape(bits.shape).astype(np.uint8))
    return {"logits.values": palette.view("<f4"), "logits.codes": codes}


def _exact(values: Sequence[float]) -> Array:
    """As float32 where that is lossless, else as float64."""
    wide = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow.astype(np.float64), wide) else wide


def _smallest(values: Sequence[int], dtypes: Sequence[str]) -> Array:
    """As the first of the dtypes that can represent all values.

    Raises:
        ValueError: none does.
    """
    wide = np.asarray(values, dtype=np.int64)
    for name in dtypes:
        limits = np.iinfo(name)
        if not len(wide) or (wide.min() >= limits.min and wide.max() <= limits.max):
            return wide.astype(name)
    raise ValueError(f"{wide.min()} .. {wide.max()} does not fit {dtypes[-1]}")


def _codes(values: Array) -> Codes:
    return Codes(values.tobytes() if values.dtype == np.uint8 else values.tolist())


def _whole(values: Array) -> tuple[int, ...]:
    return tuple(values.tolist())
