"""Samples of a `torch.utils.data.Dataset`: an object, a function that returns one, or a dict."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qreg.data.dataset import Dataset, Progress
from qreg.data.samples import MOST_CLASSES, Rows, Samples, SplitName
from qreg.errors import ContractError, DataError, MissingDataError
from qreg.registry import import_object

_HINT = (
    "give a torch.utils.data.Dataset, or a dict of them by split (train, test, calibration), or a "
    "function without arguments that returns one of these"
)


def dataset_of_object(name: str, found: Any) -> Dataset:
    """The dataset of a user's object.

    Raises:
        ContractError: it is none.
    """
    made = found
    if isinstance(found, type) or (callable(found) and not hasattr(found, "__getitem__")):
        try:
            made = found()
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise ContractError(f"dataset '{name}': {error}", hint=_HINT) from error
    if isinstance(made, Dataset):
        return made
    splits: Mapping[str, Any] = made if isinstance(made, Mapping) else {"test": made}
    if not splits or "test" not in splits or not all(map(_readable, splits.values())):
        kind = ", ".join(f"{k}: {type(v).__name__}" for k, v in splits.items())
        raise ContractError(f"dataset '{name}' is {{{kind}}}", hint=_HINT)

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> Samples:
        if split not in splits:
            raise MissingDataError(
                f"dataset '{name}' has no {split} split, only {', '.join(splits)}",
                hint=f'return a dict {{"{split}": ..., "test": ...}}',
            )
        return _samples(name, split, splits[split])

    return Dataset(name=name, load=load, classes=_classes(splits["test"]), splits=tuple(splits))


def object_dataset(name: str) -> Dataset:
    """The dataset at ``package.module:object``.

    Raises:
        ContractError: there is none.
    """
    return dataset_of_object(name, import_object(name, kind="dataset"))


def _readable(found: Any) -> bool:
    if isinstance(found, (str, bytes)):
        return False
    return hasattr(found, "__getitem__") and hasattr(found, "__len__")


def _text_of(items: Any) -> Callable[[int], str] | None:
    found = getattr(items, "text", None)
    return found if callable(found) else None


def _digest_of(name: str, split: str, items: Any) -> Callable[[int], int] | None:
    """CRC-32 by the dataset's own ``digest(index)``, None where it has none."""
    if hasattr(items, "indices") and hasattr(items, "dataset"):  # torch.utils.data.Subset
        inner = _digest_of(name, split, items.dataset)
        return None if inner is None else lambda position: inner(int(items.indices[position]))
    own = getattr(items, "digest", None)
    if not callable(own):
        return None

    def digest(position: int) -> int:
        try:
            found = own(position)
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            raise DataError(
                f"{name}, {split}: digest({position}) raised {type(error).__name__}: {text}",
                hint="return bytes, text or a whole number that tell the raw content of an item",
            ) from error
        if not isinstance(found, (bytes, str, int)):
            raise DataError(
                f"{name}, {split}: digest({position}) returned {type(found).__name__}",
                hint="return bytes, text or a whole number that tell the raw content of an item",
            )
        return zlib.crc32(found if isinstance(found, bytes) else str(found).encode())

    return digest


def _samples(name: str, split: str, items: Any) -> Samples:
    from torch.utils.data import default_collate

    from qreg.data.items import ItemSamples, ItemStore

    count = len(items)
    store = ItemStore(
        read=lambda position: items[position],
        describe=lambda position: f"{name}, {split}: item {position} of {count}",
        collate=getattr(items, "collate_fn", None) or default_collate,
        digest=_digest_of(name, split, items),
        text=_text_of(items),
        computed=True,
    )
    every = np.arange(count)
    _check_repeats(store, count)
    return ItemSamples(store, every, every, known_labels(items))


def _check_repeats(store: Any, count: int) -> None:
    """Check that an item is the same every time it is read."""
    from qreg.data.inputs import digest

    if count and digest(store.item(0)) != digest(store.read(0)):
        raise DataError(
            f"{store.describe(0)} is another one when it is read again",
            hint="disable random augmentation for test and calibration",
        )


def known_labels(items: Any) -> Rows | None:
    """Labels (N,) that a dataset tells without reading its items, as torchvision's do."""
    if hasattr(items, "indices") and hasattr(items, "dataset"):  # torch.utils.data.Subset
        labels = known_labels(items.dataset)
        return None if labels is None else labels[np.asarray(items.indices)]
    for name in ("targets", "labels"):
        found = getattr(items, name, None)
        if found is None:
            continue
        array = np.asarray(found)
        if array.shape == (len(items),) and array.dtype.kind in "iu":
            return array.astype(np.int64)
    return None


def _classes(items: Any) -> tuple[str, ...]:
    inside = items.dataset if hasattr(items, "indices") and hasattr(items, "dataset") else items
    found = getattr(inside, "classes", None)
    if not isinstance(found, (list, tuple)) or len(found) > MOST_CLASSES:
        return ()
    return tuple(map(str, found))
