"""A dataset loaded for the gate: its samples, and the models built from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qreg.data import Dataset, Samples
from qreg.data.inputs import Inputs
from qreg.data.samples import Rows
from qreg.errors import DataError
from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.records.case import Case, Failure
from qreg.records.numerics import Images

#: Number of canonical test indices that the gate uses, and whose logits baselines keep.
GATE_IMAGES = 1000


@dataclass(frozen=True, eq=False)
class GateSamples:
    """A dataset's test samples and the options from which its cases are built."""

    dataset: Dataset
    test: Samples
    options: Options

    @cached_property
    def labels(self) -> Rows:
        """The class of each sample (N,)."""
        if self.test.labels is None:
            raise DataError("the targets are not class labels", hint="give labels 0 .. classes - 1")
        return self.test.labels

    @cached_property
    def images(self) -> Images:
        """The identity of the samples: index, label and digest."""
        test = self.test
        return Images(
            index=tuple(test.index.tolist()),
            labels=tuple(self.labels.tolist()),
            digests=test.digests(),
        )

    @cached_property
    def kept(self) -> int:
        """Number of samples whose logits are kept: the gate's."""
        below = int(np.searchsorted(self.test.index, GATE_IMAGES))
        return below or min(GATE_IMAGES, len(self.test))

    def first(self, count: int) -> Inputs:
        """The first `count` samples as model inputs."""
        return self.test.first(count).inputs

    def subject(self, case: Case) -> Subject | Failure:
        """Build the case, ready to run; see `qreg.measure.subject.prepare`."""
        return prepare(case, case_setup(self.dataset, self.test, self.options))


def load_gate_samples(name: str, options: Options, *, full: bool) -> GateSamples:
    """Load the gate's samples of a dataset, or with `full` the whole test set.

    Raises:
        MissingDataError: the dataset is not on this machine.
    """
    dataset = options.dataset(name)
    test = load_test(dataset, options)
    if not full:
        chosen = test.take(np.arange(GATE_IMAGES))
        test = chosen if len(chosen) else test.head(GATE_IMAGES)
    return GateSamples(dataset, test, options)
