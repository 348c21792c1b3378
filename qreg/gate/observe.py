"""Observing a case: from its name to the snapshot that a baseline keeps."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import QregError
from qreg.gate.samples import GateSamples, load_gate_samples, rule_of
from qreg.gate.speed_up import SpeedUps
from qreg.measure.comparison import BATCH
from qreg.measure.environment import capture_environment
from qreg.measure.observation import Observation, Observer, kept_elements
from qreg.measure.options import Options
from qreg.measure.recorded_warnings import plain_text
from qreg.measure.subject import Subject
from qreg.metrics.graphs import uncompiled
from qreg.metrics.layers import layer_numerics
from qreg.metrics.operators import count_operators
from qreg.metrics.size import model_size
from qreg.quantization.engines import use_engine
from qreg.records.baseline import Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.numerics import Logits, Numerics

# Samples whose layer outputs are compared, which are kept in memory, and samples run alone.
_LAYER_SAMPLES, _SINGLE_SAMPLES = 16, 4
# All numbers of the outputs of samples that are run alone.
_ALL = 1 << 62
Array = npt.NDArray[np.float32]


class Gate:
    """Observes cases; keeps each dataset and each model's fp32 logits for the next case.

    Args:
        full: use the whole test set, not only the gate's samples.
    """

    def __init__(self, options: Options, *, full: bool = False) -> None:
        self._options, self._full = options, full
        self._samples: dict[str, GateSamples] = {}
        self._first: set[str] = set()
        self._seen: dict[tuple[str, str], Observation] = {}
        self._speed_ups = SpeedUps(self.samples)
        self._observed: Subject | None = None
        self._outputs: tuple[str, ...] = ()

    def samples(self, dataset: str) -> GateSamples:
        """The dataset, loaded once."""
        if dataset not in self._samples:
            self._samples[dataset] = load_gate_samples(
                dataset, self._options, full=self._full, first=dataset in self._first
            )
        return self._samples[dataset]

    def draw_as(self, dataset: str, baselines: Sequence[Baseline]) -> None:
        """Draw the samples as the baselines did, where these took the first ones.

        Baselines up to format 2 did; what the project's settings say comes before that.
        """
        first = bool(baselines) and not any(one.snapshot.draw for one in baselines)
        if first != (dataset in self._first):
            self._first ^= {dataset}
            self._samples.pop(dataset, None)
            self._seen = {key: seen for key, seen in self._seen.items() if key[0] != dataset}

    @property
    def observed(self) -> Subject | None:
        """The subject of the last case, until its speed-up is measured; its source is the twin."""
        return self._observed

    def notes(self, dataset: str) -> tuple[str, ...]:
        """Remarks for the reader on the observed samples, and on the last case's outputs."""
        samples = self.samples(dataset)
        return (*samples.notes, *samples.gate.notes, *self._outputs)

    def observe(self, case: Case) -> Snapshot | Failure:
        """Build a case, run it and describe it.

        Returns:
            The snapshot of the case; or a failure, where the case's own code raised or this machine
            lacks something.

        Raises:
            QregError: a problem that affects other cases too.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of building the case are recorded
            self._outputs = ()
            samples = self.samples(case.dataset)
            made = samples.subject(case)
            return made if isinstance(made, Failure) else self.describe(made, samples)

    def log_speed_up(self, case: Case, batch: int) -> float:
        """Natural log of the speed-up over fp32 of the observed case.

        The first call measures the observed model, further calls a newly built one.

        Raises:
            QregError: the case or fp32 can no longer be built.
        """
        made, self._observed = self._observed, None
        same = made is not None and made.case == case
        return self._speed_ups.log_speed_up(case, batch=batch, made=made if same else None)

    def describe(self, subject: Subject, samples: GateSamples) -> Snapshot | Failure:
        """Run and describe a case that is already built; its source model is modified."""
        try:
            with use_engine(subject.case.engine):
                self._observed = subject
                return self._snapshot(subject, samples)
        except QregError:
            raise
        except (Exception, SystemExit) as error:
            return raised_failure(subject.case, error)

    def _snapshot(self, subject: Subject, samples: GateSamples) -> Snapshot:
        seen = self._observe(subject, samples)
        self._outputs = seen.notes
        return Snapshot(
            case=subject.case,
            environment=capture_environment(),
            checkpoint=subject.weights.text,
            calibration=subject.calibration,
            correct=seen.correct,
            predictions=() if seen.predictions is None else tuple(seen.predictions.tolist()),
            size=model_size(subject.model),
            numerics=self._numerics(subject, samples, seen),
            warnings=tuple(sorted({plain_text(text) for text in subject.warnings})),
            score=seen.score,
            draw=rule_of(samples.dataset.calibration, samples.dataset.samples),
        )

    def _numerics(self, subject: Subject, samples: GateSamples, seen: Observation) -> Numerics:
        reference = self._reference(subject, samples, seen)
        first = samples.first(_LAYER_SAMPLES)
        layers = layer_numerics(subject.run, subject.model, subject.source, first)
        compiled = uncompiled(subject.model) is not subject.model
        operators = count_operators(subject.run, inputs.head(first, 1), compiled=compiled)
        single = _single(subject, first)
        return Numerics(
            images=samples.images(seen),
            logits=_kept(seen, samples),
            single=single,
            reloaded=_reloaded(subject, first),
            reference=_reference_digest(subject, _kept(reference, samples)),
            disagreements=_disagreements(seen, reference),
            layers=layers,
            operators=operators,
        )

    def _observe(self, subject: Subject, samples: GateSamples) -> Observation:
        observer = Observer(samples.dataset)
        fp32 = None
        if observer.needs_reference and subject.case.method != "fp32":
            fp32 = self._speed_ups.fp32(subject.case)
        return observe_all(subject, samples, fp32=fp32)

    def _reference(self, subject: Subject, samples: GateSamples, seen: Observation) -> Observation:
        """fp32's outputs of the same samples, computed once for all methods and engines."""
        case = subject.case
        key = (case.dataset, case.model)
        if case.method == "fp32":
            return self._seen.setdefault(key, seen)
        if key not in self._seen:
            self._seen[key] = observe_all(self._speed_ups.fp32(case), samples)
        return self._seen[key]


@torch.no_grad()
def observe_all(
    subject: Subject, samples: GateSamples, *, fp32: Subject | None = None
) -> Observation:
    """Run all samples; `fp32` is the model whose outputs are the reference, where one is needed."""
    observer, done = Observer(samples.dataset), 0
    for part in samples.parts:
        for batch in part.batches(BATCH):
            samples.options.progress(done, len(samples), str(subject.case))
            reference = None if fp32 is None else fp32.run(batch.inputs)
            observer.add(subject.run(batch.inputs), batch, reference)
            done += len(batch)
    return observer.result()


def all_logits(subject: Subject, samples: GateSamples) -> Array:
    """Logits, or selected elements of the outputs, of all samples, float32 (N, K)."""
    return observe_all(subject, samples).rows


def _kept(seen: Observation, samples: GateSamples) -> Logits:
    values = np.ascontiguousarray(seen.rows[samples.kept], dtype="<f4")
    count, width = values.shape
    first = bool((samples.kept == np.arange(count)).all())
    return Logits(
        count=count,
        classes=width,
        values=values.tobytes(),
        elements=seen.elements if seen.elements > width else 0,
        rows=() if first else tuple(samples.kept.tolist()),
    )


def _reference_digest(subject: Subject, reference: Logits) -> str:
    return "" if subject.method.name == "fp32" else reference.digest


def _disagreements(seen: Observation, reference: Observation) -> tuple[int, ...]:
    """Canonical indices of the samples that fp32 predicts differently."""
    if seen.predictions is None or reference.predictions is None:
        return ()
    return tuple(seen.index[seen.predictions != reference.predictions].tolist())


@torch.no_grad()
def _single(subject: Subject, first: Inputs) -> str:
    """Digest of the outputs of the first samples, each run alone."""
    alone = inputs.singles(inputs.head(first, _SINGLE_SAMPLES))
    found = [kept_elements(subject.run(one), 1, most=_ALL)[0].tobytes() for one in alone]
    return hashlib.sha256(b"".join(found)).hexdigest()


def _reloaded(subject: Subject, first: Inputs) -> str:
    """The same digest after the model has loaded its own saved state; "" where it cannot.

    If loading changes the state, the digest of that state instead.
    """
    saved = _saved(subject)
    try:
        subject.model.load_state_dict(torch.load(io.BytesIO(saved), weights_only=True))
    except Exception:
        return ""
    again = _saved(subject)
    return _single(subject, first) if again == saved else hashlib.sha256(again).hexdigest()


def _saved(subject: Subject) -> bytes:
    buffer = io.BytesIO()
    torch.save(subject.model.state_dict(), buffer)
    return buffer.getvalue()
