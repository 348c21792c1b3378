"""What a dataset is: a name, its classes, and how its splits are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qreg.data.samples import Samples, SplitName

#: Called with (done, total) while something long goes on.
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
    """

    name: str
    load: SplitLoader
    classes: tuple[str, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
