"""Measurement options, shared by all commands, the gate and child processes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.data import Dataset, get_dataset, load_split
from qreg.files import resolved
from qreg.progress import Progress, no_progress
from qreg.records.decode import MismatchError, decoder

if TYPE_CHECKING:
    from qreg.data import Samples, SplitName

#: Calibration samples where only time or operators matter, which do not depend on the ranges.
FEW_CALIBRATION = 16


@dataclass(frozen=True)
class Options:
    """Measurement options.

    Attributes:
        data_dir: folder of existing datasets; None: ``QREG_DATA_DIR``, else the dataset's default.
        checkpoints: the first folder searched for trained weights; see `folders`.
        threads: of PyTorch's kernels; 0 for PyTorch's default.
        batch: samples per call; 0 for the command's default.
        calibration: maximum number of calibration samples; 0 for the dataset's default.
        limit: maximum number of test samples, drawn by the dataset's rule; 0 for all.
        sources: sources of datasets with names that are neither registered nor a path.
        weight_files: models with the weights of a file, whatever the project says of them.
        task: of every dataset, instead of its own; a registered name or ``package.module:TASK``.
        download: whether a dataset may be downloaded.
        progress: called with (done, total, what).
    """

    data_dir: Path | None = None
    checkpoints: Path | None = None
    threads: int = 0
    batch: int = 0
    calibration: int = 0
    limit: int = 0
    sources: tuple[tuple[str, str], ...] = ()
    weight_files: tuple[tuple[str, str], ...] = ()
    task: str = ""
    download: bool = True
    progress: Progress = field(default=no_progress, compare=False)

    def __post_init__(self) -> None:
        numbers = {
            name: getattr(self, name) for name in ("threads", "batch", "limit", "calibration")
        }
        for name, number in numbers.items():
            if number < 0:
                raise ValueError(f"{name} {number}")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders searched for checkpoints, in order."""
        from qreg.training.checkpoints import checkpoint_folders

        return checkpoint_folders(self.checkpoints)

    def apply_threads(self) -> None:
        """Set the number of threads of PyTorch's kernels in this process, if one is given."""
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name, from its source where it has one.

        Raises:
            UnknownNameError: it has none, and is not registered.
            MissingDataError: nothing is at its source.
        """
        found = get_dataset(dict(self.sources).get(name, name))
        return replace(found, task=self.task) if self.task else found

    def load(self, dataset: Dataset, split: SplitName) -> Samples:
        """A split of a dataset, with the progress of decoding it."""
        return load_split(
            dataset,
            split,
            data_dir=self.data_dir,
            download=self.download,
            progress=lambda done, total: self.progress(done, total, f"{split} samples"),
        )

    def plain(self) -> dict[str, Any]:
        """The options as JSON values for a process in any folder; without progress."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        del found["progress"]
        found["sources"] = [list(pair) for pair in self.sources]
        found["weight_files"] = [list(pair) for pair in self.weight_files]
        for name in ("task", "weight_files"):
            if not found[name]:  # a revision that knows none reads the others
                del found[name]
        return found | {name: _text(found[name]) for name in ("data_dir", "checkpoints")}

    @classmethod
    def of_plain(cls, value: object, *, progress: Progress = no_progress) -> Options:
        """The options from the values of `plain`.

        Raises:
            MismatchError: it returned something else.
        """
        found: _PlainOptions = decoder(_PlainOptions)(value)
        given = {one.name: getattr(found, one.name) for one in fields(found)}
        paths = {name: Path(given[name]) if given[name] else None for name in _PATHS}
        try:
            return cls(**(given | paths), progress=progress)
        except ValueError as error:
            raise MismatchError("options that agree with themselves", str(error)) from error


#: The default for timing.
ONE_THREAD = Options(threads=1, batch=1)
_PATHS = ("data_dir", "checkpoints")


@dataclass(frozen=True)
class _PlainOptions:
    """The schema of `Options.plain`, with paths as strings."""

    data_dir: str
    checkpoints: str
    threads: int
    batch: int
    calibration: int
    limit: int
    sources: tuple[tuple[str, str], ...]
    download: bool
    task: str = ""
    weight_files: tuple[tuple[str, str], ...] = ()


def _text(path: Path | None) -> str:
    return str(resolved(path)) if path else ""


def load_test(dataset: Dataset, options: Options) -> Samples:
    """The test samples that `options` select, drawn by the dataset's rule."""
    test = options.load(dataset, "test")
    if not options.limit:
        return test
    return replace(dataset.samples, size=options.limit).of(test)
