"""A user's own dataset: an npz archive, or a folder of images.

- ``FILE.npz`` holds ``train_images`` and ``test_images`` (uint8, (N, H, W, 3)), ``train_labels``
  and ``test_labels`` (integers), and may hold ``train_index``/``test_index`` (canonical indices),
  ``classes`` (names), ``mean`` and ``std`` (three floats each, of pixels scaled to 0..1).
- a folder holds ``train/<class>/<image>`` and ``test/<class>/<image>``; the canonical index is
  the position in the sorted list of paths.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qreg.data.cache import cached_split
from qreg.data.dataset import Dataset, Progress
from qreg.data.files import read_image, read_npz, stat_key
from qreg.data.images import ImageSamples
from qreg.data.samples import SplitName
from qreg.errors import DataError, MissingDataError

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm"}
_MEAN, _STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def dataset_at(path: Path) -> Dataset:
    """The dataset in an npz archive or a folder.

    Raises:
        DataError: there is nothing at `path`, or it is not one of the two layouts.
    """
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _archive(path)
    raise MissingDataError(
        f"no dataset at {path}", hint="give a folder of images or an npz archive"
    )


def _archive(path: Path) -> Dataset:
    about = read_npz(path, ("classes", "mean", "std", "test_labels"))
    if "test_labels" not in about:
        raise DataError(f"{path}: no array test_labels", hint=__doc__ or "")
    count = int(about["test_labels"].max(initial=-1)) + 1
    names = about.get("classes", np.arange(count))

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> ImageSamples:
        key = f"{path.stem}-{split}-{stat_key(path)}"
        return cached_split(key, lambda: _archive_split(path, split))

    return Dataset(
        name=path.stem,
        classes=tuple(str(name) for name in names),
        mean=_three(about.get("mean"), _MEAN),
        std=_three(about.get("std"), _STD),
        load=load,
    )


def _three(
    values: npt.NDArray[np.float64] | None, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    if values is None:
        return default
    if values.shape != (3,):
        raise DataError(
            f"mean and std have shape {values.shape}", hint="three numbers each: R, G, B"
        )
    return float(values[0]), float(values[1]), float(values[2])


def _archive_split(path: Path, split: str) -> ImageSamples:
    names = (f"{split}_images", f"{split}_labels", f"{split}_index")
    arrays = read_npz(path, names)
    for name in names[:2]:
        if name not in arrays:
            raise DataError(f"{path}: no array {name}", hint=__doc__ or "")
    labels = arrays[names[1]].astype(np.int64)
    index = arrays.get(names[2], np.arange(len(labels))).astype(np.int64)
    order = np.argsort(index, kind="stable")
    return ImageSamples(images=arrays[names[0]][order], labels=labels[order], index=index[order])


def _folder(path: Path) -> Dataset:
    classes = tuple(sorted(p.name for p in (path / "test").glob("*") if p.is_dir()))
    if not classes:
        raise DataError(f"no {path}/test/<class>/ folders", hint=__doc__ or "")

    def load(split: SplitName, *, data_dir: Path | None, progress: Progress | None) -> ImageSamples:
        files = _image_files(path / split)
        key = f"{path.name}-{split}-{stat_key(*files)}"
        return cached_split(key, lambda: _folder_split(files, classes, progress))

    return Dataset(name=path.name, classes=classes, mean=_MEAN, std=_STD, load=load)


def _image_files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in _ENDINGS)
    if not files:
        raise DataError(f"no images under {folder}/<class>/", hint=__doc__ or "")
    return files


def _folder_split(
    files: list[Path], classes: tuple[str, ...], progress: Progress | None
) -> ImageSamples:
    images = []
    for done, file in enumerate(files, start=1):
        if file.parent.name not in classes:
            raise DataError(f"{file}: class not in test/", hint=f"classes: {', '.join(classes)}")
        images.append(read_image(file))
        if progress is not None:
            progress(done, len(files))
    if len({image.shape for image in images}) > 1:
        raise DataError(
            f"images of several sizes near {files[0].parent}", hint="resize them to one"
        )
    labels = np.array([classes.index(file.parent.name) for file in files], dtype=np.int64)
    return ImageSamples(images=np.stack(images), labels=labels, index=np.arange(len(files)))
