"""What pages show of measured cases: samples that changed from fp32, layers, classes, sizes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qreg.artifacts.onnx_file import OnnxModel
from qreg.checks.diverging import divergence
from qreg.data import Dataset, Samples, inputs
from qreg.data.views import views
from qreg.measure.observation import WHOLE, kept_elements
from qreg.metrics.layers import layer_numerics
from qreg.metrics.swap_file import file_in_float, weights_by_layer
from qreg.metrics.tensors import sqnr
from qreg.quantization.engines import use_engine
from qreg.records.detail import (
    CaseDetail,
    ClassShift,
    Confusion,
    InFloat,
    LayerSqnr,
    SampleDetail,
    SizeRow,
    View,
)
from qreg.records.measurement import Agreement, Flip, Measurement, Size

if TYPE_CHECKING:
    from qreg.measure.comparison import CaseRuns, Run

#: What is shown at most: samples, classes and confusions, sizes, layers.
SAMPLES, CLASSES, SIZES, LAYERS = 12, 8, 16, 600
# Samples whose layer outputs are compared, which are kept in memory.
_LAYER_SAMPLES = 16
Rows = npt.NDArray[np.int64]


def attempt(what: str, notes: list[str], work: Callable[[], Any], nothing: Any) -> Any:
    """What `work` returns; if it raises, `nothing`, and a note that says why."""
    try:
        return work()
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        notes.append(f"{what} could not be collected: {type(error).__name__}: {text}")
        return nothing


def class_name(dataset: Dataset, label: int) -> str:
    """The name of a class, or its number where it has none."""
    return dataset.classes[label] if label < len(dataset.classes) else str(label)


def class_shifts(
    labels: Rows, expected: Rows, observed: Rows, name: Callable[[int], str]
) -> tuple[ClassShift, ...]:
    """The classes with the largest change of right predictions (N,), losses first."""
    found = []
    for label in np.unique(labels).tolist():
        rows = labels == label
        before, now = expected[rows] == label, observed[rows] == label
        found.append(ClassShift(name(label), int(rows.sum()), int(before.sum()), int(now.sum())))
    moved = [one for one in found if one.before != one.now]
    return tuple(sorted(moved, key=lambda one: one.now - one.before)[:CLASSES])


def confusions(
    labels: Rows, expected: Rows, observed: Rows, name: Callable[[int], str]
) -> tuple[Confusion, ...]:
    """The most frequent changes of predictions (N,)."""
    rows = np.flatnonzero(observed != expected)
    columns = (labels, expected, observed)
    counts = Counter(zip(*(column[rows].tolist() for column in columns), strict=True))
    return tuple(
        Confusion(name(label), name(before), name(now), count)
        for (label, before, now), count in counts.most_common(CLASSES)
    )


def size_rows(observed: Size, reference: Size) -> tuple[SizeRow, ...]:
    """Bytes by layer and dtype, those that changed and the largest first; the rest in one row."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for side, size in enumerate((reference, observed)):
        for one in size.tensors:
            counts[one.layer, one.dtype][side] += one.bytes
    rows = [SizeRow(layer, dtype, *both) for (layer, dtype), both in counts.items()]
    rows.sort(key=lambda row: (row.before == row.now, -max(row.before, row.now)))
    shown, rest = rows[:SIZES], rows[SIZES:]
    if rest:
        old, new = sum(row.before for row in rest), sum(row.now for row in rest)
        shown.append(SizeRow(f"{len(rest)} more", "", old, new))
    return tuple(shown)


def sample_views(index: int, parts: Sequence[Samples], dataset: Dataset) -> tuple[View, ...]:
    """What a page shows of a sample; () where none of the parts has it."""
    for part in parts:
        if len(found := part.take([index])):
            sample = found.read(np.arange(1)).inputs
            return views(sample, text=_text(found), mean=dataset.mean, std=dataset.std)
    return ()


def _text(samples: Samples) -> str:
    try:
        return samples.text(0)
    except Exception:  # a method of the user's that means something else: numbers are shown
        return ""


def telling(lost: bool, won: bool, margin: float | None) -> tuple[int, float]:
    """Orders flips: lost samples first, and those that were decided most clearly."""
    return (0 if lost else 2 if won else 1), -(margin or 0.0)


def run_details(runs: CaseRuns, measured: Sequence[Measurement | Any]) -> tuple[CaseDetail, ...]:
    """What a page shows of each measured case, compared with fp32, the first."""
    from qreg.measure.comparison import Run

    pairs = [
        (run, one)
        for run, one in zip(runs.runs, measured, strict=True)
        if isinstance(run, Run) and isinstance(one, Measurement)
    ]
    return tuple(_run_detail(run, one, pairs[0], runs) for run, one in pairs)


def _run_detail(
    run: Run, one: Measurement, reference: tuple[Run, Measurement], runs: CaseRuns
) -> CaseDetail:
    notes: list[str] = []
    fp32 = reference[1]
    parts: dict[str, Any] = {
        "file_bytes": one.size.file_bytes,
        "speed_up": one.latencies[0].speed_up,
        "sizes": size_rows(one.size, fp32.size),
        "layers": (layers := attempt("layers", notes, partial(_layers, run, runs), ())),
        "in_float": attempt("restored", notes, partial(_in_float, run, runs, layers), ()),
        **_value(one),
    }
    if one is not fp32:
        parts["file_bytes_before"] = fp32.size.file_bytes
        parts["value_before"] = _value(fp32)["value"]
        changed = attempt("samples", notes, partial(_flips, run, one, reference[0], runs), {})
        parts |= changed
    return CaseDetail(one.case, **parts, notes=tuple(notes))


def _value(one: Measurement) -> dict[str, Any]:
    if one.accuracy is not None:
        return {"measure": "accuracy", "unit": "%", "value": one.accuracy.share}
    score = one.score
    if score is None:
        return {"measure": "", "unit": "", "value": None}
    return {"measure": score.summary, "unit": score.unit, "value": score.value}


def _layers(run: Run, runs: CaseRuns) -> tuple[LayerSqnr, ...]:
    subject, first = run.subject, runs.test.first(_LAYER_SAMPLES).inputs
    with use_engine(subject.case.engine):
        found = layer_numerics(subject.run, subject.model, subject.source, first)
    return tuple(LayerSqnr(one.name, one.kind, None, one.sqnr_db) for one in found[:LAYERS])


@torch.no_grad()
def _in_float(run: Run, runs: CaseRuns, layers: Sequence[LayerSqnr]) -> tuple[InFloat, ...]:
    """Compute the diverging layers of a file in float, one at a time."""
    subject, first = run.subject, runs.test.first(_LAYER_SAMPLES).inputs
    found = divergence(layers)
    if found is None or not isinstance(subject.model, OnnxModel):
        return ()
    count = inputs.count(first)

    def outputs(model: nn.Module) -> torch.Tensor:
        rows = kept_elements(inputs.call(model, first), count, most=WHOLE)[0]
        return torch.from_numpy(np.ascontiguousarray(rows))

    wanted, weights = outputs(subject.source), weights_by_layer(subject.source)
    before = sqnr(outputs(subject.model), wanted)
    names = [found.first[0], *([found.fall[0]] if found.fall else [])]
    made = []
    for name in dict.fromkeys(names):
        changed = file_in_float(subject.model, name, weights)
        now = None if changed is None else sqnr(outputs(changed), wanted)
        if before is not None and now is not None:
            made.append(InFloat(name, before, now))
    return tuple(made)


def _flips(run: Run, one: Measurement, reference: Run, runs: CaseRuns) -> dict[str, Any]:
    agreement = next((a for a in one.agreements if a.reference == "fp32"), None)
    if agreement is None or run.observation.labels is None:
        return {}
    name = partial(class_name, runs.dataset)
    columns = (run.observation.labels, reference.predictions, run.predictions, name)
    return {
        "changed": len(agreement.flips),
        "samples": tuple(_flip_details(agreement, run, reference, runs)),
        "classes": class_shifts(*columns),
        "confusions": confusions(*columns),
    }


def _flip_details(
    agreement: Agreement, run: Run, reference: Run, runs: CaseRuns
) -> Iterator[SampleDetail]:
    rows = {index: row for row, index in enumerate(run.observation.index.tolist())}

    def margin(of: Run, flip: Flip) -> float:
        lower, higher = np.partition(of.observation.rows[rows[flip.index]], -2)[-2:]
        return float(higher - lower)

    def order(flip: Flip) -> tuple[int, float]:
        lost, won = flip.reference == flip.label, flip.observed == flip.label
        return telling(lost, won, margin(reference, flip))

    for flip in sorted(agreement.flips, key=order)[:SAMPLES]:
        lost, won = flip.reference == flip.label, flip.observed == flip.label
        yield SampleDetail(
            index=flip.index,
            label=class_name(runs.dataset, flip.label),
            expected=class_name(runs.dataset, flip.reference),
            observed=class_name(runs.dataset, flip.observed),
            expected_margin=margin(reference, flip),
            observed_margin=margin(run, flip),
            worse=True if lost else False if won else None,
            views=sample_views(flip.index, (runs.test,), runs.dataset),
        )
