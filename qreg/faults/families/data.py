"""Faults of the dataset, which affect everything built from it, including fp32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from qreg.data import Dataset, Progress, Samples, SplitName
from qreg.data.images import ImageSamples
from qreg.faults.fault import Fault, after, changed_dataset
from qreg.faults.samples import ChangedSamples
from qreg.faults.surgery import change_input

_ALL = ("fp32", "fp32-finetuned", "dynamic", "static", "static-per-tensor", "qat", "qat-per-tensor")


Change = Callable[[Samples], Samples]


def _test(change: Change) -> Callable[[Dataset], Dataset]:
    """A change of a dataset that applies `change` to its test split."""

    def changed(dataset: Dataset) -> Dataset:
        def load(
            split: SplitName, *, data_dir: Path | None, progress: Progress | None = None
        ) -> Samples:
            loaded = dataset.load(split, data_dir=data_dir, progress=progress)
            return change(loaded) if split == "test" else loaded

        return replace(dataset, load=load)

    return changed


def _images(change: Callable[[ImageSamples], ImageSamples]) -> Change:
    """A change of images; it is not asked for of other samples."""
    return lambda split: change(split) if isinstance(split, ImageSamples) else split


def _labels(share: float) -> Fault:
    def shuffled(split: Samples) -> Samples:
        """Give evenly spaced samples the target of the previous one among them."""
        # + 1, because labels may be periodic
        places, rows = np.arange(len(split)), np.arange(0, len(split), round(1 / share) + 1)
        places[rows] = np.roll(rows, 1)
        if isinstance(split, ImageSamples):
            return replace(split, labels=split.labels[places])
        return ChangedSamples.of(split, targets_at=places)

    return _data(
        f"labels-shuffled-{share:.1%}",
        f"{share:.1%} of the test samples have each other's targets",
        _test(shuffled),
        family="labels shuffled",
        size=f"{share:.1%}",
        why="there are too few samples, or their targets are equal" if share < 0.01 else "",
    )


def _missing(split: Samples) -> Samples:
    first = min(100, len(split) // 10)
    return split.take(np.delete(split.index, np.arange(first, first + 10)))


def _scaled(split: Samples) -> Samples:
    """Every float 2 % larger, as by another unit or normalisation."""
    return ChangedSamples.of(split, factor=1.02)


def _one_off(split: ImageSamples) -> ImageSamples:
    """Every pixel below 255 is brighter by one, as with another JPEG decoder."""
    images = np.array(split.images)
    images[images < 255] += 1
    return replace(split, images=images)


def _bgr(split: ImageSamples) -> ImageSamples:
    return replace(split, images=np.ascontiguousarray(split.images[..., ::-1]))


def _wider(dataset: Dataset) -> Dataset:
    red, green, blue = dataset.std
    return replace(dataset, std=(red * 1.02, green * 1.02, blue * 1.02))


def _data(
    name: str,
    description: str,
    change: Callable[[Dataset], Dataset],
    *,
    family: str = "test images",
    size: str = "",
    images: bool = False,
    why: str = "",
) -> Fault:
    return Fault(
        name=name,
        family=family,
        description=description,
        inject=changed_dataset(change),
        size=size or name,
        methods=_ALL,
        images=images,
        unchanged_because=why,
    )


DATA = (
    *(_labels(share) for share in (0.001, 0.01, 0.05)),
    _data("images-missing", "10 of the test samples are not there", _test(_missing)),
    _data(
        "inputs-x1.02",
        "floats among the inputs are 2 % larger",
        _test(_scaled),
        why="the inputs are whole numbers",
    ),
    _data(
        "pixels-one-off",
        "the test images' pixels are one brighter",
        _test(_images(_one_off)),
        images=True,
    ),
    _data("images-bgr", "the test images are in BGR order", _test(_images(_bgr)), images=True),
    _data(
        "std-x1.02",
        "images are normalised by a standard deviation 2 % larger",
        _wider,
        images=True,
    ),
    Fault(
        name="input-bgr",
        family="input",
        description="the quantized model is fed BGR, fp32 is not",
        inject=after(lambda model: change_input(model, lambda x: x.flip(1))),
        size="BGR",
        images=True,
    ),
    Fault(
        name="input-shifted",
        family="input",
        description="the quantized model is fed inputs moved by one place, fp32 is not",
        inject=after(lambda model: change_input(model, lambda x: torch.roll(x, 1, dims=-1))),
        size="one place",
    ),
)
