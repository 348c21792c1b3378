"""One case under two PyTorch versions: the differences and their causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from qreg.records.baseline import Snapshot
from qreg.records.verdict import Verdict
from qreg.upgrade.compare.arrays import Array, first_difference, moved_indices, moved_rows
from qreg.upgrade.compare.files import compare_sizes, judge_files
from qreg.upgrade.compare.observers import difference_text, quantizing_cause, rounding_only
from qreg.upgrade.compare.pair import CasePair
from qreg.upgrade.records import CaseUpgrade, Cause, Cell, UpgradeLevel

# Number of samples whose layers are compared to locate the first difference.
_INSPECTED_SAMPLES = 8
# Causes that are never noise, however small their effect on these samples.
_TRUE_CHANGES = (Cause.OBSERVERS, Cause.CONVERT, Cause.SERIALIZATION, Cause.FAILS)


def compare_case(pair: CasePair, verdict: Verdict | None) -> CaseUpgrade:
    """Compare; `verdict` is the regression gate's, None where a side produced nothing."""
    first, second = pair.results
    if first.failure or second.failure:
        return _failed(pair)
    if first.of_file or second.of_file:
        return _of_file(pair, verdict)
    controls = (_cell(pair, by=0, on=0), _cell(pair, by=1, on=1))
    cells = tuple(
        replace(_cell(pair, by=by, on=1 - by), told=control.equal)
        for by, control in enumerate(controls)
    )
    found = CaseUpgrade(
        case=pair.case,
        level=UpgradeLevel.SAFE,
        quantizing=first_difference(first.state or {}, second.state or {}),
        cells=cells,
        artifacts=tuple(judge_files(pair, cells[0])),
        sizes=compare_sizes(first, second),
        verdict=verdict,
    )
    pieces = list(_causes(pair, found, controls))
    causes = tuple(dict.fromkeys(cause for cause, _ in pieces if cause is not Cause.NONE))
    found = replace(found, causes=causes, findings=tuple(text for _, text in pieces))
    return _levelled(found, pair)


def _of_file(pair: CasePair, verdict: Verdict | None) -> CaseUpgrade:
    """A file that both sides load: the same numbers, or the first layer that differs."""
    one, other = (results.snapshot for results in pair.results)
    found = CaseUpgrade(
        case=pair.case,
        level=UpgradeLevel.SAFE,
        sizes=compare_sizes(*pair.results),
        verdict=verdict,
    )
    if not _same(one, other):
        text = f"the same file computes other numbers, {_first_layer(one, other)}"
        if one and other and one.file and other.file and one.file.sha256 != other.file.sha256:
            text = f"the export differs, {_first_layer(one, other)}"
        found = replace(found, causes=(Cause.KERNELS,), findings=(text,))
    return _levelled(found, pair)


def _first_layer(one: Snapshot | None, other: Snapshot | None) -> str:
    assert one is not None
    assert other is not None
    there = {layer.name: layer for layer in other.numerics.layers}
    for layer in one.numerics.layers:
        found = there.get(layer.name)
        if found is None or found.output_digest != layer.output_digest:
            return f"first at {layer.name}"
    return "with equal outputs of every layer"


def unexplained_images(pair: CasePair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For A's and B's state, samples whose logits moved without a known diverging layer."""
    if any(results.failure or results.of_file for results in pair.results):
        return (), ()
    cells = (_cell(pair, by=0, on=1), _cell(pair, by=1, on=0))
    return _unexplained(pair, cells[0], 0), _unexplained(pair, cells[1], 1)


def _unexplained(pair: CasePair, cell: Cell, by: int) -> tuple[int, ...]:
    if cell.failed or not cell.moved or cell.first:
        return ()
    wanted, seen = _logits(pair.results[by].snapshot), pair.cross_runs[1 - by].logits["carried"]
    return tuple(
        moved_indices(wanted, seen[: len(wanted), : wanted.shape[1]])[:_INSPECTED_SAMPLES].tolist()
    )


def _failed(pair: CasePair) -> CaseUpgrade:
    first, second = pair.results
    if not first.failure and second.lacks:  # no fault of this PyTorch's
        text = f"not compared: the candidate lacks {second.lacks} ({second.failure})"
        return CaseUpgrade(pair.case, None, unavailable=text)
    if not first.failure:
        text = f"fails under {pair.names[1]}: {second.failure}"
        return CaseUpgrade(pair.case, UpgradeLevel.UNSAFE, causes=(Cause.FAILS,), findings=(text,))
    also = "" if second.failure else f" (works under {pair.names[1]})"
    return CaseUpgrade(pair.case, None, unavailable=f"{first.failure}{also}")


def _cell(pair: CasePair, *, by: int, on: int) -> Cell:
    """A state quantized by one side, transferred to and run by a side."""
    name = "control" if by == on else "carried"
    names, cross_runs = (pair.names[by], pair.names[on]), pair.cross_runs[on]
    failed = cross_runs.failed.get(name, "not run")
    if failed:
        return Cell(*names, failed=failed)
    own = pair.results[by]
    wanted, seen = _logits(own.snapshot), cross_runs.logits[name]
    moved = moved_rows(wanted, seen[: len(wanted), : wanted.shape[1]])
    first = first_difference(own.layers or {}, cross_runs.layers[name])
    inspection = pair.inspections[by] if by != on else None
    if first is None and inspection:
        first = first_difference(*inspection)
    return Cell(*names, images=len(wanted), moved=moved, first=first)


def _logits(snapshot: Snapshot | None) -> Array:
    assert snapshot is not None
    kept = snapshot.numerics.logits
    return np.frombuffer(kept.values, dtype="<f4").reshape(kept.count, kept.classes)


def _causes(
    pair: CasePair, upgrade: CaseUpgrade, controls: Sequence[Cell]
) -> Iterator[tuple[Cause, str]]:
    first, second = pair.results
    if upgrade.quantizing:
        cause, text = quantizing_cause(first.observers, second.observers, upgrade.quantizing)
        if cause is Cause.OBSERVERS and rounding_only(first.observers, second.observers):
            cause = Cause.FLOAT
        yield cause, text
        if cause is not Cause.CONVERT:
            yield cause, f"first in the state: {difference_text(upgrade.quantizing)}"
    for cell, control in zip(upgrade.cells, controls, strict=True):
        if not control.equal:
            yield Cause.NONE, _unfaithful(control)
        elif not cell.equal:
            yield (Cause.FAILS if cell.failed else Cause.KERNELS), _kernels(cell)
    for artifact in upgrade.artifacts:
        if artifact.broken:
            yield (
                Cause.SERIALIZATION,
                f"{artifact.kind}: {artifact.outcome.value}: {artifact.details}",
            )


def _unfaithful(control: Cell) -> str:
    why = control.failed or f"{control.moved} of {control.images} samples differ"
    return (
        f"its state dict does not contain the whole model: reloaded and run by {control.run_by} "
        f"itself, {why}; differences cannot be attributed"
    )


def _kernels(cell: Cell) -> str:
    text = f"quantized by {cell.quantized_by}, run by {cell.run_by}: "
    if cell.failed:
        return text + cell.failed
    where = f"first at {difference_text(cell.first)}; " if cell.first else ""
    return f"{text}{where}logits of {cell.moved} of {cell.images} samples differ"


def _levelled(upgrade: CaseUpgrade, pair: CasePair) -> CaseUpgrade:
    failing = upgrade.verdict is not None and upgrade.verdict.outcome.fails
    if failing or any(cause in _TRUE_CHANGES for cause in upgrade.causes):
        return replace(upgrade, level=UpgradeLevel.UNSAFE)
    if upgrade.causes:
        return replace(upgrade, level=UpgradeLevel.DIFFERENT)
    if not _same(pair.results[0].snapshot, pair.results[1].snapshot):
        text = "results differ, but no cell of the 2x2 comparison explains it"
        return replace(upgrade, level=UpgradeLevel.DIFFERENT, findings=(*upgrade.findings, text))
    return upgrade


def _same(first: Snapshot | None, second: Snapshot | None) -> bool:
    """Whether every compared bit is equal."""
    assert first is not None
    assert second is not None
    one, other = first.numerics, second.numerics
    outputs = [[(x.name, x.output_digest) for x in side.layers] for side in (one, other)]
    return (one.logits, one.single, first.predictions, outputs[0]) == (
        other.logits,
        other.single,
        second.predictions,
        outputs[1],
    )
