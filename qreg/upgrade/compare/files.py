"""Files written by A and loaded by B, and their sizes."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.records.measurement import Size
from qreg.upgrade.compare.arrays import moved_rows
from qreg.upgrade.compare.pair import CasePair, CrossRun, SideResult
from qreg.upgrade.records import Artifact, Cell, FileOutcome, Sizes

STATE_DICT = "state dict"


def judge_files(pair: CasePair, cell: Cell) -> Iterator[Artifact]:
    """A's files loaded by B, compared with the same files loaded by A."""
    before, after = pair.cross_runs
    for kind, reason in pair.results[0].written:
        unwritten = reason or before.failed.get(kind, "not run")
        failed = after.failed.get(kind, "not run")
        if unwritten:
            yield Artifact(kind, FileOutcome.NOT_WRITTEN, unwritten)
        elif failed:
            yield Artifact(kind, FileOutcome.NOT_LOADED, failed)
        else:
            yield _outputs(kind, before, after, cell)


def _outputs(kind: str, before: CrossRun, after: CrossRun, cell: Cell) -> Artifact:
    wanted, seen = before.loaded[kind], after.loaded[kind]
    moved = moved_rows(wanted, seen)
    if not moved:
        return Artifact(kind, FileOutcome.EQUAL)
    details = f"outputs of {moved} of {len(wanted)} samples differ"
    expected = not cell.equal
    if kind == STATE_DICT and not cell.failed:
        carried = after.logits["carried"][: len(seen), : seen.shape[1]]
        expected = not moved_rows(carried, seen[:, : carried.shape[1]])
    return Artifact(kind, FileOutcome.AS_KERNELS if expected else FileOutcome.DIFFERENT, details)


def compare_sizes(first: SideResult, second: SideResult) -> Sizes | None:
    """Bytes of the saved files and of the tensors in them."""
    if first.snapshot is None or second.snapshot is None:
        return None
    both = (first.snapshot.size, second.snapshot.size)
    return Sizes((both[0].file_bytes, both[1].file_bytes), (_stored(both[0]), _stored(both[1])))


def _stored(size: Size) -> int:
    return sum(tensor.bytes for tensor in size.tensors)
