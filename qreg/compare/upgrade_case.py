"""One case under two PyTorch versions: what differs, and what that is put down to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qreg.approvals import Snapshot
from qreg.compare.upgrade_arrays import Array, Arrays, first_difference, moved_rows
from qreg.compare.upgrade_observers import difference_text, quantizing_cause, rounding_only
from qreg.judgements import Verdict
from qreg.observations import Size
from qreg.records import Case
from qreg.upgrades import Artifact, CaseUpgrade, Cause, Cell, Level, Seen, Sizes

STATE_DICT = "state dict"
# What is no noise, however small its effect on these images.
_TRUE_CHANGES = (Cause.OBSERVERS, Cause.CONVERT, Cause.SERIALIZATION, Cause.FAILS)


@dataclass(frozen=True, eq=False)
class Made:
    """What a side made of a case, and how it ran there.

    Attributes:
        failure: why it could not be made or run, "" where it could.
        written: kinds of artifacts, each with the reason for not being written, or "".
    """

    failure: str = ""
    unavailable: bool = False
    snapshot: Snapshot | None = None
    seen: tuple[Seen, ...] = ()
    state: Arrays | None = None
    layers: Arrays | None = None
    written: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Crossed:
    """What a side ran of both sides' states, and of the files that A wrote.

    Attributes:
        failed: "control", "carried" and kinds of artifacts, each with how it failed, or "".
        layers, logits: of "control" (its own state, carried like the other's) and "carried".
        loaded: logits of the first images, of each kind of artifact.
    """

    failed: Mapping[str, str]
    layers: Mapping[str, Arrays]
    logits: Mapping[str, Array]
    loaded: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Pair:
    """One case on both sides; A is the baseline, and the first."""

    case: Case
    names: tuple[str, str]
    made: tuple[Made, Made]
    crossed: tuple[Crossed, Crossed]


def judge_case(pair: Pair, verdict: Verdict | None) -> CaseUpgrade:
    """Compare; `verdict` is the regression gate's, None where a side made nothing."""
    first, second = pair.made
    if first.failure or second.failure:
        return _failed(pair)
    cells = (_cell(pair, by=0, on=1), _cell(pair, by=1, on=0))
    controls = (_cell(pair, by=0, on=0), _cell(pair, by=1, on=1))
    found = CaseUpgrade(
        case=pair.case,
        level=Level.SAFE,
        quantizing=first_difference(first.state or {}, second.state or {}),
        cells=cells,
        artifacts=tuple(_artifacts(pair, cells[0])),
        sizes=_sizes(first, second),
        verdict=verdict,
    )
    pieces = list(_causes(pair, found, controls))
    causes = tuple(dict.fromkeys(cause for cause, _ in pieces if cause is not Cause.NONE))
    found = replace(found, causes=causes, findings=tuple(text for _, text in pieces))
    return _levelled(found, pair)


def _failed(pair: Pair) -> CaseUpgrade:
    first, second = pair.made
    if not first.failure:
        text = f"it fails under {pair.names[1]}: {second.failure}"
        return CaseUpgrade(pair.case, Level.UNSAFE, causes=(Cause.FAILS,), findings=(text,))
    also = "" if second.failure else f" (under {pair.names[1]} it works)"
    return CaseUpgrade(pair.case, None, unavailable=f"{first.failure}{also}")


def _cell(pair: Pair, *, by: int, on: int) -> Cell:
    """A state quantized by one side, carried and run on a side."""
    name = "control" if by == on else "carried"
    names, crossed = (pair.names[by], pair.names[on]), pair.crossed[on]
    failed = crossed.failed.get(name, "was not run")
    if failed:
        return Cell(*names, failed=failed)
    own = pair.made[by]
    wanted, seen = _logits(own.snapshot), crossed.logits[name]
    moved = moved_rows(wanted, seen[: len(wanted), : wanted.shape[1]])
    first = first_difference(own.layers or {}, crossed.layers[name])
    return Cell(*names, images=len(wanted), moved=moved, first=first)


def _logits(snapshot: Snapshot | None) -> Array:
    assert snapshot is not None
    kept = snapshot.numerics.logits
    return np.frombuffer(kept.values, dtype="<f4").reshape(kept.count, kept.classes)


def _causes(
    pair: Pair, found: CaseUpgrade, controls: Sequence[Cell]
) -> Iterator[tuple[Cause, str]]:
    first, second = pair.made
    if found.quantizing:
        cause, text = quantizing_cause(first.seen, second.seen, found.quantizing)
        small = cause is Cause.OBSERVERS and rounding_only(first.seen, second.seen)
        yield (Cause.FLOAT if small else cause), text
        if cause is not Cause.CONVERT:
            yield cause, f"first in the state: {difference_text(found.quantizing)}"
    for cell, control in zip(found.cells, controls, strict=True):
        if not control.equal:
            yield Cause.NONE, _unfaithful(control)
        elif not cell.equal:
            yield (Cause.FAILS if cell.failed else Cause.KERNELS), _kernels(cell)
    for artifact in found.artifacts:
        if artifact.broken:
            yield Cause.SERIALIZATION, f"{artifact.kind}: {artifact.outcome}: {artifact.details}"


def _unfaithful(control: Cell) -> str:
    why = control.failed or f"{control.moved} of {control.images} images differ"
    return (
        f"its state dict is not all of it: carried over and run by {control.run_by} again, {why}; "
        "what it is put down to cannot be said"
    )


def _kernels(cell: Cell) -> str:
    text = f"quantized by {cell.quantized_by}, run by {cell.run_by}: "
    if cell.failed:
        return text + cell.failed
    where = f"first at {difference_text(cell.first)}; " if cell.first else ""
    return f"{text}{where}logits of {cell.moved} of {cell.images} images"


def _artifacts(pair: Pair, cell: Cell) -> Iterator[Artifact]:
    """A's files in B, beside the same files in A."""
    before, after = pair.crossed
    for kind, reason in pair.made[0].written:
        unwritten = reason or before.failed.get(kind, "was not run")
        failed = after.failed.get(kind, "was not run")
        if unwritten:
            yield Artifact(kind, "not written", unwritten)
        elif failed:
            yield Artifact(kind, "not loaded", failed)
        else:
            yield _outputs(kind, before, after, cell)


def _outputs(kind: str, before: Crossed, after: Crossed, cell: Cell) -> Artifact:
    wanted, seen = before.loaded[kind], after.loaded[kind]
    moved = moved_rows(wanted, seen)
    if not moved:
        return Artifact(kind, "equal")
    details = f"outputs of {moved} of {len(wanted)} images"
    expected = not cell.equal
    if kind == STATE_DICT and not cell.failed:
        carried = after.logits["carried"][: len(seen), : seen.shape[1]]
        expected = not moved_rows(carried, seen[:, : carried.shape[1]])
    return Artifact(kind, "as the kernels" if expected else "different", details)


def _sizes(first: Made, second: Made) -> Sizes | None:
    if first.snapshot is None or second.snapshot is None:
        return None
    both = (first.snapshot.size, second.snapshot.size)
    return Sizes((both[0].file_bytes, both[1].file_bytes), (_stored(both[0]), _stored(both[1])))


def _stored(size: Size) -> int:
    return sum(tensor.bytes for tensor in size.tensors)


def _levelled(found: CaseUpgrade, pair: Pair) -> CaseUpgrade:
    failing = found.verdict is not None and found.verdict.outcome.fails
    if failing or any(cause in _TRUE_CHANGES for cause in found.causes):
        return replace(found, level=Level.UNSAFE)
    if found.causes:
        return replace(found, level=Level.DIFFERENT)
    if not _same(pair.made[0].snapshot, pair.made[1].snapshot):
        text = "it computes otherwise, and no cell of the 2x2 says why"
        return replace(found, level=Level.DIFFERENT, findings=(*found.findings, text))
    return found


def _same(first: Snapshot | None, second: Snapshot | None) -> bool:
    """Whether every bit that was looked at is equal."""
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
