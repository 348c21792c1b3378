"""The detail sections of an upgrade report, as text; never prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qreg.gate.report import finding_lines
from qreg.speed.report.check import speed_lines
from qreg.upgrade.records import (
    Artifact,
    CaseUpgrade,
    ChangeKind,
    FileOutcome,
    InterfaceChange,
    UpgradeLevel,
    UpgradeReport,
)

_KINDS = (
    ChangeKind.REMOVED,
    ChangeKind.CRASHES,
    ChangeKind.BREAKS,
    ChangeKind.NOT_INSTALLED,
    ChangeKind.WORKS_NOW,
    ChangeKind.SIGNATURE,
)
#: What became of a tensor property, or of an edge input.
PROPERTY_WORDS = {
    ChangeKind.LOST: "no longer holds",
    ChangeKind.WON: "holds now",
    ChangeKind.OTHER: "different result",
}


@dataclass(frozen=True)
class Section:
    """A title and its lines; lines indented by two blanks belong to the line above."""

    title: str
    lines: tuple[str, ...]


def sections(report: UpgradeReport) -> tuple[Section, ...]:
    """The sections of a report that have content."""
    parts = (
        Section("Cases", tuple(_case_lines(report.cases))),
        Section("Interface", tuple(_interface_lines(report))),
        Section("Tensor properties", tuple(_property_lines(report))),
        Section("Artifacts", tuple(_artifact_lines(report.cases))),
        Section("Size", tuple(_size_lines(report.cases))),
        Section("Speed", speed_lines(report.speed)),
        Section("Evidence", tuple(_evidence_lines(report))),
    )
    return tuple(part for part in parts if part.lines)


def _case_lines(cases: Sequence[CaseUpgrade]) -> Iterator[str]:
    for one in cases:
        if one.level is None:
            yield f"not compared: {one.case}"
            yield f"  {one.unavailable}"
        elif one.level is not UpgradeLevel.SAFE:
            yield f"{one.level.value}: {one.case}"
            yield from (f"  {text}" for text in one.findings)
            findings = one.verdict.findings if one.verdict else ()
            yield from (f"  {line}" for found in findings for line in finding_lines(found))
    equal = sum(one.level is UpgradeLevel.SAFE for one in cases)
    yield f"{equal} of {len(cases)} cases are bit-equal."


def _interface_lines(report: UpgradeReport) -> Iterator[str]:
    for kind in _KINDS:
        for change in (one for one in report.interface if one.kind == kind):
            needed = f" (needed by {', '.join(change.used_by)})" if change.used_by else ""
            yield f"{kind.value}: {change.name}{needed}"
            yield from (f"  {text}" for text in _both(change))
    for change in (one for one in report.interface if one.kind not in _KINDS):
        yield f"new warning ({change.kind.value}): {change.name}"
        yield f"  {change.after}"
    yield f"{report.probes} probes, each run in its own process on both sides."


def _both(change: InterfaceChange) -> tuple[str, str]:
    return f"before: {change.before}", f"after:  {change.after}"


def _property_lines(report: UpgradeReport) -> Iterator[str]:
    for change in report.invariants:
        yield f"{change.name}: {PROPERTY_WORDS.get(change.kind, change.kind.value)}"
        yield from (f"  {text}" for text in _both(change))
    yield f"{len(report.invariants)} of {report.properties} properties changed."


def _artifact_lines(cases: Sequence[CaseUpgrade]) -> Iterator[str]:
    found: dict[tuple[str, FileOutcome, str], list[CaseUpgrade]] = {}
    for one in cases:
        for file in one.artifacts:
            found.setdefault((file.kind, file.outcome, _details(file)), []).append(one)
    for (kind, outcome, details), ones in found.items():
        more = f" and {len(ones) - 1} more" if len(ones) > 1 else ""
        if outcome is FileOutcome.EQUAL:
            yield f"{kind}: written by A and loaded by B, equal outputs: {len(ones)} cases"
        else:
            yield f"{kind}: {outcome.value}: {ones[0].case}{more}"
            yield f"  {details}"


def _details(file: Artifact) -> str:
    # the number of differing samples varies from case to case
    return file.details if file.outcome is not FileOutcome.EQUAL else ""


def _size_lines(cases: Sequence[CaseUpgrade]) -> Iterator[str]:
    sizes = [one.sizes for one in cases if one.sizes]
    if not sizes:
        return
    tensors = sum(one.tensors[0] != one.tensors[1] for one in sizes)
    yield f"stored tensors: {f'{tensors} cases differ' if tensors else 'equal bytes in all cases'}"
    changes = [after - before for before, after in (one.containers for one in sizes)]
    low, high = min(changes), max(changes)
    text = f"{low:+,} bytes" if low == high else f"{low:+,} to {high:+,} bytes"
    yield f"containers: {text if low or high else 'equal'}"


def _evidence_lines(report: UpgradeReport) -> Iterator[str]:
    for letter, side in (("A", report.baseline), ("B", report.candidate)):
        where = side.environment
        ao = f", torchao {where.torchao}" if where.torchao else ", no torchao"
        ao += f", onnxruntime {where.onnxruntime}" if where.onnxruntime else ""
        vnni = "with VNNI" if where.vnni else "without VNNI"
        yield (
            f"{letter}: torch {where.torch}, torchvision {where.torchvision}{ao}, Python "
            f"{where.python}, {where.cpu_capability} {vnni}, {where.threads} thread"
        )
    images = max((cell.images for one in report.cases for cell in one.cells), default=0)
    yield (
        f"Each case was quantized and run by both versions, with states transferred as "
        f"safetensors; logits of {images} samples and every layer's output compared bit by bit. "
        f"{report.seconds:.0f} s."
    )
