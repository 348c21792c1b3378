"""A dataset loaded for the gate: its samples, and the models built from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from qreg.data import Dataset, Samples
from qreg.data.dataset import (
    CALIBRATION,
    FIRST_CALIBRATION,
    FIRST_GATE_SAMPLES,
    GATE_SAMPLES,
)
from qreg.data.draw import Draw, missing_classes
from qreg.data.inputs import Inputs
from qreg.data.samples import Rows
from qreg.errors import UnavailableError
from qreg.measure.observation import Observation
from qreg.measure.options import Options, load_test
from qreg.measure.subject import CaseSetup, Subject, case_setup, describe_float, prepare
from qreg.quantization.sharing import SharedRanges
from qreg.records.case import Case, Failure
from qreg.records.numerics import Images


@dataclass(frozen=True, eq=False)
class GateSamples:
    """A dataset's test samples and the options from which its cases are built.

    Attributes:
        gate: the samples that the gate judges, whose outputs baselines keep.
        rest: the others, where the whole test split is used. They are run after the gate's, so
            that the gate's batches are the same with and without them.
        notes: remarks on the samples for the reader.
    """

    dataset: Dataset
    gate: Samples
    rest: Samples | None
    options: Options
    notes: tuple[str, ...] = ()

    @cached_property
    def parts(self) -> tuple[Samples, ...]:
        """The samples in execution order."""
        return (self.gate,) if self.rest is None else (self.gate, self.rest)

    @cached_property
    def index(self) -> Rows:
        """Canonical indices of all samples (N,), ascending."""
        return np.sort(np.concatenate([part.index for part in self.parts]))

    @cached_property
    def kept(self) -> Rows:
        """Positions of the gate's samples, whose outputs are kept, among all samples."""
        return np.searchsorted(self.index, self.gate.index)

    def __len__(self) -> int:
        return len(self.index)

    def images(self, observation: Observation) -> Images:
        """The identity of the samples."""
        labels = () if observation.labels is None else tuple(observation.labels.tolist())
        return Images(tuple(self.index.tolist()), labels, self._digests)

    @cached_property
    def _digests(self) -> tuple[int, ...]:
        found = np.concatenate([np.array(part.digests(), np.int64) for part in self.parts])
        order = np.argsort(np.concatenate([part.index for part in self.parts]), kind="stable")
        return tuple(found[order].tolist())

    def first(self, count: int) -> Inputs:
        """The first `count` of the gate's samples as model inputs."""
        return self.gate.first(count).inputs

    def at(self, rows: Rows) -> Samples:
        """The samples at these positions among all, which must lie in one part."""
        wanted = self.index[rows]
        found = [part.take(wanted) for part in self.parts]
        return max(found, key=len)

    def subject(self, case: Case, *, ranges: SharedRanges | None = None) -> Subject | Failure:
        """Build the case, ready to run; see `qreg.measure.subject.prepare`."""
        return prepare(case, replace(self._setup, ranges=ranges))

    def float_model(self, case: Case) -> tuple[str, ...]:
        """What the float model of a case is: method, weights, structure; see `describe_float`."""
        return describe_float(case, self._setup)

    def content(self) -> tuple[str, ...]:
        """sha256 of all samples and their targets, and of those that are calibrated on."""
        found = [content_digest(part) for part in self.parts]
        try:
            calibration = self._setup.calibration()
        except UnavailableError:
            return (*found, "no calibration samples")
        return (*found, content_digest(calibration), repr(self.dataset.task), repr(self.notes))

    @cached_property
    def _setup(self) -> CaseSetup:
        return case_setup(self.dataset, self.gate, self.options)


_CONTENT_BATCH = 64


def content_digest(samples: Samples) -> str:
    """sha256 of index, inputs and targets of samples, as models are given them."""
    found = hashlib.sha256(np.ascontiguousarray(samples.index, "<i8").tobytes())
    for batch in samples.batches(_CONTENT_BATCH):
        for value in (batch.inputs, batch.targets):
            _add(found, value)
    return found.hexdigest()


def _add(hashed: Any, value: Any) -> None:
    """A value of whatever nesting, with its types and shapes."""
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous().numpy()
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype.str}{value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            hashed.update(f"{name}:".encode())
            _add(hashed, value[name])
    elif isinstance(value, (list, tuple)):
        hashed.update(f"{len(value)}[".encode())
        for each in value:
            _add(hashed, each)
    elif isinstance(value, (str, int, float, bool, bytes, type(None))):
        hashed.update(repr(value).encode())
    else:
        raise TypeError(f"a {type(value).__name__} has no known content")


def load_gate_samples(
    name: str, options: Options, *, full: bool, first: bool = False
) -> GateSamples:
    """Load the gate's samples of a dataset, or with `full` the whole test split.

    Args:
        first: the first samples, as baselines up to format 2 had them, unless the project's
            settings say how they are drawn.

    Raises:
        MissingDataError: the dataset is not on this machine.
    """
    dataset = options.dataset(name)
    if first and (dataset.calibration, dataset.samples) == (CALIBRATION, GATE_SAMPLES):
        dataset = replace(dataset, calibration=FIRST_CALIBRATION, samples=FIRST_GATE_SAMPLES)
    test = load_test(dataset, options)
    gate = dataset.samples.of(test)
    others = np.flatnonzero(~np.isin(test.index, gate.index))
    rest = test.rows(others) if full and len(others) else None
    return GateSamples(dataset, gate, rest, options, _notes(dataset, gate, test))


def _notes(dataset: Dataset, gate: Samples, test: Samples) -> tuple[str, ...]:
    missing = missing_classes(gate, test)
    if not missing:
        return ()
    named = [dataset.classes[c] if dataset.classes else str(c) for c in missing[:5]]
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return (f"no sample of class {', '.join(named)}{more} is judged",)


def rule_of(calibration: Draw, samples: Draw) -> str:
    """The recorded rule by which samples were drawn; "" where they are the first ones."""
    if calibration.rule == samples.rule:
        return samples.rule
    return f"{samples.rule or 'first'}; calibration {calibration.rule or 'first'}"
