"""A migration as text lines and as a table; never prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.checks.score import step
from qreg.migrate.records import Candidate, Fate, Migration, Replacement
from qreg.quantization import METHODS
from qreg.records.case import Case
from qreg.records.measurement import Latency, Measurement
from qreg.records.numerics import Work
from qreg.report.comparison import MB, change_cell, environment_note, flips_cell, result_cell
from qreg.report.score import moved_cell, number, score_change_cell, score_heading

_DEPRECATED = "torch.ao.quantization"
# With fewer calls the 5th percentile is just the fastest.
_CALLS = 20
HEADERS = (
    "method",
    "accuracy %",
    "change\npoints",
    "p\ndetectable",
    "flips",
    "MB: file\nweights",
    "ms/sample\nbatch {}",
    "speed\nratio",
    "layers'\nwork",
)


def headline(migration: Migration) -> str:
    """A one-line summary: how many successors are fit."""
    case = migration.candidates[0].measurement.case
    counts = [
        f"{count} {fate.value}"
        for fate in Fate
        if (count := sum(one.fate is fate for one in migration.replacements))
    ]
    score = migration.candidates[0].measurement.score
    what = score.summary if score else "accuracy"
    word = f"no successor loses {what}" if migration.fit else "check before migrating"
    return f"{case.model} on {case.dataset}: {word}: {', '.join(counts)}"


def verdict_lines(migration: Migration) -> tuple[str, ...]:
    """A verdict for each pair, followed by the successor's other differences."""
    found = {one.measurement.case: one for one in migration.candidates}
    several = len({one.case.engine for one in migration.replacements}) > 1
    lines = []
    for one in migration.replacements:
        engine = f" @{one.case.engine}" if several else ""
        pair = f"{one.replaced.method} -> {one.case.method}{engine}"
        lines.append(f"{pair}: {one.fate.value}: {one.reason or _change(one)}")
        lines += [f"    {text}" for text in _differences(one, found)]
    return tuple(lines)


def _change(one: Replacement) -> str:
    if one.fate is Fate.SAME:
        return "all logits are bit-equal" if one.beside else "all outputs are bit-equal"
    if score := one.score:
        least = step(score, one.detectable).lstrip("+")
        return (
            f"{score.summary} {step(score, score.change)} ({step(score, score.low)} to "
            f"{step(score, score.high)}), p = {min(score.p_value, score.p_better):.2g} by the "
            f"{score.test} test; smallest detectable change: {least}"
        )
    beside = one.beside
    assert beside is not None
    return (
        f"{beside.change * 100:+.2f} points ({beside.low * 100:+.2f} to {beside.high * 100:+.2f}),"
        f" p = {beside.p_value:.2g}, {len(beside.flips)} flips; "
        f"smallest detectable drop: {one.detectable * 100:.2f} points"
    )


def _differences(one: Replacement, candidates: dict[Case, Candidate]) -> Iterator[str]:
    if not one.compared:
        return
    old, new = candidates[one.replaced], candidates[one.case]
    if new.work.simulated:
        layers = sum(each.count for each in new.work.floating)
        yield f"no int8 kernel ran: {layers} float operators between quantize and dequantize"
    yield from _slower(one, old.measurement, new.measurement)
    yield from _float_layers(old.measurement, new.measurement)
    if one.moved:
        yield f"first layer quantized differently: {one.moved}"
    if _DEPRECATED in one.after:
        yield f"also deprecated (part of {_DEPRECATED})"


def _slower(one: Replacement, old: Measurement, new: Measurement) -> Iterator[str]:
    """Batch sizes at which 95 % of the calls took longer than the deprecated method's median."""
    times = zip(one.latencies, old.latencies, new.latencies, strict=True)
    slow = [
        f"{beside.speed_up:.2f}x its speed at batch {beside.batch_size}"
        for beside, before, after in times
        if after.p5_ms > before.median_ms and after.calls >= _CALLS
    ]
    if slow:
        compiled = any(i.compiled and i.variant_of == one.case.method for i in METHODS.facts())
        yield (
            f"slower than {one.replaced.method}: {', '.join(slow)}"
            + ("; add --compiled to measure it compiled" if compiled else "")
        )


def _float_layers(old: Measurement, new: Measurement) -> Iterator[str]:
    if layers := new.size.float_layers:
        also = ", as with the deprecated method" if layers == old.size.float_layers else ""
        yield f"weights stay float in {', '.join(layers)}{also}"


def migration_table(migration: Migration) -> Table:
    """A table of fp32 and each deprecated method with its successors below it."""
    table = Table(title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    first, *headers = headers_of(migration)
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for group in groups(migration):
        for row in group:
            table.add_row(*row)
        table.add_section()
    return table


def headers_of(migration: Migration) -> tuple[str, ...]:
    """The column headers, with the timed batch sizes."""
    times = migration.candidates[0].measurement.latencies
    score = migration.candidates[0].measurement.score
    own = {}
    if score:
        own = {"accuracy %": score_heading(score), "change\npoints": "change", "flips": "moved"}
    batches = " | ".join(str(t.batch_size) for t in times)
    return tuple(own.get(h, h).format(batches) for h in HEADERS)


def groups(migration: Migration) -> Iterator[list[tuple[str, ...]]]:
    """Rows of cells, grouped by deprecated method."""
    found = {one.measurement.case: one for one in migration.candidates}
    yield [_row(migration.candidates[0], None)]
    for case in dict.fromkeys(one.replaced for one in migration.replacements):
        old = [_row(found[case], None)] if case in found else [_missing(case, "not measured")]
        pairs = [one for one in migration.replacements if one.replaced == case]
        yield old + [
            _row(found[one.case], one) if one.compared else _missing(one.case, one.fate.value)
            for one in pairs
        ]


def _missing(case: Case, why: str) -> tuple[str, ...]:
    return (_name(case), why, *[""] * (len(HEADERS) - 2))


def _name(case: Case) -> str:
    return case.method if case.method == "fp32" else f"{case.method}\n  @{case.engine}"


def _row(one: Candidate, replacement: Replacement | None) -> tuple[str, ...]:
    measured = one.measurement
    return (
        _name(measured.case),
        result_cell(measured),
        *_agreement(replacement),
        f"{measured.size.file_bytes / MB:.2f}\n{measured.size.weight_bytes / MB:.3f}",
        "\n".join(f"{time.median_ms:.3f}" for time in measured.latencies),
        _speed(replacement.latencies) if replacement else "",
        work_cell(one.work),
    )


def _agreement(one: Replacement | None) -> tuple[str, str, str]:
    if one is None or not one.compared:
        return ("", "", "")
    if score := one.score:
        least = number(one.detectable, score.unit)
        chance = f"{min(score.p_value, score.p_better):.2g}\n{least}"
        return score_change_cell(score), chance, moved_cell(score)
    assert one.beside is not None
    chance = f"{one.beside.p_value:.2g}\n{one.detectable * 100:.2f}"
    return change_cell(one.beside), chance, flips_cell(one.beside)


def _speed(times: Sequence[Latency]) -> str:
    return "\n".join(f"{time.speed_up:.2f}" for time in times)


def work_cell(work: Work) -> str:
    """``3 int8, 3 float``; "simulated" where float operators compute on dequantized codes."""
    int8, floats = (sum(each.count for each in some) for some in (work.int8, work.floating))
    if work.simulated:
        return f"{floats} float,\nsimulated"
    return ",\n".join(f"{n} {what}" for n, what in ((int8, "int8"), (floats, "float")) if n)


def migration_notes(migration: Migration) -> tuple[str, ...]:
    """Notes for the table, one sentence per line."""
    level = max((one.level for one in migration.replacements), default=0.0)
    old = next(one.replaced for one in migration.replacements)
    score = next((one.score for one in migration.replacements if one.score), None)
    moved, interval = ("moved", "90 %") if score else ("flips", "95 %")
    test = f"{score.test} test, by side" if score else "exact two-sided McNemar test"
    return (
        f"change, p, {moved} and speed ratio: compared with the deprecated method on the same "
        f"samples; paired {interval} confidence interval; {test}, significant up to "
        f"{level / 2 if score else level:.2g} (5 % per run, Bonferroni-corrected); detectable: "
        f"the smallest {'change' if score else 'drop in points'} detectable with 80 % power.",
        "speed ratio: the deprecated method's time over the successor's, interleaved in one "
        "process. For a verdict on speed use pairs of processes: qreg speed check --baseline . "
        f"--candidate . --model {old.model} --methods SUCCESSOR --against {old.method}",
        "layers' work: the operators of one forward pass that compute layers; simulated: float "
        "operators between quantize and dequantize.",
        environment_note(migration.candidates[0].measurement),
    )
