"""A folder of images: ``train/<class>/<image>`` and ``test/<class>/<image>``.

The canonical index is the position in the sorted list of paths. Names that begin with a dot are
no classes. Images of one size are taken as they are; of several sizes they need a transform.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qreg.data.cache import cached_images
from qreg.data.dataset import Dataset, Progress
from qreg.data.files import image_size, read_image, stat_key
from qreg.data.images import ImageSamples, Three, normalized
from qreg.data.npz import MEAN, STD
from qreg.data.samples import Rows, Samples, SplitName
from qreg.errors import DataError, MissingDataError
from qreg.registry import import_object

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
# Larger sets of decoded images are decoded in each run and never cached.
_MOST_CACHED = 1 << 30
_HINT = "a folder holds train/<class>/<image> and test/<class>/<image>"
_SEVERAL = (
    'resize them to one size, or name a transform in [tool.qreg]: datasets = [{ source = "FOLDER", '
    'transform = "package.module:callable" }], or "torchvision:ResNet18_Weights.IMAGENET1K_V1"'
)


def open_folder(
    path: Path, *, transform: str = "", mean: Three = MEAN, std: Three = STD
) -> Dataset:
    """The dataset in a folder of images.

    Args:
        transform: ``package.module:callable`` of a PIL image, or ``torchvision:WEIGHTS`` for the
            transform that belongs to these weights; "" for images of one size as they are.

    Raises:
        DataError: there are no classes in it.
    """
    classes = tuple(sorted(_visible(path / "test")))
    if not classes:
        raise DataError(f"no {path}/test/<class>/ folders", hint=_HINT)

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> Samples:
        files = _image_files(path / split)
        labels = _labels(files, classes)
        if transform:
            return _transformed(files, labels, transform)
        files_of = _Files(path.name, split, tuple(files), labels, mean, std)
        return _plain(files_of, progress)

    splits = tuple(s for s in ("train", "test", "calibration") if (path / s).is_dir())
    return Dataset(name=path.name, classes=classes, mean=mean, std=std, load=load, splits=splits)


def _visible(folder: Path) -> list[str]:
    """The folders in a folder; those of a file manager's or an editor's own are hidden."""
    return [p.name for p in folder.glob("*") if p.is_dir() and not p.name.startswith((".", "__"))]


def _image_files(folder: Path) -> list[Path]:
    names = set(_visible(folder))
    files = sorted(
        p
        for p in folder.glob("*/*")
        if p.suffix.lower() in _ENDINGS and p.parent.name in names and not p.name.startswith(".")
    )
    if not files:
        missing = DataError if folder.name == "test" else MissingDataError
        raise missing(f"no images under {folder}/<class>/", hint=_HINT)
    return files


def _labels(files: list[Path], classes: tuple[str, ...]) -> Rows:
    numbers = {name: number for number, name in enumerate(classes)}
    for file in files:
        if file.parent.name not in numbers:
            raise DataError(f"{file}: class not in test/", hint=f"classes: {', '.join(classes)}")
    return np.array([numbers[file.parent.name] for file in files], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Files:
    """The images of a split: all there is to know of them before they are decoded."""

    dataset: str
    split: str
    files: tuple[Path, ...]
    labels: Rows
    mean: Three
    std: Three

    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3), from the files' headers.

        Raises:
            DataError: they are of several sizes.
        """
        from qreg.data.items import reading_threads

        with ThreadPoolExecutor(reading_threads()) as pool:
            sizes = set(pool.map(image_size, self.files))
        if len(sizes) > 1:
            found = ", ".join(f"{w} x {h}" for w, h in sorted(sizes)[:3])
            raise DataError(
                f"images of several sizes near {self.files[0].parent}: {found}", hint=_SEVERAL
            )
        width, height = sizes.pop()
        return len(self.files), height, width, 3


def _plain(given: _Files, progress: Progress | None) -> Samples:
    from qreg.data.items import ItemSamples, ItemStore, reading_threads

    shape, files, labels = given.shape(), given.files, given.labels
    every, notes = np.arange(len(files)), dict[int, str]()

    def pixels(position: int) -> Any:
        image, note = read_image(files[position])
        if image.shape != shape[1:]:  # its header said so
            found = f"decodes to {image.shape[1]} x {image.shape[0]} pixels"
            raise DataError(f"{files[position]} {found}", hint="remove the file, or replace it")
        if note:
            notes[position] = note
        return image

    if math.prod(shape) <= _MOST_CACHED:
        also = repr((given.split, labels.tolist()))
        key = f"{given.dataset}-{given.split}-{stat_key(*files, also=also)}"
        images, noted = cached_images(
            key,
            shape,
            pixels,
            threads=reading_threads(),
            progress=progress,
            notes=lambda: _counted(notes),
        )
        return ImageSamples(images, labels, every, noted=noted)
    store = ItemStore(
        read=lambda position: (pixels(position), int(labels[position])),
        describe=lambda position: str(files[position]),
        digest=lambda position: zlib.crc32(np.ascontiguousarray(pixels(position)).data),
        collate=normalized_collate(given.mean, given.std),
        threads=reading_threads(),
        notes=notes,
    )
    return ItemSamples(store, every, every, labels)


def normalized_collate(mean: Three, std: Three) -> Callable[[list[Any]], Any]:
    """Joins (pixels, label) pairs to normalised inputs and labels."""

    def collate(items: list[Any]) -> Any:
        import torch

        pixels = [image for image, _ in items]
        return normalized(pixels, mean, std), torch.tensor([label for _, label in items])

    return collate


def _counted(notes: dict[int, str]) -> tuple[str, ...]:
    texts = list(notes.values())
    return tuple(f"{texts.count(what)} {what}" for what in sorted(set(texts)))


def _transformed(files: list[Path], labels: Rows, name: str) -> Samples:
    from qreg.data.items import ItemSamples, ItemStore, reading_threads

    transform = named_transform(name)
    notes: dict[int, str] = {}

    def read(position: int) -> tuple[Any, int]:
        from PIL import Image

        image, note = read_image(files[position])
        if note:
            notes[position] = note
        return transform(Image.fromarray(image)), int(labels[position])

    store = ItemStore(
        read=read,
        describe=lambda position: str(files[position]),
        # of the file: what a resize computes differs in the last bit between CPUs
        digest=lambda position: zlib.crc32(files[position].read_bytes()),
        threads=reading_threads(),
        notes=notes,
    )
    every = np.arange(len(files))
    return ItemSamples(store, every, every, labels)


def named_transform(name: str) -> Callable[[Any], Any]:
    """The transform at ``package.module:callable``, or of ``torchvision:WEIGHTS``.

    Raises:
        DataError: there is none of that name.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "torchvision":
        try:
            from torchvision.models import get_weight

            return get_weight(rest).transforms()  # type: ignore[no-any-return]
        except (ImportError, ValueError, AttributeError, KeyError) as error:
            raise DataError(
                f"transform '{name}': {error}",
                hint="torchvision:MODEL_Weights.NAME, as torchvision.models.list_models has them",
            ) from error
    found = import_object(name, kind="transform")
    if not callable(found):
        raise DataError(f"transform '{name}' is a {type(found).__name__}", hint="give a function")
    return found  # type: ignore[no-any-return]
