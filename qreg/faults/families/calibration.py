"""Faults of what ranges are observed on."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from qreg.data.batches import batches
from qreg.faults.fault import STATIC, Fault, Feed, Target, calibrated_on, patched

Batches = Iterator[torch.Tensor]


def _first(count: int) -> Fault:
    def feed(given: Batches, target: Target) -> Batches:
        yield next(given)[:count]

    return _fed(
        f"calibration-{count}",
        f"ranges are observed on {count} images of one batch",
        feed,
        family="calibration images",
        size=str(count),
    )


def _pixels(images: torch.Tensor, target: Target) -> torch.Tensor:
    """The images before they were normalised, 0 to 1."""
    dataset = target.options.dataset(target.case.dataset)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (dataset.mean, dataset.std))
    return images * std + mean


def _unnormalised(given: Batches, target: Target) -> Batches:
    return (_pixels(images, target) for images in given)


def _raw(given: Batches, target: Target) -> Batches:
    return (255 * _pixels(images, target) for images in given)


def _bgr(given: Batches, target: Target) -> Batches:
    return (images.flip(1) for images in given)


def _noise(given: Batches, target: Target) -> Batches:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(images.shape, generator=generator) for images in given)


def _nothing(given: Batches, target: Target) -> Batches:
    return iter(())


def _reordered(given: Batches, target: Target) -> Batches:
    return reversed(list(given))


def _test_images(given: Batches, target: Target) -> Batches:
    list(given)  # the training images are recorded as observed
    dataset = target.options.dataset(target.case.dataset)
    test = target.options.load(dataset, "test").head(512)
    return batches(test, dataset, size=64)


def _fed(
    name: str, description: str, feed: Feed, *, family: str = "", size: str = "", why: str = ""
) -> Fault:
    return Fault(
        name=name,
        family=family or "calibration on other data",
        description=description,
        inject=calibrated_on(feed),
        size=size or name.removeprefix("calibration-"),
        methods=STATIC,
        unchanged_because=why,
    )


CALIBRATION = (
    *(_first(count) for count in (64, 8, 1)),
    _fed("calibration-unnormalised", "ranges are observed on pixels 0 to 1", _unnormalised),
    _fed("calibration-raw", "ranges are observed on pixels 0 to 255", _raw),
    _fed("calibration-bgr", "ranges are observed on images in BGR order", _bgr),
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
        inject=patched(("qreg.measure.subject.CALIBRATION", range(512, 1024))),
        size="other images",
        methods=STATIC,
    ),
    _fed("calibration-none", "ranges are observed on nothing", _nothing),
)
