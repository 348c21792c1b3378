"""The comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qreg.models import CONTIGUOUS
from qreg.quantization import METHODS
from qreg.records.case import Failure
from qreg.records.measurement import Accuracy, Agreement, Measurement, Role
from qreg.records.score import Score
from qreg.records.weights import parse_weights
from qreg.report.score import moved_cell, number, score_change_cell, score_heading

MB = 1e6
ONNXRUNTIME_FLOAT = "ort-fp32"


def comparison_table(results: Sequence[Measurement | Failure]) -> Table:
    """A row per case, with confidence intervals where they exist."""
    table = Table(
        title=_title(results),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("method", no_wrap=True)
    engines = _several_engines(results)
    if engines:
        table.add_column("engine", no_wrap=True)
    batch = _throughput_batch(results)
    controls = bool(_control_names(results))
    compared = (
        "vs fp32",
        "moved" if _score(results) else "flips",
        *(["vs control"] if controls else []),
    )
    sizes = ("file\nMB", "weights\nMB")
    times = ("ms/sample\nbatch 1", f"ms/sample\nbatch {batch}", f"speed-up\n1 | {batch}")
    for header in (_heading(results), *compared, *sizes, *times):
        table.add_column(header, justify="right")
    for result in results:
        name = [result.case.method, *([result.case.engine] if engines else [])]
        table.add_row(*name, *_cells(result, controls=controls))
    return table


def sorted_results(
    results: Sequence[Measurement | Failure], *, by: str
) -> tuple[Measurement | Failure, ...]:
    """fp32, then the others with the best first, then those that failed.

    Args:
        by: "quality", "size", "speed" (at batch 1), or "given" for the given order.
    """
    first, *rest = results
    if by == "given":
        return tuple(results)
    return (first, *sorted(rest, key=lambda one: _rank(one, by)))


def _rank(one: Measurement | Failure, by: str) -> tuple[bool, float]:
    if isinstance(one, Failure):
        return True, 0.0
    if by == "size":
        return False, one.size.file_bytes
    if by == "speed":
        return False, -one.latencies[0].speed_up
    if one.accuracy is not None:
        return False, -one.accuracy.share
    score = one.score
    return False, 0.0 if score is None else score.value * (-1 if score.higher_is_better else 1)


def comparison_notes(results: Sequence[Measurement | Failure]) -> tuple[str, ...]:
    """Notes for the table, one sentence per line."""
    measured = [result for result in results if isinstance(result, Measurement)]
    first = measured[0]
    lines = [
        _score_note(first.score)
        if first.score
        else "accuracy: 95 % Wilson interval; vs: change in points on the same samples, paired "
        "95 % interval; flips: predictions unlike fp32's (- right to wrong, + wrong to right).",
        *_control_notes(results),
        _detectable(measured),
        environment_note(first),
        _onnxruntime_note(measured),
    ]
    lines += weights_notes(measured)
    lines += [f"{CONTIGUOUS}."] if CONTIGUOUS in first.warnings else []
    calibrated = next((m for m in measured if m.calibration), None)
    if calibrated:
        low, high = calibrated.calibration[0], calibrated.calibration[-1]
        count = len(calibrated.calibration)
        lines.append(f"static: calibrated on {count} samples, indices {low} to {high}.")
    lines += [f"{note}." for note in first.notes]
    partly = {m.case.method: m for m in reversed(measured) if _partly_float(m)}
    lines += [_float_layers(m) for m in partly.values()]
    lines += [f"{name}: no int8 weights." for name in sorted(_all_float(measured))]
    return tuple(line for line in lines if line)


def _control_notes(results: Sequence[Measurement | Failure]) -> list[str]:
    """What the methods with a control of their own are fairly compared with."""
    why = {
        ONNXRUNTIME_FLOAT: "the float model exported, and run by onnxruntime",
    }
    trained = "with the same extra training steps in float"
    return [
        f"control of {'ort methods' if name in why else 'qat'}: {name}, {why.get(name, trained)}."
        for name in _control_names(results)
    ]


def _onnxruntime_note(measured: Sequence[Measurement]) -> str:
    where = next((m.environment for m in measured if m.environment.onnxruntime), None)
    if where is None:
        return ""
    return (
        f"onnxruntime {where.onnxruntime}, {where.provider}, graph optimization: "
        f"{where.graph_level}."
    )


def weights_notes(measured: Sequence[Measurement]) -> list[str]:
    """Which methods have which weights, a line for each weights."""
    methods: dict[str, list[str]] = {}
    for one in measured:
        methods.setdefault(str(parse_weights(one.checkpoint)), []).append(one.case.method)
    several = len(methods) > 1
    return [
        f"weights{f' of {chr(44).join(dict.fromkeys(names))}' if several else ''}: {weights}."
        for weights, names in methods.items()
    ]


def environment_note(measured: Measurement) -> str:
    """The number of samples, and the environment."""
    where = measured.environment
    return (
        f"{_total(measured)} test samples, {where.threads} thread"
        f"{'' if where.threads == 1 else 's'}, torch {where.torch}, "
        f"{where.cpu_capability}{' with VNNI' if where.vnni else ', no VNNI'}."
    )


def _total(measured: Measurement) -> int:
    if measured.accuracy is not None:
        return measured.accuracy.total
    return len(measured.score.index) if measured.score else 0


def failure_lines(results: Sequence[Measurement | Failure]) -> tuple[str, ...]:
    """Why cases were not measured and what to do about it, two lines each."""
    return tuple(
        f"{failure.case}: {'unavailable' if failure.unavailable else 'failed'}: {failure.text}"
        + (f"\n  {failure.hint}" if failure.hint else "")
        for failure in results
        if isinstance(failure, Failure)
    )


def _score(results: Sequence[Measurement | Failure]) -> Score | None:
    return next((r.score for r in results if isinstance(r, Measurement) and r.score), None)


def _heading(results: Sequence[Measurement | Failure]) -> str:
    score = _score(results)
    return score_heading(score) if score else "accuracy %"


def _score_note(score: Score) -> str:
    better = "higher" if score.higher_is_better else "lower"
    return (
        f"{score.summary}: of task {score.task}, {better} is better; vs: its change on the same "
        f"samples, 90 % interval; moved: samples whose {score.name} differs (- worse, + better)."
    )


def _several_engines(results: Sequence[Measurement | Failure]) -> bool:
    return len({result.case.engine for result in results}) > 1


def _title(results: Sequence[Measurement | Failure]) -> str:
    case = results[0].case
    engines = dict.fromkeys(result.case.engine for result in results)
    return f"{case.model} on {case.dataset}, engine {', '.join(engines)}"


def _throughput_batch(results: Sequence[Measurement | Failure]) -> int:
    sizes = [r.latencies[-1].batch_size for r in results if isinstance(r, Measurement)]
    return max(sizes, default=0)


def _cells(result: Measurement | Failure, *, controls: bool) -> list[Text | str]:
    if isinstance(result, Failure):
        return [Text("unavailable" if result.unavailable else "failed", style="red")]
    size, (single, batch) = result.size, result.latencies
    changes = {a.reference: (change_cell(a), flips_cell(a)) for a in result.agreements}
    changes |= {name: (score_change_cell(c), moved_cell(c)) for name, c in result.score_changes}
    styles = {a.reference: _style(a.low, a.high) for a in result.agreements}
    styles |= {
        name: _style(*((c.low, c.high) if c.higher_is_better else (-c.high, -c.low)))
        for name, c in result.score_changes
    }
    change, moved = changes.get("fp32", ("", ""))
    control = next((cells for name, cells in changes.items() if name != "fp32"), ("", ""))
    return [
        result_cell(result),
        Text(change, style=styles.get("fp32", "")),
        moved,
        *([control[0]] if controls else []),
        f"{size.file_bytes / MB:.2f}",
        f"{size.weight_bytes / MB:.3f}",
        f"{single.median_ms:.3f}",
        f"{batch.median_ms:.3f}",
        f"{single.speed_up:.2f} {batch.speed_up:.2f}",
    ]


def _style(low: float, high: float) -> str:
    """The colour of a change whose interval excludes 0; more is better."""
    return "red" if high < 0 else "green" if low > 0 else ""


def result_cell(measured: Measurement) -> str:
    """Accuracy with its interval, or the summary of the task's scores."""
    if measured.accuracy is not None:
        return accuracy_cell(measured.accuracy)
    score = measured.score
    return number(score.value, score.unit) if score else ""


def accuracy_cell(accuracy: Accuracy) -> str:
    """The percentage and its interval."""
    return f"{accuracy.share * 100:.2f}\n{accuracy.low * 100:.1f}..{accuracy.high * 100:.1f}"


def change_cell(agreement: Agreement) -> str:
    """The change in points and its interval."""
    return f"{agreement.change * 100:+.2f}\n{agreement.low * 100:+.1f}..{agreement.high * 100:+.1f}"


def flips_cell(agreement: Agreement) -> str:
    """The number of flips, and how many of them lost and won."""
    return f"{len(agreement.flips)}\n-{agreement.lost} +{agreement.won}"


def _control_names(results: Sequence[Measurement | Failure]) -> list[str]:
    measured = [result for result in results if isinstance(result, Measurement)]
    names = {a.reference for m in measured for a in m.agreements}
    names |= {name for m in measured for name, _ in m.score_changes}
    return sorted(names - {"fp32"})


def _detectable(measured: Sequence[Measurement]) -> str:
    several = _several_engines(measured)
    drops = [
        f"{m.case.method}{f'@{m.case.engine}' if several else ''} {a.detectable * 100:.2f}"
        for m in measured
        for a in m.agreements
        if a.reference == "fp32"
    ]
    if not drops:
        return ""
    test = "exact McNemar, one-sided 5 %, power 80 %"
    return f"smallest detectable accuracy drop from fp32 ({test}), points: {', '.join(drops)}."


def _partly_float(measurement: Measurement) -> bool:
    weights = [t for t in measurement.size.tensors if t.role is Role.WEIGHT]
    return 0 < len(measurement.size.float_layers) < len(weights)


def _all_float(measured: Sequence[Measurement]) -> set[str]:
    """Quantizing methods that left every weight float."""
    floats = [m for m in measured if m.size.float_layers and not _partly_float(m)]
    return {m.case.method for m in floats if not METHODS.info(m.case.method).float_only}


def _float_layers(measurement: Measurement) -> str:
    layers = measurement.size.float_layers
    shown = ", ".join(layers[:6]) + (f" and {len(layers) - 6} more" if len(layers) > 6 else "")
    return f"{measurement.case.method}: weights stay float in {shown}."
