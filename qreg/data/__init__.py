"""Datasets by name, by path, or as a user's ``package.module:DATASET``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from qreg.data.cache import cache_root
from qreg.data.dataset import Dataset, Progress
from qreg.data.images import ImageSamples
from qreg.data.samples import Batch, Rows, Samples, SplitName
from qreg.errors import ContractError, DataError
from qreg.registry import Registry

DATASETS: Registry[Dataset] = Registry("dataset")
DATASETS.register("shapes10", "qreg.data.shapes10:SHAPES10")
DATASETS.register("cifar10", "qreg.data.cifar10:CIFAR10")


def get_dataset(name: str) -> Dataset:
    """The dataset of that name, at that path, or at that ``package.module:object``.

    Raises:
        UnknownNameError: it is none of these.
        ContractError: the object is not a `Dataset`.
    """
    if name not in DATASETS.names() and _is_path(name):
        from qreg.data.user import dataset_at

        return dataset_at(Path(name))
    found = DATASETS.get(name)
    if not isinstance(found, Dataset):
        raise ContractError(
            f"dataset '{name}' is a {type(found).__name__}, not a qreg.data.Dataset",
            hint="make one: Dataset(name=..., classes=..., mean=..., std=..., load=...)",
        )
    return found


def _is_path(name: str) -> bool:
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
    "DATASETS",
    "Batch",
    "Dataset",
    "Progress",
    "Samples",
    "SplitName",
    "get_dataset",
    "load_split",
]
