"""How to measure: what every command and the gate share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qreg.data import Dataset, Samples, SplitName, get_dataset, load_split


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        limit: only the first images by canonical index; 0 for all.
        download: whether a dataset may be downloaded.
        sources: where datasets are from that are not called by a registered name or a path.
        progress: called with (done, total, what) as the work goes on.
    """

    folders: tuple[Path, ...]
    data_dir: Path | None = None
    limit: int = 0
    download: bool = True
    sources: tuple[tuple[str, str], ...] = ()
    progress: Callable[[int, int, str], None] = lambda *_: None

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name, from its source where it has one.

        Raises:
            UnknownNameError: it has none, and is not registered.
            MissingDataError: nothing is at its source.
        """
        return get_dataset(dict(self.sources).get(name, name))

    def load(self, dataset: Dataset, split: SplitName) -> Samples:
        """A split of a dataset, with the progress of decoding it."""
        return load_split(
            dataset,
            split,
            data_dir=self.data_dir,
            download=self.download,
            progress=lambda done, total: self.progress(done, total, f"{split} images"),
        )


def load_test(dataset: Dataset, options: Options) -> Samples:
    """The test images that `options` ask for."""
    test = options.load(dataset, "test")
    return test.head(options.limit) if options.limit else test
