"""The wording of an upgrade report, shared by text, Markdown and HTML; never prints."""

from __future__ import annotations

from qreg.checks.score import amount, step
from qreg.upgrade.records import CaseUpgrade, Cell, FileOutcome, UpgradeLevel, UpgradeReport

_HEADER = (
    "case",
    "verdict",
    "quantized",
    "A's run\nby B",
    "B's run\nby A",
    "files",
    "accuracy %\n(change)",
    "container bytes",
)
#: Below the table.
LEGEND = (
    "quantized: the state dicts of A and B; A's run by B: quantized by A and run by B, compared "
    "with A's own run: samples whose logits are not bit-equal; files: state dict, TorchScript and "
    "exported program, written by A and loaded by B: = equal outputs, ~ different only by the "
    "kernels, - A cannot write it, X different outputs or not loaded; container: bytes of the file "
    "other than tensors."
)
_SIGNS = {FileOutcome.EQUAL: "=", FileOutcome.AS_KERNELS: "~", FileOutcome.NOT_WRITTEN: "-"}
SHORT = {
    UpgradeLevel.SAFE: "bits equal",
    UpgradeLevel.DIFFERENT: "within noise",
    UpgradeLevel.UNSAFE: "do not upgrade",
    None: "not compared",
}


def header(report: UpgradeReport) -> tuple[str, ...]:
    """The table's columns; a task's score says itself what it is."""
    scored = any(one.verdict and one.verdict.score for one in report.cases)
    return tuple(cell.replace("accuracy %", "score") if scored else cell for cell in _HEADER)


def names(report: UpgradeReport) -> tuple[str, str]:
    """Both PyTorch versions."""
    return report.baseline.environment.torch, report.candidate.environment.torch


def headline(report: UpgradeReport) -> str:
    """The verdict."""
    if report.level is UpgradeLevel.UNSAFE:
        return f"{report.level.value}: {report.reasons[0]}"
    levels = [one.level for one in report.cases if one.level is not None]
    equal = levels.count(UpgradeLevel.SAFE)
    if report.level is UpgradeLevel.SAFE and not levels:
        return "no case could be compared"
    if report.level is UpgradeLevel.SAFE:
        return f"{report.level.value} in {equal} case{'s' * (equal != 1)}"
    moved = f", {len(report.invariants)} tensor properties changed"
    return (
        f"{report.level.value}: {equal} of {len(levels)} cases bit-equal"
        f"{moved if report.invariants else ''}"
    )


def title(report: UpgradeReport) -> str:
    """What is compared, with dataset and engine where all cases share them."""
    where = _where(report)
    on = f", {where[0]} on {where[1]}" if where else ""
    return f"PyTorch {' -> '.join(names(report))}{_libraries(report)}{on}"


def _libraries(report: UpgradeReport) -> str:
    """onnxruntime's versions where cases ran by it, and torchao's where they differ."""
    sides = report.baseline.environment, report.candidate.environment
    runtimes = tuple(dict.fromkeys(side.onnxruntime for side in sides if side.onnxruntime))
    torchao = tuple(dict.fromkeys(side.torchao or "none" for side in sides))
    found = [("onnxruntime", runtimes), ("torchao", torchao if len(torchao) > 1 else ())]
    return "".join(f", {name} {' -> '.join(versions)}" for name, versions in found if versions)


def _where(report: UpgradeReport) -> tuple[str, str] | None:
    """The common dataset and engine of all cases, None where they differ."""
    found = {(one.case.dataset, one.case.engine) for one in report.cases}
    return found.pop() if len(found) == 1 else None


def other_reasons(report: UpgradeReport) -> tuple[str, ...]:
    """The reasons that are not in the headline."""
    return report.reasons[1:] if report.level is UpgradeLevel.UNSAFE else report.reasons


def rows(report: UpgradeReport) -> tuple[tuple[str, ...], ...]:
    """A row per case, the worst first, with as many cells as `header`."""
    order = sorted(report.cases, key=lambda one: -(one.level.severity if one.level else -1))
    common = _where(report) is not None
    return tuple(
        _row(one, f"{one.case.model}/{one.case.method}" if common else "") for one in order
    )


def _row(one: CaseUpgrade, short: str) -> tuple[str, ...]:
    verdict = "\n".join((SHORT[one.level], *(cause.value for cause in one.causes)))
    if one.level is None or one.verdict is None:
        return (short or str(one.case), verdict, *[""] * 6)
    return (
        short or str(one.case),
        verdict,
        "differs" if one.quantizing else "equal",
        *map(_cell, one.cells),
        " ".join(_SIGNS.get(file.outcome, "X") for file in one.artifacts),
        _accuracy(one),
        _container(one),
    )


def _cell(cell: Cell) -> str:
    if not cell.told:
        return "unknown"
    if cell.failed:
        return "fails"
    return "equal" if cell.equal else f"{cell.moved} of {cell.images}"


def _accuracy(one: CaseUpgrade) -> str:
    found = one.verdict.accuracy if one.verdict else None
    score = one.verdict.score if one.verdict else None
    if score is not None:
        return f"{score.summary} {amount(score, score.observed)} ({step(score, score.change)})"
    if found is None:
        return ""
    return f"{found.observed / found.total * 100:.2f} ({found.change * 100:+.2f})"


def _container(one: CaseUpgrade) -> str:
    if one.sizes is None:
        return ""
    before, after = one.sizes.containers
    return f"{after:,}" if before == after else f"{before:,} -> {after:,}"
