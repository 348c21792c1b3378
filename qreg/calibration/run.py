"""Auditing calibration: draw, quantize and score; then look at what the ranges leave out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from qreg.calibration.records import CalibrationAudit, DrawResult, RangeSite
from qreg.calibration.rule import drift, enough, summarize_size, wander, with_drift
from qreg.data import Dataset, Samples, inputs
from qreg.data.draw import RANDOM, STRATIFIED, Draw
from qreg.data.inputs import Inputs
from qreg.diagnosis.run import raised_failure
from qreg.errors import QregError, UnavailableError
from qreg.measure.comparison import BATCH
from qreg.measure.observation import Observation, Observer
from qreg.measure.options import Options, load_test
from qreg.measure.subject import Subject, calibration_samples, case_setup, prepare
from qreg.metrics.graph_layers import Codes, graph_codes
from qreg.metrics.graphs import exported_graph
from qreg.metrics.layers import float_twin, layer_outputs
from qreg.quantization.engines import use_engine
from qreg.records.case import Case, Failure
from qreg.stats.permutation import spread_of_a_sample
from qreg.tasks import whole_set_summary

Array = npt.NDArray[np.float64]
Range = tuple[float, float]
# Samples from which scales are read, of each draw, and calibration samples outside of the first.
_FEW, _HELD_OUT = 2, 512
_SHARES = (64, 16, 4, 1)


@dataclass(frozen=True)
class AuditRequest:
    """What to audit.

    Attributes:
        draws: how many of each size.
        sizes: of the calibration set; () for four up to the dataset's own.
        within: what a further draw may change: percentage points of a share, else in the unit of
            the score; None for the standard error of the score on the test samples.
    """

    case: Case
    draws: int
    options: Options
    sizes: tuple[int, ...] = ()
    within: float | None = None


#: A draw: how many samples, and its seed.
Key = tuple[int, int]


@dataclass(frozen=True)
class Drawn:
    """What a draw's model scored, and the scale and zero point of each layer."""

    score: float
    ranges: tuple[tuple[str, float, int], ...]


class Elsewhere(Protocol):
    """Quantizes with draws in other processes."""

    def start(self, keys: Sequence[Key]) -> None:
        """Have these done."""

    def results(self) -> Mapping[Key, Drawn]:
        """What all that were started found."""


def audit_calibration(
    request: AuditRequest, elsewhere: Elsewhere | None = None
) -> CalibrationAudit:
    """Quantize with every draw, score each, and compare the ranges with the test data.

    Args:
        elsewhere: does all draws but those whose models are looked at; None for this process.

    Raises:
        QregError: the method observes no calibration samples, the split is too small, or the
            model's code raised.
        UnavailableError: this machine lacks what the case needs.
    """
    try:
        return _audited(request, elsewhere)
    except QregError:
        raise
    except Exception as error:
        found = raised_failure(request.case, error)
        raise QregError(
            f"{request.case}: {found.text}", hint=found.hint, details=found.details
        ) from error


def _audited(request: AuditRequest, elsewhere: Elsewhere | None) -> CalibrationAudit:
    case, options = request.case, request.options
    with use_engine(case.engine), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # those of building are recorded by other commands
        audit = drawing(case, options)
        sizes = _sizes(request, audit.usual, audit.whole)
        plan = [(size, seed) for size in sizes for seed in range(request.draws)]
        # the first of the largest size is looked at, and the last says how sure a score is
        own = plan if elsewhere is None else [(sizes[-1], 0), plan[-1]]
        if elsewhere is not None:
            elsewhere.start([key for key in plan if key not in own])
        drawn: dict[Key, Drawn] = {}
        for number, (size, seed) in enumerate(own):
            options.progress(number, len(own) + 1, f"draw {seed + 1} of {size} samples")
            drawn[size, seed] = audit.draw(size, seed)
        if elsewhere is not None:
            drawn |= elsewhere.results()
        results = [DrawResult(*key, drawn[key].score) for key in plan]
        options.progress(len(plan), len(plan) + 1, "ranges at test time")
        summaries = tuple(
            summarize_size([one for one in results if one.size == size]) for size in sizes
        )
        within = request.within
        if within is None:
            within = audit.standard_error()
        elif audit.observation.score is None or audit.observation.score.unit == "%":
            within = within / 100
        largest = [drawn[sizes[-1], seed] for seed in range(request.draws)]
        sites = with_drift(tuple(audit.sites(sizes[-1], largest)))
    seen = audit.observation
    return CalibrationAudit(
        case=case,
        summary="accuracy" if seen.score is None else seen.score.summary,
        unit="%" if seen.score is None else seen.score.unit,
        samples=len(audit.test),
        held_out=audit.held_out,
        within=within,
        enough=enough(summaries, within),
        draws=tuple(results),
        sizes=summaries,
        sites=tuple(sorted(sites, key=lambda one: -one.wander)),
    )


def drawing(case: Case, options: Options) -> Audit:
    """A case whose calibration set can be drawn.

    Raises:
        QregError: there are no data.
    """
    dataset = options.dataset(case.dataset)
    return Audit(case, dataset, load_test(dataset, options), _whole(dataset, options), options)


def _whole(dataset: Dataset, options: Options) -> Samples:
    """All samples that calibration draws from."""
    every = replace(dataset, calibration=Draw((1 << 31) - 1, RANDOM))
    return calibration_samples(every, replace(options, calibration=0))


def _sizes(request: AuditRequest, usual: int, whole: Samples) -> tuple[int, ...]:
    most = len(whole) // 2
    if most < 1:
        raise QregError(f"{len(whole)} calibration samples leave nothing to draw from")
    if request.sizes:
        if max(request.sizes) > most:
            raise QregError(
                f"a draw of {max(request.sizes)} of {len(whole)} calibration samples",
                hint=f"draws of more than half of them are nearly the same: at most {most}",
            )
        return tuple(sorted(set(request.sizes)))
    largest = min(usual, most)
    return tuple(sorted({max(1, largest // share) for share in _SHARES}))


class Audit:
    """Builds and scores the draws; keeps the models of the largest size's first draw."""

    def __init__(
        self, case: Case, dataset: Dataset, test: Samples, whole: Samples, options: Options
    ) -> None:
        self._case, self._dataset, self._options = case, dataset, options
        self.test, self.whole, self.usual = test, whole, dataset.calibration.size
        self._setup = case_setup(dataset, test, options)
        self._codes: dict[int, dict[str, Codes]] = {}
        self._first: dict[int, Subject] = {}
        self._fp32: Subject | None = None
        self.held_out = 0

    def draw(self, size: int, seed: int) -> Drawn:
        """Quantize with one draw, and score it on the test samples."""
        subject = self._built(self._case, size, seed)
        self.observation = self._observed(subject)
        few = self.test.first(_FEW).inputs
        codes = _codes(subject, few)
        if seed == 0:
            self._first, self._codes = {size: subject}, {size: codes}
        seen = self.observation
        score = seen.correct / len(seen.index) if seen.score is None else seen.score.value
        ranges = ((name, one.scale, one.zero_point) for name, one in codes.items())
        return Drawn(float(score), tuple(ranges))

    def _samples(self, size: int, seed: int) -> Samples:
        return Draw(size, STRATIFIED, seed).of(self.whole)

    def _built(self, case: Case, size: int, seed: int) -> Subject:
        setup = replace(self._setup, calibration=lambda: self._samples(size, seed))
        made = prepare(case, setup)
        if isinstance(made, Failure):
            kind = UnavailableError if made.unavailable else QregError
            raise kind(f"{case}: {made.text}", hint=made.hint, details=made.details)
        if not made.calibration and case == self._case:
            raise QregError(
                f"method '{case.method}' observes no calibration samples",
                hint="choose one that does: --method static",
            )
        return made

    def _observed(self, subject: Subject) -> Observation:
        observer = Observer(self._dataset)
        if observer.needs_reference and self._fp32 is None:
            self._fp32 = self._built(replace(self._case, method="fp32"), 1, 0)
        for batch in self.test.batches(BATCH):
            reference = self._fp32.run(batch.inputs) if self._fp32 else None
            observer.add(subject.run(batch.inputs), batch, reference)
        return observer.result()

    def standard_error(self) -> float:
        """Of the score of the last draw, on the test samples."""
        seen = self.observation
        if seen.score is None:
            share = seen.correct / len(seen.index)
            return math.sqrt(max(share * (1 - share), 1 / len(seen.index)) / len(seen.index))
        summarize = whole_set_summary(seen.score)
        count = len(seen.score.index)
        if summarize is None:
            return float(np.std(seen.score.values)) / math.sqrt(count)
        width = max(map(len, seen.score.rows))
        rows = np.full((count, width), np.nan)
        for number, row in enumerate(seen.score.rows):
            rows[number, : len(row)] = row
        return spread_of_a_sample(rows, summarize) / math.sqrt(count)

    def sites(self, size: int, drawn: Sequence[Drawn]) -> Iterator[RangeSite]:
        """Every site with a range, of the draws of the largest size."""
        subject = self._first[size]
        every = [{name: pair for name, *pair in one.ranges} for one in drawn]
        names = [name for name in every[0] if all(name in one for one in every)]
        looked = self._looked_at(subject, size, len(drawn))
        for name in names:
            scales, zeros = zip(*(one[name] for one in every), strict=True)
            site = RangeSite(
                name=name,
                scale=float(np.median(scales)),
                wander=wander(scales),
                zero_points=(min(zeros), max(zeros)),
            )
            yield replace(site, **looked[name]) if name in looked else site

    def _looked_at(self, subject: Subject, size: int, draws: int) -> dict[str, dict[str, Any]]:
        """What test and held-out calibration samples have beyond the first draw, by site."""
        own = self._samples(size, 0)
        others = [self._samples(size, seed).index for seed in range(1, draws)]
        fresh = np.setdiff1d(np.unique(np.concatenate(others)), own.index)
        held = Draw(_HELD_OUT, RANDOM).of(self.whole.take(fresh)) if len(fresh) else None
        names = {name.partition("#")[0] for name in self._codes[size]}
        twin = float_twin(subject.source, subject.model)
        outputs = partial(layer_outputs, partial(inputs.call, twin), twin, names=names)
        if held is None or not len(held):
            return {}
        self.held_out = len(held)
        ranges: dict[str, Range] = {}
        for batch in own.batches(BATCH):
            for name, values in outputs(batch.inputs).items():
                low, high = ranges.get(name, (math.inf, -math.inf))
                ranges[name] = min(low, float(values.min())), max(high, float(values.max()))
        codes = self._codes[size]
        ends = {name: _ends(one) for name, one in codes.items()}
        at_test = _outside(outputs, self.test, ranges, ends)
        at_held = _outside(outputs, held, ranges, ends)
        found: dict[str, dict[str, Any]] = {}
        for name in ranges:
            if name not in at_test or name not in at_held:
                continue
            test, other = at_test[name], at_held[name]
            larger, p_value = drift(test.peaks, other.peaks)
            found[name] = {
                "clipped": float(test.clipped.mean()),
                "beyond": float(test.beyond.mean()),
                "beyond_held": float(other.beyond.mean()),
                "larger": larger,
                "p_value": p_value,
            }
        return found


@dataclass(frozen=True, eq=False)
class _Outside:
    """Of a site, one number a sample (N,): shares of its values, and its largest one.

    Attributes:
        clipped: beyond what codes can express.
        beyond: outside of the draw's range.
    """

    clipped: Array
    beyond: Array
    peaks: Array


def _outside(
    outputs: Callable[[Inputs], dict[str, torch.Tensor]],
    samples: Samples,
    ranges: dict[str, Range],
    ends: dict[str, Range],
) -> dict[str, _Outside]:
    """What the samples have outside of the sites' ranges, by the float model."""
    found: dict[str, list[list[Array]]] = {}
    for batch in samples.batches(BATCH):
        for name, values in outputs(batch.inputs).items():
            if name not in ranges or values.ndim < 1 or values.shape[0] != len(batch):
                continue
            flat = values.reshape(len(batch), -1).float()
            one = (
                _share(flat, ends.get(name, (-math.inf, math.inf))),
                _share(flat, ranges[name]),
                flat.abs().amax(dim=1).double().numpy(),
            )
            found.setdefault(name, []).append(list(one))
    return {
        name: _Outside(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        for name, parts in found.items()
    }


def _share(flat: torch.Tensor, ends: Range) -> Array:
    low, high = ends
    outside: Array = ((flat < low) | (flat > high)).double().mean(dim=1).numpy()
    return outside


def _ends(codes: Codes) -> Range:
    """The smallest and the largest value that codes express, and half a step more."""
    low, high = codes.ends
    half = 0.5 * codes.scale
    return (
        (low - codes.zero_point) * codes.scale - half,
        (high - codes.zero_point) * codes.scale + half,
    )


def _codes(subject: Subject, given: Inputs) -> dict[str, Codes]:
    """The quantized outputs of all layers that have one scale, by layer."""
    if graph := exported_graph(subject.model):
        return graph_codes(graph, given)
    found = {}
    for name, values in layer_outputs(subject.run, subject.model, given).items():
        if not values.is_quantized or values.qscheme() != torch.per_tensor_affine:
            continue
        if values.dtype not in (torch.quint8, torch.qint8):
            continue
        ends = (0, 255) if values.dtype == torch.quint8 else (-128, 127)
        scale, zero = values.q_scale(), values.q_zero_point()
        found[name] = Codes(values.dequantize(), scale, zero, ends)
    return found
