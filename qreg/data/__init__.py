"""Datasets by name, by path, or as a user's ``package.module:DATASET``.

What is made of numpy's arrays is imported when it is asked for: names are checked without.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.data.dataset import CLASSIFICATION, Dataset, Progress
from qreg.data.source import DatasetSource
from qreg.errors import DataError, MissingDataError
from qreg.registry import Registry, is_object_path

if TYPE_CHECKING:
    from qreg.data.samples import Batch, Rows, Samples, SplitName

_LATER = ("Batch", "Samples", "SplitName")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("qreg.data.samples"), name)


DATASETS: Registry[Dataset] = Registry("dataset")
DATASETS.register("shapes10", "qreg.data.shapes10:SHAPES10")
DATASETS.register("cifar10", "qreg.data.cifar10:CIFAR10")


#: Sources of samples: what opens what a name or path stands for.
SOURCES: Registry[Any] = Registry("source of samples")
SOURCES.register("folder", "qreg.data.folder:open_folder")
SOURCES.register("npz", "qreg.data.npz:open_archive")
SOURCES.register("object", "qreg.data.objects:dataset_of_object")


def get_dataset(name: str) -> Dataset:
    """The dataset of that name, at that path, or at that ``package.module:object``.

    Raises:
        UnknownNameError: it is none of these.
        ContractError: the object is not a dataset.
    """
    if is_path(name):
        return open_path(Path(name))
    return SOURCES.get("object")(name, DATASETS.get(name))  # type: ignore[no-any-return]


def open_path(path: Path, **how: Any) -> Dataset:
    """The dataset in a folder of images or an npz archive.

    Args:
        how: `transform`, `mean`, `std` of a folder.

    Raises:
        DataError: there is nothing at `path`, or it is neither.
    """
    if path.is_dir():
        return SOURCES.get("folder")(path, **how)  # type: ignore[no-any-return]
    if how:
        raise DataError(f"{path}: {', '.join(how)}", hint="they are for a folder of images")
    if path.is_file():
        return SOURCES.get("npz")(path)  # type: ignore[no-any-return]
    raise MissingDataError(
        f"no dataset at {path}", hint="give a folder of images or an npz archive"
    )


def define_datasets(sources: Iterable[DatasetSource]) -> None:
    """Replace the project's own datasets, by the names that the project gives them."""
    DATASETS.define({source.name: partial(_defined, source) for source in sources})


def _defined(source: DatasetSource) -> Dataset:
    """The dataset of a definition.

    Raises:
        DataError: it does not fit its source.
    """
    how = {k: v for k in ("transform", "mean", "std") if (v := getattr(source, k))}
    registered = source.source in DATASETS.names() or is_object_path(source.source)
    if registered:
        opened: Dataset = SOURCES.get("object")(source.name, DATASETS.registered(source.source))
        if "transform" in how:
            raise DataError(
                f"dataset '{source.name}': a transform", hint="it is for a folder of images"
            )
    else:
        opened = open_path(Path(source.source), **how)
    own = {k: v for k in ("task", "calibration", "samples") if (v := getattr(source, k))}
    return replace(opened, name=source.name, **own)


def is_path(name: str) -> bool:
    """Whether `get_dataset` takes it for a path: names that mean something come first."""
    if DATASETS.defines(name) or name in DATASETS.names():
        return False
    return os.sep in name or name.endswith(".npz") or Path(name).is_dir()


def load_split(
    dataset: Dataset,
    split: SplitName,
    *,
    data_dir: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Samples:
    """Load a split, from `data_dir`, else from ``QREG_DATA_DIR``, else as the dataset does.

    Without `download` the last is only what was downloaded before.

    Raises:
        DataError: it is missing; CorruptFileError: it is not what it should be.
    """
    from qreg.data.cache import cache_root
    from qreg.data.images import ImageSamples

    if data_dir is None and (chosen := os.environ.get("QREG_DATA_DIR")):
        data_dir = Path(chosen)
    if data_dir is None and not download:
        data_dir = cache_root()
    loaded = dataset.load(split, data_dir=data_dir, progress=progress)
    if len(loaded) == 0:
        raise DataError(f"the {split} split of {dataset.name} is empty", hint="add samples to it")
    if loaded.labels is not None:
        _check_labels(dataset, loaded.labels)
    if isinstance(loaded, ImageSamples):
        return replace(loaded, mean=dataset.mean, std=dataset.std)
    return loaded


def _check_labels(dataset: Dataset, labels: Rows) -> None:
    highest, count = int(labels.max()), len(dataset.classes)
    if int(labels.min()) < 0 or (count and highest >= count):
        raise DataError(
            f"{dataset.name} has a label {highest} and {count} classes",
            hint="labels are 0 .. classes - 1",
        )


__all__ = [
    "CLASSIFICATION",
    "DATASETS",
    "Batch",
    "Dataset",
    "Progress",
    "Samples",
    "SplitName",
    "get_dataset",
    "load_split",
]
