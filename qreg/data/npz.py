"""An npz archive: images with labels, or arrays of any kind.

- ``FILE.npz`` of images holds ``train_images`` and ``test_images`` (uint8, (N, H, W, 3)),
  ``train_labels`` and ``test_labels`` (whole numbers), and may hold ``mean`` and ``std`` (three
  floats each, of pixels scaled to 0..1);
- any other one holds ``test_inputs``, or ``test_inputs.<name>`` for each input by name, and
  ``test_targets``, or ``test_targets.<name>``; ``train_...`` and ``calibration_...`` likewise;
- both may hold ``test_index`` (canonical indices) and ``classes`` (names).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.data.arrays import ArraySamples, fits_tensor
from qreg.data.cache import cached_arrays
from qreg.data.dataset import Dataset, Progress
from qreg.data.files import array_headers, read_npz, stat_key
from qreg.data.images import ImageSamples, Three
from qreg.data.samples import MOST_CLASSES, Rows, Samples, SplitName
from qreg.errors import DataError, MissingDataError

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_SPLITS = ("train", "test", "calibration")
_HINT = (
    "an npz holds test_images, test_labels, or test_inputs, test_targets (or test_inputs.<name>); "
    "train_ and calibration_ likewise"
)


def open_archive(path: Path) -> Dataset:
    """The dataset in an npz archive.

    Raises:
        DataError: it is not one of the two layouts.
        CorruptFileError: it is damaged.
    """
    headers = array_headers(path)
    if "test_images" not in headers and "test_labels" not in headers:
        return _arrays(path, headers)
    about = read_npz(path, ("classes", "mean", "std", "test_labels"))
    if "test_labels" not in about:
        raise DataError(f"{path}: no array test_labels", hint=_HINT)
    labels = whole_labels(path, "test_labels", about["test_labels"])
    count = int(labels.max(initial=-1)) + 1

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> Samples:
        return _images(path, split)

    return Dataset(
        name=path.stem,
        classes=_names(path, about.get("classes")) or tuple(map(str, range(count))),
        mean=_three(path, "mean", about.get("mean"), MEAN),
        std=_three(path, "std", about.get("std"), STD),
        load=load,
        splits=tuple(s for s in _SPLITS if f"{s}_images" in headers),
    )


def whole_labels(path: Path, name: str, values: npt.NDArray[Any]) -> Rows:
    """Labels (N,) as int64.

    Raises:
        DataError: they are not whole numbers 0, 1, ..., one a sample.
    """
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise DataError(
            f"{path}: {name} is {values.dtype} of shape {values.shape}",
            hint=f"labels are whole numbers of shape ({len(values) if values.ndim else 'N'},)",
        )
    if len(values) and not (int(values.min()) >= 0 and int(values.max()) < MOST_CLASSES):
        raise DataError(
            f"{path}: {name} reaches from {values.min()} to {values.max()}",
            hint="labels are 0 .. classes - 1",
        )
    return values.astype(np.int64)


def _names(path: Path, values: npt.NDArray[Any] | None) -> tuple[str, ...]:
    if values is None:
        return ()
    if values.ndim != 1 or values.dtype.kind not in "Uiu" or len(values) > MOST_CLASSES:
        raise DataError(
            f"{path}: classes is {values.dtype} of shape {values.shape}",
            hint="give a list of names",
        )
    return tuple(map(str, values))


def _three(path: Path, name: str, values: npt.NDArray[Any] | None, default: Three) -> Three:
    if values is None:
        return default
    if values.shape != (3,) or values.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: {name} is {values.dtype} of shape {values.shape}",
            hint="three numbers each: R, G, B",
        )
    return float(values[0]), float(values[1]), float(values[2])


def _images(path: Path, split: str) -> ImageSamples:
    images, labels, index = (f"{split}_{what}" for what in ("images", "labels", "index"))
    headers = array_headers(path)
    _need(path, (images, labels), headers, split)
    shape, dtype = headers[images]
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:  # before anything is unpacked
        raise DataError(f"{path}: {images} is {dtype} of shape {shape}", hint=_HINT)
    found = read_npz(path, (labels, index))
    classes = whole_labels(path, labels, found[labels])
    order = _index(path, index, found.get(index), len(classes))
    if len({shape[0], len(classes), len(order)}) > 1:
        raise DataError(
            f"{path}: {images} {shape}, {len(classes)} labels, {len(order)} indices",
            hint="there must be as many of each",
        )
    pixels = cached_arrays(f"{path.stem}-{split}-{stat_key(path)}", path, (images,))[images]
    if (np.diff(order) > 0).all():
        return ImageSamples(images=pixels, labels=classes, index=order)
    rows = np.argsort(order, kind="stable")
    return ImageSamples(images=pixels[rows], labels=classes[rows], index=order[rows])


def _need(path: Path, names: tuple[str, ...], arrays: Any, split: str) -> None:
    for name in names:
        if name not in arrays:
            error = DataError if split == "test" else MissingDataError
            raise error(f"{path}: no array {name}", hint=_HINT)


def _index(path: Path, name: str, values: npt.NDArray[Any] | None, count: int) -> Rows:
    if values is None:
        return np.arange(count)
    if values.shape != (count,) or values.dtype.kind not in "iu" or (count and values.min() < 0):
        raise DataError(
            f"{path}: {name} is {values.dtype} of shape {values.shape}",
            hint=f"canonical indices are whole numbers of shape ({count},)",
        )
    return values.astype(np.int64)


def _arrays(path: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Dataset:
    if not _of(headers, "test", "inputs"):
        raise DataError(f"{path}: no array test_inputs", hint=_HINT)

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> Samples:
        return _array_samples(path, split, headers)

    about = read_npz(path, ("classes",))
    return Dataset(
        name=path.stem,
        classes=_names(path, about.get("classes")),
        load=load,
        splits=tuple(s for s in _SPLITS if _of(headers, s, "inputs")),
    )


def _of(names: Any, split: str, role: str) -> dict[str, str]:
    """Arrays of a split by the name of an input, "" for a single one."""
    whole = f"{split}_{role}"
    return {
        name[len(whole) + 1 :]: name
        for name in names
        if name == whole or name.startswith(f"{whole}.")
    }


def _array_samples(path: Path, split: str, headers: Any) -> ArraySamples:
    inputs, targets = (_of(headers, split, role) for role in ("inputs", "targets"))
    _need(path, (f"{split}_inputs",), {f"{split}_inputs"} if inputs else {}, split)
    index_name = f"{split}_index"
    names = (*inputs.values(), *targets.values())
    for name in names:
        shape, dtype = headers[name]
        if not shape or not fits_tensor(dtype):
            raise DataError(f"{path}: {name} is {dtype} of shape {shape}", hint=_HINT)
    arrays = cached_arrays(f"{path.stem}-{split}-{stat_key(path)}", path, names)
    count = headers[names[0]][0][0]
    order = read_npz(path, (index_name,)).get(index_name)
    index = _index(path, index_name, order, count)
    if order is not None:
        rows = np.argsort(index, kind="stable")
        arrays, index = {name: array[rows] for name, array in arrays.items()}, index[rows]
    return ArraySamples(
        inputs={name: arrays[array] for name, array in inputs.items()},
        targets={name: arrays[array] for name, array in targets.items()},
        index=index,
        labels=_labels({name: arrays[array] for name, array in targets.items()}),
    )


def _labels(targets: dict[str, npt.NDArray[Any]]) -> Rows | None:
    """The targets, where they can be class labels: one whole number a sample."""
    single = targets.get("")
    if single is None or single.ndim != 1 or single.dtype.kind not in "iu" or not len(single):
        return None
    if int(single.min()) < 0 or int(single.max()) >= MOST_CLASSES:
        return None
    return np.asarray(single, dtype=np.int64)
