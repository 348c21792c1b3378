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
from qreg.faults.surgery import change_input

_ALL = ("fp32", "fp32-finetuned", "dynamic", "static", "static-per-tensor", "qat", "qat-per-tensor")


def _test(change: Callable[[ImageSamples], ImageSamples]) -> Callable[[Dataset], Dataset]:
    """A change of a dataset that applies `change` to its test split."""

    def changed(dataset: Dataset) -> Dataset:
        def load(
            split: SplitName, *, data_dir: Path | None, progress: Progress | None = None
        ) -> Samples:
            loaded = dataset.load(split, data_dir=data_dir, progress=progress)
            changes = split == "test" and isinstance(loaded, ImageSamples)
            return change(loaded) if changes else loaded  # type: ignore[arg-type]

        return replace(dataset, load=load)

    return changed


def _labels(share: float) -> Fault:
    def shuffled(split: ImageSamples) -> ImageSamples:
        """Give evenly spaced images the label of the previous one among them."""
        # + 1, because labels may be periodic
        labels, rows = split.labels.copy(), np.arange(0, len(split), round(1 / share) + 1)
        labels[rows] = np.roll(labels[rows], 1)
        return replace(split, labels=labels)

    return _data(
        f"labels-shuffled-{share:.1%}",
        f"{share:.1%} of the test images have each other's labels",
        _test(shuffled),
        family="labels shuffled",
        size=f"{share:.1%}",
    )


def _missing(split: ImageSamples) -> ImageSamples:
    return split.take(np.delete(split.index, np.arange(100, 110)))


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
) -> Fault:
    return Fault(
        name=name,
        family=family,
        description=description,
        inject=changed_dataset(change),
        size=size or name,
        methods=_ALL,
    )


DATA = (
    *(_labels(share) for share in (0.001, 0.01, 0.05)),
    _data("images-missing", "10 of the test images are not there", _test(_missing)),
    _data("pixels-one-off", "the test images' pixels are one brighter", _test(_one_off)),
    _data("images-bgr", "the test images are in BGR order", _test(_bgr)),
    _data("std-x1.02", "images are normalised by a standard deviation 2 % larger", _wider),
    Fault(
        name="input-bgr",
        family="input",
        description="the quantized model is fed BGR, fp32 is not",
        inject=after(lambda model: change_input(model, lambda x: x.flip(1))),
        size="BGR",
    ),
    Fault(
        name="input-shifted",
        family="input",
        description="the quantized model is fed images moved by one pixel, fp32 is not",
        inject=after(lambda model: change_input(model, lambda x: torch.roll(x, 1, dims=3))),
        size="one pixel",
    ),
)
