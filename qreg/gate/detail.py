"""Collecting what a page shows of a judged case: samples that changed, layers, sizes, causes.

It runs after the verdict, which it cannot change. Whatever fails becomes a note.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.checks.samples import shared_images
from qreg.data import Dataset
from qreg.data.inputs import call
from qreg.gate.observe import Gate
from qreg.gate.samples import GateSamples
from qreg.measure.detail import (
    LAYERS,
    SAMPLES,
    attempt,
    class_name,
    class_shifts,
    confusions,
    sample_views,
    size_rows,
    telling,
)
from qreg.measure.subject import Subject
from qreg.metrics.graph_layers import graph_outputs
from qreg.metrics.graphs import exported_graph
from qreg.metrics.layers import layer_outputs
from qreg.metrics.parameters import weights
from qreg.quantization.engines import use_engine
from qreg.records.baseline import Snapshot
from qreg.records.case import Environment
from qreg.records.detail import (
    CaseDetail,
    EnvironmentChange,
    Histogram,
    LayerSqnr,
    SampleDetail,
)
from qreg.records.numerics import Layer, Quantizer
from qreg.records.verdict import Check, MovedImage, Outcome

if TYPE_CHECKING:
    from qreg.gate.judge import Judged

_BINS = 48
# Samples whose layer outputs are counted, as many as the gate compares.
_HISTOGRAM_SAMPLES = 16
_RANGES = {"quint8": (0, 255), "uint8": (0, 255), "qint8": (-128, 127), "int8": (-128, 127)}
Array = npt.NDArray[np.float32]


def collect(judged: Judged, gate: Gate) -> CaseDetail:
    """What a page shows of a case: everything, or of a PASS its figures only. Never raises."""
    observed, verdict = judged.observed, judged.verdict
    notes: list[str] = []
    parts: dict[str, Any] = attempt("figures", notes, lambda: _figures(judged), {})
    if verdict.outcome is not Outcome.PASS:
        with _randomness_kept():
            samples = gate.samples(observed.case.dataset)
            differences = partial(_differences, judged, samples.dataset)
            parts |= attempt("differences", notes, differences, {})
            found = attempt("samples", notes, lambda: _samples(judged, samples), (0, ()))
            parts |= {"changed": found[0], "samples": found[1]}
            histograms = partial(_histograms, judged, samples)
            parts["histograms"] = attempt("histograms", notes, histograms, ())
    return CaseDetail(observed.case, **parts, notes=tuple(notes))


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Leave the next case the random numbers that it would have had."""
    numbers, words = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numbers)
            random.setstate(words)


def _figures(judged: Judged) -> dict[str, Any]:
    observed, verdict = judged.observed, judged.verdict
    baseline = judged.baseline.snapshot if judged.baseline else None
    found: dict[str, Any] = {
        "where": observed.environment,
        "file_bytes": observed.size.file_bytes,
        "file_bytes_before": baseline.size.file_bytes if baseline else None,
        "approvals": judged.baseline.history if judged.baseline else (),
    }
    if observed.score is not None:
        score = verdict.score
        found |= {
            "measure": observed.score.summary,
            "unit": observed.score.unit,
            "value": observed.score.value,
        }
        found["value_before"] = score.expected if score else None
    elif observed.predictions:
        change = verdict.accuracy
        found |= {
            "measure": "accuracy",
            "unit": "%",
            "value": observed.correct / len(observed.predictions),
        }
        if change:
            found["value"] = change.observed / change.total
            found["value_before"] = change.expected / change.total
    if verdict.promise:
        found["speed_up"] = math.exp(verdict.promise.observed)
        found["speed_up_before"] = math.exp(verdict.promise.expected)
    return found


def _differences(judged: Judged, dataset: Dataset) -> dict[str, Any]:
    observed = judged.observed
    baseline = judged.baseline.snapshot if judged.baseline else None
    there = {layer.name: layer for layer in baseline.numerics.layers} if baseline else {}
    found: dict[str, Any] = {
        "layers": tuple(
            LayerSqnr(one.name, one.kind, _sqnr(there.get(one.name)), one.sqnr_db)
            for one in observed.numerics.layers[:LAYERS]
        ),
        "sizes": size_rows(observed.size, baseline.size if baseline else observed.size),
    }
    if baseline is None:
        return found
    found["environment"] = tuple(_environment(baseline.environment, observed.environment))
    if observed.score is None and judged.verdict.accuracy:
        shared = shared_images(observed, baseline)
        name = partial(class_name, dataset)
        columns = (shared.labels, shared.expected, shared.observed, name)
        found |= {"classes": class_shifts(*columns), "confusions": confusions(*columns)}
    return found


def _sqnr(layer: Layer | None) -> float | None:
    return layer.sqnr_db if layer else None


def _environment(baseline: Environment, observed: Environment) -> Iterator[EnvironmentChange]:
    for one in fields(Environment):
        old, new = getattr(baseline, one.name), getattr(observed, one.name)
        if old != new:
            yield EnvironmentChange(one.name, _said(old), _said(new))


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


def _samples(judged: Judged, samples: GateSamples) -> tuple[int, tuple[SampleDetail, ...]]:
    """The number of samples that changed, and the most telling of them."""
    verdict = judged.verdict
    if verdict.moved:
        order = sorted(verdict.moved, key=_order)
        shown = [_flip(one, samples) for one in order[:SAMPLES]]
        return len(verdict.moved), tuple(shown)
    if verdict.score is None or judged.baseline is None:
        return 0, ()
    worse = _worse_scores(judged.observed, judged.baseline.snapshot)
    shown = [_scored(one, judged.observed, samples) for one in worse[:SAMPLES]]
    return verdict.score.worse + verdict.score.better, tuple(shown)


def _order(flip: MovedImage) -> tuple[int, float]:
    lost, won = flip.expected == flip.label, flip.observed == flip.label
    return telling(lost, won, flip.expected_margin)


def _flip(flip: MovedImage, samples: GateSamples) -> SampleDetail:
    lost, won = flip.expected == flip.label, flip.observed == flip.label
    names = partial(class_name, samples.dataset)
    return SampleDetail(
        index=flip.index,
        label=names(flip.label),
        expected=names(flip.expected),
        observed=names(flip.observed),
        expected_margin=flip.expected_margin,
        observed_margin=flip.observed_margin,
        worse=True if lost else False if won else None,
        views=sample_views(flip.index, samples.parts, samples.dataset),
    )


@dataclass(frozen=True)
class _Scored:
    index: int
    baseline: float
    observed: float


def _worse_scores(observed: Snapshot, baseline: Snapshot) -> list[_Scored]:
    """Samples with a worse score, the worst first."""
    assert observed.score is not None
    assert baseline.score is not None
    old = dict(zip(baseline.score.index, baseline.score.values, strict=True))
    sign = 1 if observed.score.higher_is_better else -1
    pairs = zip(observed.score.index, observed.score.values, strict=True)
    found = [_Scored(index, old[index], value) for index, value in pairs if index in old]
    worse = [one for one in found if (one.observed - one.baseline) * sign < 0]
    return sorted(worse, key=lambda one: (one.observed - one.baseline) * sign)


def _scored(one: _Scored, observed: Snapshot, samples: GateSamples) -> SampleDetail:
    assert observed.score is not None
    old, new = (f"{observed.score.name} {value:.4g}" for value in (one.baseline, one.observed))
    pictures = sample_views(one.index, samples.parts, samples.dataset)
    return SampleDetail(one.index, "", old, new, None, None, True, pictures)


@torch.no_grad()
def _histograms(judged: Judged, samples: GateSamples) -> tuple[Histogram, ...]:
    """The output of the first layer that moved, and its weights where their parameters did."""
    name, subject = _moved_layer(judged), judged.subject
    layer = next((one for one in judged.observed.numerics.layers if one.name == name), None)
    if subject is None or layer is None:
        return ()
    old = judged.baseline.snapshot.numerics.layers if judged.baseline else ()
    there = next((one for one in old if one.name == name), None)
    with use_engine(subject.case.engine):
        output, floating = _outputs(subject, name, samples)
    found = [
        _histogram(name, "output", floating, output, layer.output, there.output if there else None)
    ]
    parameters = {one.check for one in judged.verdict.findings} & {Check.PARAMETERS, Check.LAYERS}
    if there and parameters and (layer.weight, layer.weight_digest) != (
        there.weight, there.weight_digest
    ):  # fmt: skip
        stored, plain = _weights(subject.model, name), _weights(subject.source, name)
        found.append(_histogram(name, "weight", plain, stored, layer.weight, there.weight))
    return tuple(one for one in found if one)


def _moved_layer(judged: Judged) -> str:
    """The first diverging layer; where none was located, the first one of a finding."""
    if judged.verdict.layer:
        return judged.verdict.layer
    names = {one.name for one in judged.observed.numerics.layers}
    told = [f.where for f in judged.verdict.findings if f.check in (Check.PARAMETERS, Check.LAYERS)]
    parts = (part for text in told for part in (text.partition(":")[0], text.partition(",")[0]))
    return next((part for part in parts if part in names), "")


def _outputs(
    subject: Subject, name: str, samples: GateSamples
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A layer's output, and the float model's; None where there is none."""
    first, base = samples.first(_HISTOGRAM_SAMPLES), name.partition("#")[0]
    twin = partial(call, subject.source)
    floating = layer_outputs(twin, subject.source, first, names={base}).get(name)
    if graph := exported_graph(subject.model):
        return graph_outputs(graph, first, name=name), floating
    return layer_outputs(subject.run, subject.model, first, names={base}).get(name), floating


def _weights(model: torch.nn.Module, name: str) -> torch.Tensor | None:
    modules = dict(model.named_modules())
    module = modules.get(name.partition("#")[0])
    found = list(weights(module).values()) if module is not None else []
    if not found and module is not None:  # a fused module keeps its weight in its first child
        found = [each for child in module.children() for each in weights(child).values()]
    return found[0] if len(found) == 1 else None


def _histogram(
    layer: str,
    what: str,
    floating: torch.Tensor | None,
    quantized: torch.Tensor | None,
    observed: Quantizer | None,
    baseline: Quantizer | None,
) -> Histogram | None:
    if floating is None or quantized is None:
        return None
    a, b = _flat(floating), _flat(quantized)
    if not len(a) or not len(b):
        return None
    start, stop = min(float(a.min()), float(b.min())), max(float(a.max()), float(b.max()))
    if not start < stop:
        return None
    edges = np.linspace(start, stop, _BINS + 1)
    return Histogram(
        layer=layer,
        what=what,
        start=start,
        stop=stop,
        floating=tuple(np.histogram(a, edges)[0].tolist()),
        quantized=tuple(np.histogram(b, edges)[0].tolist()),
        range_now=_range(observed),
        range_before=_range(baseline),
        clipped_now=_clipped(floating, observed),
        clipped_before=_clipped(floating, baseline),
    )


def _flat(tensor: torch.Tensor) -> Array:
    plain = tensor.dequantize() if tensor.is_quantized else tensor
    values: Array = plain.detach().float().flatten().numpy()
    return values[np.isfinite(values)]


def _ends(quantizer: Quantizer | None) -> tuple[Array, Array] | None:
    """The lowest and the highest value that each channel can represent."""
    if quantizer is None or quantizer.dtype not in _RANGES:
        return None
    lowest, highest = _RANGES[quantizer.dtype]
    scales, zeros = (
        np.array(quantizer.scales, np.float32),
        np.array(quantizer.zero_points, np.float32),
    )
    return (lowest - zeros) * scales, (highest - zeros) * scales


def _range(quantizer: Quantizer | None) -> tuple[float, float] | None:
    ends = _ends(quantizer)
    return (float(ends[0][0]), float(ends[1][0])) if ends and len(ends[0]) == 1 else None


def _clipped(floating: torch.Tensor, quantizer: Quantizer | None) -> float | None:
    """The share of float values that are not representable, beyond half a step."""
    ends = _ends(quantizer)
    if ends is None or quantizer is None:
        return None
    low, high = ends
    values = floating.detach().float().numpy()
    if len(low) > 1:
        if not values.ndim or values.shape[0] != len(low):  # channels are the first dimension
            return None
        shape = (len(low), *[1] * (values.ndim - 1))
        low, high = low.reshape(shape), high.reshape(shape)
    half = (high - low) / 510
    outside = (values < low - half) | (values > high + half)
    return float(outside.mean()) if outside.size else None
