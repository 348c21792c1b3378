"""What a dataset is: a name, its classes, and how its splits are loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qreg.data.draw import FIRST, Draw
from qreg.errors import DataError

if TYPE_CHECKING:
    from qreg.data.samples import Samples, SplitName

#: The task of samples with one class label each, judged as accuracy.
CLASSIFICATION = "classification"
#: The default draw for baselines.
CALIBRATION, GATE_SAMPLES = Draw(512), Draw(1000)
#: The same of the shipped datasets, whose classes are mixed already: their baselines rest on it.
FIRST_CALIBRATION, FIRST_GATE_SAMPLES = Draw(512, FIRST), Draw(1000, FIRST)
#: Called with (done, total) during long work.
Progress = Callable[[int, int], None]


class SplitLoader(Protocol):
    """Opens one split of a dataset."""

    def __call__(
        self, split: SplitName, *, data_dir: Path | None, progress: Progress | None
    ) -> Samples: ...


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes:
        classes: their names; () where the targets are no class labels, or the model's outputs
            say how many there are.
        mean, std: of images, per channel: the model's input is ``(pixel / 255 - mean) / std``.
        splits: those that it has; without ``calibration``, samples of ``train`` are calibrated on.
        task: a registered name or ``package.module:TASK``.
        calibration, samples: how the calibration samples, and those that the gate looks at, are
            drawn from their splits.
        stored_as: names of its files and folders in a folder of data, which are sent to other
            machines; what is not there is left out.
    """

    name: str
    load: SplitLoader
    classes: tuple[str, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    splits: tuple[str, ...] = ("train", "test")
    task: str = CLASSIFICATION
    calibration: Draw = CALIBRATION
    samples: Draw = GATE_SAMPLES
    stored_as: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise DataError(
                f"dataset {self.name}: mean {self.mean}, std {self.std}",
                hint="mean and std are finite numbers, and std is above 0",
            )
