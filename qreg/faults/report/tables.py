"""Tables and notes of the proof that the gate detects faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.faults.results import TIERS, FaultRun, Proof, TierVerdict
from qreg.records.verdict import Check, Outcome
from qreg.stats.intervals import clopper_pearson

#: Names of the tiers in tables, and their letters in the table of checks.
TIER_NAMES = {
    "exact": "exact: same environment",
    "statistical": "statistical: other kernels",
    "other_float": "statistical: other float arithmetic",
}
_LETTERS = {"exact": "x", "statistical": "s", "other_float": "f"}
# Checks that can have findings; saturation is only named when a verdict is explained.
_CHECKS = tuple(check for check in Check if check is not Check.SATURATION)


def fault_table(runs: Sequence[FaultRun]) -> Table:
    """Faults by checks: each cell has the letters of the tiers whose check had a finding."""
    table = Table(title="What caught each fault", title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("fault ", no_wrap=True)
    table.add_column("in ", no_wrap=True)
    checks = found_by(runs)
    for check in checks:
        table.add_column(check.value[:3], justify="center", min_width=4)
    table.add_column("not caught", no_wrap=True)
    for run in runs:
        target = f"{run.observed.case.method}@{run.observed.case.engine} "
        table.add_row(f"{run.fault} ", target, *_cells(run, checks), _missed(run))
    return table


def found_by(runs: Sequence[FaultRun]) -> tuple[Check, ...]:
    """The checks that had a finding in any of the runs."""
    found = {name for run in runs for tier in TIERS for name in judged(run, tier).checks}
    return tuple(check for check in _CHECKS if check.value in found)


def _cells(run: FaultRun, checks: Sequence[Check]) -> Iterator[str]:
    for check in checks:
        yield "".join(
            letter for tier, letter in _LETTERS.items() if check.value in judged(run, tier).checks
        )


def _missed(run: FaultRun) -> str:
    if run.equivalent:
        return "equivalent"
    if run.observed.reason:
        return "ERROR: caught"
    return "".join(letter for tier, letter in _LETTERS.items() if judged(run, tier).silent)


def judged(run: FaultRun, tier: str) -> TierVerdict:
    """The verdict of a tier."""
    verdict: TierVerdict = getattr(run.observed, tier)
    return verdict


def share_table(runs: Sequence[FaultRun]) -> Table:
    """The number of faults that each tier caught, without equivalent ones."""
    table = Table(title="Caught by tier", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("tier", no_wrap=True)
    for header in ("caught", "of", "share", "95 % interval", "of these failing the run"):
        table.add_column(header, justify="right")
    counted = [run for run in runs if not run.equivalent]
    for tier, name in TIER_NAMES.items():
        outcomes = [judged(run, tier).outcome for run in counted]
        caught, total = sum(outcome is not Outcome.PASS for outcome in outcomes), len(outcomes)
        failing = sum(outcome.fails for outcome in outcomes)
        table.add_row(name, str(caught), str(total), *_share(caught, total), str(failing))
    return table


def fault_size_table(runs: Sequence[FaultRun]) -> Table:
    """Faults caught by the statistical tiers, by family and size."""
    title = "Caught by the statistical tiers, by size of fault"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("fault", no_wrap=True)
    table.add_column("size", no_wrap=True)
    for header in ("other kernels", "95 % interval", "other float", "95 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list[FaultRun]] = {}
    for run in runs:
        if not run.equivalent:
            groups.setdefault((run.family, run.size), []).append(run)
    for (family, size), group in groups.items():
        cells = [cell for tier in TIERS[1:] for cell in _of_group(group, tier)]
        table.add_row(family, size, *cells)
    return table


def _of_group(group: Sequence[FaultRun], tier: str) -> tuple[str, str]:
    caught = sum(not judged(run, tier).silent for run in group)
    return f"{caught} of {len(group)}", _share(caught, len(group))[1]


def _share(count: int, total: int) -> tuple[str, str]:
    if not total:
        return "-", "-"
    low, high = clopper_pearson(count, total)
    return f"{count / total:.1%}", f"{low:.1%}..{high:.1%}"


def fault_notes(proof: Proof) -> tuple[str, ...]:
    """Notes for the tables, one sentence per line."""
    runs = proof.faults
    equivalent = [f"{_where(run)}: {run.unchanged_because}" for run in runs if run.equivalent]
    unknown = [
        f"{_where(run)} changes nothing, for an unknown reason"
        for run in runs
        if run.observed.unchanged and run.observed.exact.silent and not run.equivalent
    ]
    missed = [_where(r) for r in runs if r.observed.exact.silent and not r.observed.unchanged]
    errors = [f"{_where(run)}: {run.observed.reason}" for run in runs if run.observed.reason]
    return (
        f"{', '.join(f'{letter} {TIER_NAMES[t]}' for t, letter in _LETTERS.items())}; columns: "
        f"{', '.join(check.value for check in found_by(runs)) or 'none'}.",
        f"{len({run.fault for run in runs})} faults in {len(runs)} runs, each in a fresh process.",
        f"Changed something but not caught bit-exactly: {', '.join(missed) or 'none'}.",
        *unknown,
        f"Equivalent, not counted: {'; '.join(equivalent) or 'none'}.",
        f"Caught because the case could not run: {'; '.join(errors) or 'none'}.",
        f"Not applicable to these cases, {len(proof.not_applicable)}: "
        f"{', '.join(proof.not_applicable) or 'none'}.",
    )


def _where(run: FaultRun) -> str:
    return f"{run.fault} in {run.observed.case.method}"
