"""Running the simulation of a case on samples, in batches that share prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch

from qreg.data import Dataset, Samples
from qreg.data.samples import Batch
from qreg.errors import QregError, UnavailableError
from qreg.measure.observation import Observation, ObservedPart, Observer
from qreg.measure.options import Options, load_test
from qreg.measure.subject import CaseSetup, Subject, case_setup, prepare
from qreg.quantization.engines import use_engine
from qreg.records.case import Case
from qreg.records.score import Score
from qreg.sensitivity.build import simulation, unkeepable
from qreg.sensitivity.rule import Summarize
from qreg.sensitivity.sharing import SharedRuns
from qreg.sensitivity.switches import Simulation
from qreg.tasks import whole_set_summary


class Sites(Enum):
    """Which sites are quantized in a run of a batch."""

    NONE = "float"
    ALL = "all"
    REAL = "real"  # all, in the converted model
    ONLY = "only"  # one
    BUT = "but"  # all but one


#: What was run, and for which site: 0 where that has no meaning.
Key = tuple[Sites, int]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case whose sites can be measured."""

    case: Case
    dataset: Dataset
    test: Samples
    setup: CaseSetup
    subject: Subject
    simulation: Simulation
    runs: SharedRuns

    @property
    def sites(self) -> int:
        """The number of sites."""
        return len(self.simulation.switches)


@torch.no_grad()
def prepared(case: Case, options: Options) -> Prepared:
    """Build a case and its simulation.

    Raises:
        UnavailableError: the case cannot be built.
        QregError: it has no sites.
    """
    options.progress(0, 1, f"building {case.method}")
    dataset = options.dataset(case.dataset)
    test = load_test(dataset, options)
    setup = case_setup(dataset, test, options)
    subject = built(case, setup)
    sample = test.first(2).inputs
    made = simulation(subject, sample)
    if subject.method.keep is None:
        made = unkeepable(made)
    with use_engine(case.engine):
        runs = SharedRuns(made, sample)
    return Prepared(case, dataset, test, setup, subject, made, runs)


def built(case: Case, setup: CaseSetup) -> Subject:
    """A case ready to run.

    Raises:
        UnavailableError: it cannot be built.
    """
    subject = prepare(case, setup)
    if isinstance(subject, Subject):
        return subject
    raise UnavailableError(
        f"{case} cannot be measured: {subject.text}", hint=subject.hint, details=subject.details
    )


def interleaved(
    samples: Samples, size: int, numbers: Iterable[int] | None = None
) -> Iterator[Batch]:
    """All samples in batches of every n-th one, so that each batch is like the whole.

    Args:
        numbers: of the batches, from 0; None for all.
    """
    count = batch_count(samples, size)
    for first in range(count) if numbers is None else numbers:
        yield samples.read(np.arange(first, len(samples), count))


def batch_count(samples: Samples, size: int) -> int:
    """The number of batches of at most `size` samples."""
    return -(-len(samples) // size)


@dataclass(eq=False)
class SiteScores:
    """Outputs by what they are of, as scores."""

    dataset: Dataset
    observers: dict[Key, Observer] = field(default_factory=dict)
    _results: dict[Key, Observation] = field(default_factory=dict)

    def add(self, key: Key, outputs: Any, batch: Batch, reference: Any) -> None:
        """Take the outputs of a batch; `reference` are those of the float model."""
        self._results.pop(key, None)
        self.observers.setdefault(key, Observer(self.dataset)).add(outputs, batch, reference)

    def add_part(self, key: Key, part: ObservedPart) -> None:
        """Take what another process has seen of other samples."""
        self._results.pop(key, None)
        self.observers.setdefault(key, Observer(self.dataset)).add_part(part)

    def result(self, key: Key) -> Observation:
        """What was seen, in canonical order of samples."""
        if key not in self._results:
            self._results[key] = self.observers[key].result()
        return self._results[key]

    def score(self, key: Key) -> Score:
        """The score, also of classification.

        Raises:
            QregError: outputs are not finite.
        """
        return as_score(self.result(key), what=key[0].value)

    def error(self, key: Key, reference: Key) -> tuple[float, float]:
        """Sums of squares of a difference of outputs, and of the reference's outputs."""
        rows, plain = self.result(key).rows, self.result(reference).rows
        if rows.shape != plain.shape:
            return float("inf"), 1.0
        wide = plain.astype(np.float64)
        return float(np.square(rows - wide).sum()), float(np.square(wide).sum())

    @property
    def summarize(self) -> Summarize:
        """For a summary of the whole set."""
        return whole_set_summary(self.score(next(iter(self.observers))))


def as_score(observation: Observation, *, what: str = "") -> Score:
    """The score of an observation; of classification, whether each prediction is the label.

    Raises:
        QregError: outputs are not finite.
    """
    if observation.score is not None:
        return observation.score
    assert observation.labels is not None
    assert observation.predictions is not None
    if not np.isfinite(observation.rows).all():
        raise QregError(
            f"logits of the {what} model are not finite (NaN or infinite)",
            hint="look for NaN in its weights, or for a scale of 0 in what was observed",
        )
    right = observation.predictions == observation.labels
    return Score(
        task="classification",
        name="right",
        higher_is_better=True,
        binary=True,
        index=tuple(observation.index.tolist()),
        values=tuple(right.astype(float).tolist()),
        summary="accuracy",
        unit="%",
        value=float(right.mean()),
        span=1.0,
        predictions=tuple(observation.predictions.tolist()),
    )
