"""Faults of the calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from qreg.data import Samples, inputs
from qreg.data.draw import Draw
from qreg.data.inputs import Inputs
from qreg.faults.fault import STATIC, Fault, Feed, Target, calibrated_on, patched

Batches = Iterator[Inputs]


def _first(count: int) -> Fault:
    def feed(given: Batches, target: Target) -> Batches:
        yield inputs.head(next(given), count)

    return _fed(
        f"calibration-{count}",
        f"ranges are observed on {count} images of one batch",
        feed,
        family="calibration images",
        size=str(count),
    )


def _changed(change: Callable[[torch.Tensor, Target], torch.Tensor]) -> Feed:
    """Apply `change` to each float tensor of a batch."""

    def feed(given: Batches, target: Target) -> Batches:
        for batch in given:
            yield inputs.mapped_float(batch, lambda each: change(each, target))

    return feed


def _pixels(images: torch.Tensor, target: Target) -> torch.Tensor:
    """The images before normalisation, 0 to 1."""
    dataset = target.options.dataset(target.case.dataset)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (dataset.mean, dataset.std))
    return images * std + mean


def _raw(images: torch.Tensor, target: Target) -> torch.Tensor:
    return 255 * _pixels(images, target)


def _bgr(images: torch.Tensor, target: Target) -> torch.Tensor:
    return images.flip(1)


def _noise(given: Batches, target: Target) -> Batches:
    generator = torch.Generator().manual_seed(0)
    for batch in given:
        yield inputs.mapped_float(batch, lambda x: torch.randn(x.shape, generator=generator))


def _nothing(given: Batches, target: Target) -> Batches:
    return iter(())


def _reordered(given: Batches, target: Target) -> Batches:
    return reversed(list(given))


def _test_images(given: Batches, target: Target) -> Batches:
    list(given)  # consumed, so that the training samples are recorded as observed
    dataset = target.options.dataset(target.case.dataset)
    test = target.options.load(dataset, "test").head(512)
    return (batch.inputs for batch in test.batches(64))


def _fed(
    name: str,
    description: str,
    feed: Feed,
    *,
    family: str = "",
    size: str = "",
    why: str = "",
    images: bool = False,
) -> Fault:
    return Fault(
        name=name,
        family=family or "calibration on other data",
        description=description,
        inject=calibrated_on(feed),
        size=size or name.removeprefix("calibration-"),
        methods=STATIC,
        unchanged_because=why,
        images=images,
    )


def _next_ones(draw: Draw, whole: Samples) -> Samples:
    """As many others, drawn after these."""
    more = replace(draw, size=2 * draw.size).of(whole)
    return more.take(np.setdiff1d(more.index, draw.of(whole).index))


CALIBRATION = (
    *(_first(count) for count in (64, 8, 1)),
    _fed(
        "calibration-unnormalised",
        "ranges are observed on pixels 0 to 1",
        _changed(_pixels),
        images=True,
    ),
    _fed("calibration-raw", "ranges are observed on pixels 0 to 255", _changed(_raw), images=True),
    _fed(
        "calibration-bgr", "ranges are observed on images in BGR order", _changed(_bgr), images=True
    ),
    _fed("calibration-noise", "ranges are observed on Gaussian noise", _noise),
    _fed(
        "calibration-reordered",
        "the calibration batches come in reverse order",
        _reordered,
        why="the histograms' ranges come out the same in this order",
    ),
    _fed("calibration-test-images", "ranges are observed on test images", _test_images),
    Fault(
        name="calibration-other-images",
        family="calibration on other data",
        description="ranges are observed on training images 512 to 1023",
        inject=patched(("qreg.measure.subject.drawn", _next_ones)),
        size="other images",
        methods=STATIC,
    ),
    _fed("calibration-none", "ranges are observed on nothing", _nothing),
)
