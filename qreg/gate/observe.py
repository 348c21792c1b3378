"""Observing a case: from its name to the snapshot that a baseline keeps."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qreg.artifacts.load import file_of
from qreg.artifacts.onnx_file import OnnxModel
from qreg.budget.rule import Evidence, Pair, judge_limits, look_again
from qreg.data import inputs
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import QregError
from qreg.gate.qat import (
    QAT_SAMPLES,
    is_prepared,
    observe_conversion,
    observe_training,
    range_differences,
)
from qreg.gate.samples import GateSamples, load_gate_samples, rule_of
from qreg.gate.speed_up import SpeedUps
from qreg.measure.comparison import BATCH
from qreg.measure.observation import WHOLE, Observation, Observer, kept_elements
from qreg.measure.options import Options
from qreg.measure.recorded_warnings import plain_text
from qreg.measure.subject import Subject, operators_of
from qreg.metrics.layers import (
    file_layers,
    float_values,
    is_run_as_file,
    layer_numerics,
    layer_outputs,
)
from qreg.metrics.size import model_size, saved_state
from qreg.metrics.tensors import digest, same_state
from qreg.quantization import method_info
from qreg.quantization.engines import use_engine
from qreg.quantization.sharing import SharedRanges
from qreg.records.baseline import Baseline, Snapshot
from qreg.records.budget import Against, BudgetCheck, Limits
from qreg.records.case import Case, Failure
from qreg.records.numerics import Layer, Logits, Numerics
from qreg.records.qat import QatObservation, TrainingSteps
from qreg.tasks import whole_set_summary

# Samples whose layer outputs are compared, which are kept in memory, and samples run alone.
_LAYER_SAMPLES, _SINGLE_SAMPLES = 16, 4
# Bytes of the float model's layer outputs that are kept for the model's next file.
_MOST_FLOATS = 1 << 28
Array = npt.NDArray[np.float32]


class Gate:
    """Observes cases; keeps each dataset and each model's fp32 logits for the next case.

    Args:
        full: use the whole test set, not only the gate's samples.
        share: let the methods of a model share what they observe of the calibration samples, and
            fp32's times. What is to be found may be in there: not for faults that are planted.
    """

    def __init__(self, options: Options, *, full: bool = False, share: bool = False) -> None:
        self._options, self._full, self._share = options, full, share
        self._ranges: tuple[tuple[str, str], SharedRanges] | None = None
        self._samples: dict[tuple[str, bool], GateSamples] = {}
        self._first: set[str] = set()
        self._contents: dict[tuple[str, bool], tuple[str, ...]] = {}
        self._seen: dict[tuple[str, str, bool], Observation] = {}
        self._speed_ups = SpeedUps(self.samples, share=share)
        self._observed: Subject | None = None
        self._outputs: tuple[str, ...] = ()
        self._last: Observation | None = None
        self._control: tuple[Case, Observation] | None = None
        self._qat = QatObservation(None, None)
        self._trained: dict[tuple[str, str, str, str], TrainingSteps | str] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        self._floats: tuple[tuple[object, ...], dict[str, torch.Tensor]] | None = None

    def samples(self, dataset: str) -> GateSamples:
        """The dataset, loaded once."""
        key = (dataset, dataset in self._first)
        if key not in self._samples:
            self._samples[key] = load_gate_samples(
                dataset, self._options, full=self._full, first=key[1]
            )
        return self._samples[key]

    def _reference_key(self, case: Case) -> tuple[str, str, bool]:
        """Of fp32's outputs: a model on the samples as they are drawn now."""
        return case.dataset, case.model, case.dataset in self._first

    def draw_as(self, dataset: str, baselines: Sequence[Baseline]) -> None:
        """Draw the samples as the baselines did, where these took the first ones.

        Baselines up to format 2 did; what the project's settings say comes before that.
        """
        first = bool(baselines) and not any(one.snapshot.draw for one in baselines)
        if first != (dataset in self._first):
            self._first ^= {dataset}
            self._control = self._ranges = self._floats = None

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
            made = samples.subject(case, ranges=self._ranges_of(case))
            return made if isinstance(made, Failure) else self.describe(made, samples)

    def determinants(self, case: Case) -> tuple[str, ...]:
        """The environment, the float model and the samples of a case, as digests and texts.

        Raises:
            QregError, or what the case's own code raises: it cannot be built or loaded.
        """
        samples, key = self.samples(case.dataset), (case.dataset, case.dataset in self._first)
        if key not in self._contents:
            self._contents[key] = samples.content()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (*samples.float_model(case), *self._contents[key])

    def _ranges_of(self, case: Case) -> SharedRanges | None:
        """Those of the case's model; a gate judges the cases of a model one after the other."""
        key = (case.dataset, case.model)
        if self._share and (self._ranges is None or self._ranges[0] != key):
            self._ranges = key, SharedRanges()
        return self._ranges[1] if self._ranges else None

    def log_speed_up(self, case: Case, batch: int, *, enough: float = math.inf) -> float:
        """Natural log of the speed-up over fp32 of the observed case.

        The first call measures the observed model, further calls a newly built one.

        Args:
            enough: a value that is good enough; see `qreg.metrics.speed_up.log_speed_up`.

        Raises:
            QregError: the case or fp32 can no longer be built.
        """
        made, self._observed = self._observed, None
        same = made is not None and made.case == case
        made = made if same else None
        return self._speed_ups.log_speed_up(case, batch=batch, prepared=made, enough=enough)

    def judge_limits(self, observed: Snapshot, limits: Limits) -> tuple[BudgetCheck, ...]:
        """Judge a budget's limits of the case that was observed last.

        Raises:
            QregError: fp32 or the control can no longer be built.
        """
        assert self._last is not None
        case, seen = observed.case, self._last
        control = method_info(case.method).control
        names = {"fp32"} | ({control} if limits.against is Against.CONTROL else set())
        evidence = Evidence(
            score=seen.score,
            file_bytes=observed.size.file_bytes,
            pairs={name: self._pair(case, name, seen, limits) for name in names},
            control=control,
            log_speed_ups=self._budget_logs(case, limits.min_speed_up),
            summarize=whole_set_summary(seen.score),
        )
        return judge_limits(limits, evidence)

    def _pair(self, case: Case, method: str, observation: Observation, limits: Limits) -> Pair:
        """The observed case and fp32 or the control, on the same samples."""
        key, which = (case.dataset, case.model), replace(case, method=method)
        with warnings.catch_warnings(), use_engine(case.engine):
            warnings.simplefilter("ignore")
            if method != "fp32":
                return _paired(observation, self._control_of(which), 0)
            if limits.max_size_share is not None and key not in self._sizes:
                self._sizes[key] = model_size(self._speed_ups.fp32(which).model).file_bytes
            fp32 = self._seen[self._reference_key(case)]
            return _paired(observation, fp32, self._sizes.get(key, 0))

    def _control_of(self, control: Case) -> Observation:
        """The control's results, kept for the next method or engine."""
        if self._control is None or self._control[0] != replace(control, engine=""):
            samples = self.samples(control.dataset)
            made = samples.subject(control)
            if isinstance(made, Failure):
                raise QregError(f"{control}: {made.text}", hint=made.hint)
            self._control = replace(control, engine=""), observe_all(made, samples)
        return self._control[1]

    def _budget_logs(self, case: Case, smallest: float | None) -> tuple[float, ...]:
        """Logs of the speed-up at batch size 1, of new models too where the observed is slow."""
        if smallest is None:
            return ()
        made = self._observed
        logs = [self._speed_ups.log_speed_up(case, batch=1, prepared=made)]
        while look_again(smallest, logs):
            logs.append(self._speed_ups.log_speed_up(case, batch=1))
        return tuple(logs)

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

    def _snapshot(self, subject: Subject, samples: GateSamples) -> Snapshot | Failure:
        single = _repeated_single(subject, samples.first(_SINGLE_SAMPLES))
        if isinstance(single, Failure):
            return single
        seen = self._last = self._observe(subject, samples)
        self._outputs = seen.notes
        prepared = copy.deepcopy(subject.source) if is_prepared(subject.source) else None
        saved = None if is_run_as_file(subject.model) else saved_state(subject.model)
        numerics = self._numerics(subject, samples, seen, single, saved)
        self._qat = QatObservation(None, None)
        if prepared is not None:
            self._qat = self._observed_qat(subject, prepared, samples, numerics)
        return Snapshot(
            case=subject.case,
            environment=subject.environment,
            checkpoint=subject.weights.text,
            calibration=subject.calibration,
            correct=seen.correct,
            predictions=() if seen.predictions is None else tuple(seen.predictions.tolist()),
            size=model_size(subject.model, saved=saved),
            numerics=numerics,
            warnings=tuple(sorted({plain_text(text) for text in subject.warnings})),
            score=seen.score,
            draw=rule_of(samples.dataset.calibration, samples.dataset.samples),
            file=file_of(subject.model),
        )

    def _numerics(
        self,
        subject: Subject,
        samples: GateSamples,
        observation: Observation,
        single: str,
        saved: bytes | None,
    ) -> Numerics:
        reference = self._reference(subject, samples, observation)
        first = samples.first(_LAYER_SAMPLES)
        layers = self._layers(subject, first)
        operators = operators_of(subject, inputs.head(first, 1))
        return Numerics(
            images=samples.images(observation),
            logits=_kept(observation, samples),
            single=single,
            reloaded=_reloaded(subject, first, saved),
            reference=_reference_digest(subject, _kept(reference, samples)),
            disagreements=_disagreements(observation, reference),
            layers=layers,
            operators=operators,
        )

    def _layers(self, subject: Subject, first: Inputs) -> tuple[Layer, ...]:
        """The layers; the float model's, which all files of a model are compared with, once."""
        if not is_run_as_file(subject.model):
            return layer_numerics(subject.run, subject.model, subject.source, first)
        case, skeleton = subject.case, subject.method.skeleton
        key = (case.dataset, case.model, subject.weights.text, skeleton)
        if self._floats is None or self._floats[0] != key:
            self._floats = None
            values = float_values(subject.source, first, blocks=False)
            if sum(one.nbytes for one in values.values()) > _MOST_FLOATS:
                return file_layers(subject.model, first, values)
            self._floats = key, values
        return file_layers(subject.model, first, self._floats[1])

    @property
    def qat(self) -> QatObservation:
        """What was seen of the fake-quantized model of the case that was observed last."""
        return self._qat

    def _observed_qat(
        self, subject: Subject, prepared: nn.Module, samples: GateSamples, numerics: Numerics
    ) -> QatObservation:
        """Conversion and training; training once for all engines of a checkpoint.

        What is trained is the method's own graph, where it has one.
        """
        first, case = samples.first(QAT_SAMPLES), subject.case
        try:
            conversion = observe_conversion(subject, prepared, first)
        except Exception as error:  # a user's own fake-quantizers need not run like torch's
            reason = raised_failure(case, error).reason
            return QatObservation(None, None, (f"conversion was not checked: {reason}",))
        ranges, sites = range_differences(prepared, numerics.layers)
        conversion = replace(conversion, ranges=ranges, sites=sites)
        graph = case.method if subject.prepared is not None else ""
        key = (case.dataset, case.model, subject.weights.text, graph)
        if key not in self._trained:
            self._trained[key] = observe_training(subject.prepared or prepared, first)
        training = self._trained[key]
        if isinstance(training, str):
            return QatObservation(conversion, None, notes=(training,))
        notes = [f"fake-quantizers of kind {name} are not checked" for name in training.unknown]
        return QatObservation(conversion, training, tuple(notes))

    def _observe(self, subject: Subject, samples: GateSamples) -> Observation:
        observer = Observer(samples.dataset)
        fp32 = None
        if observer.needs_reference and subject.case.method != "fp32":
            fp32 = self._speed_ups.fp32(subject.case)
        return observe_all(subject, samples, fp32=fp32)

    def _reference(
        self, subject: Subject, samples: GateSamples, observation: Observation
    ) -> Observation:
        """fp32's outputs of the same samples, computed once for all methods and engines."""
        case = subject.case
        key = self._reference_key(case)
        if case.method == "fp32":
            return self._seen.setdefault(key, observation)
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


def _paired(observation: Observation, other: Observation, file_bytes: int) -> Pair:
    flips, won, lost = None, 0, 0
    if observation.predictions is not None and other.predictions is not None:
        flips = int((observation.predictions != other.predictions).sum())
        if observation.score is None:
            right, baseline = (
                observation.predictions == observation.labels,
                other.predictions == other.labels,
            )
            won, lost = int((right & ~baseline).sum()), int((baseline & ~right).sum())
    return Pair(len(observation.index), won, lost, flips, other.score, file_bytes)


def all_logits(subject: Subject, samples: GateSamples) -> Array:
    """Logits, or selected elements of the outputs, of all samples, float32 (N, K)."""
    return observe_all(subject, samples).rows


def _kept(observation: Observation, samples: GateSamples) -> Logits:
    values = np.ascontiguousarray(observation.rows[samples.kept], dtype="<f4")
    count, width = values.shape
    first = bool((samples.kept == np.arange(count)).all())
    return Logits(
        count=count,
        classes=width,
        values=values.tobytes(),
        elements=observation.elements if observation.elements > width else 0,
        rows=() if first else tuple(samples.kept.tolist()),
    )


def _reference_digest(subject: Subject, reference: Logits) -> str:
    return "" if subject.method.name == "fp32" else reference.digest


def _disagreements(observation: Observation, reference: Observation) -> tuple[int, ...]:
    """Canonical indices of the samples that fp32 predicts differently."""
    if observation.predictions is None or reference.predictions is None:
        return ()
    return tuple(observation.index[observation.predictions != reference.predictions].tolist())


@torch.no_grad()
def _repeated_single(subject: Subject, first: Inputs) -> str | Failure:
    """The digest of the first samples, run twice.

    A case that has other outputs the second time is a failure: no difference would mean anything.
    """
    single = _single(subject, first)
    if _single(subject, first) == single:
        return single
    one, other = (layer_outputs(subject.run, subject.model, first) for _ in range(2))
    moved = (name for name in one if digest(one[name]) != digest(other.get(name)))
    return Failure(
        subject.case,
        f"two runs of the same samples differ, first in {next(moved, 'the model')}",
        "disable what is random in evaluation mode; if a quantized kernel does it, choose another "
        "engine or leave that layer in float",
        unavailable=False,
    )


@torch.no_grad()
def _single(subject: Subject, first: Inputs) -> str:
    """Digest of the outputs of the first samples, each run alone."""
    alone = inputs.singles(inputs.head(first, _SINGLE_SAMPLES))
    found = [kept_elements(subject.run(one), 1, most=WHOLE)[0].tobytes() for one in alone]
    return hashlib.sha256(b"".join(found)).hexdigest()


def _reloaded(subject: Subject, first: Inputs, saved: bytes | None) -> str:
    """The same digest after the model has loaded its own saved state; "" where it cannot.

    If loading changes the state, or a scale or zero point that the few samples do not show, the
    digest of that instead.

    Args:
        saved: the state; None of a model that is saved as a whole.
    """
    if isinstance(subject.model, OnnxModel):
        return _single(replace(subject, model=subject.model.reloaded()), first)
    if saved is None:
        return _single(replace(subject, model=_script_again(subject.model)), first)
    before = _scales(subject.model)
    try:
        loaded = _own_state(saved)
        subject.model.load_state_dict(loaded)
    except Exception:
        return ""
    if (after := _scales(subject.model)) != before:
        return hashlib.sha256(repr(after).encode()).hexdigest()
    if not same_state(loaded, subject.model.state_dict()):
        again = saved_state(subject.model)
        if again != saved:
            return hashlib.sha256(again).hexdigest()
    return _single(subject, first)


def _own_state(saved: bytes) -> dict[str, Any]:
    """What this process has just saved: the packed weights of recurrent layers need all of pickle.

    Were such a state called not loadable, whatever else is lost in it would not be seen.
    """
    try:
        loaded: dict[str, Any] = torch.load(io.BytesIO(saved), weights_only=True)
    except pickle.UnpicklingError:
        loaded = torch.load(io.BytesIO(saved), weights_only=False)
    return loaded


def _scales(model: nn.Module) -> tuple[tuple[str, str, tuple[float, ...]], ...]:
    """Scales and zero points that modules hold, as float32, which files have them in."""
    return tuple(
        (name, what, tuple(torch.as_tensor(held, dtype=torch.float32).reshape(-1).tolist()))
        for name, module in model.named_modules()
        for what in ("scale", "zero_point")
        if isinstance(held := getattr(module, what, None), (float, int, torch.Tensor))
    )


def _script_again(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.jit.save(model, buffer)
    buffer.seek(0)
    again: nn.Module = torch.jit.load(buffer)
    return again
