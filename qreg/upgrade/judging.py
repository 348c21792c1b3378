"""Reading the files of both sides and judging the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qreg.checks.verdict import without_findings
from qreg.gate.judge import judged
from qreg.records.baseline import Approval, Baseline
from qreg.records.case import Case
from qreg.records.verdict import Verdict
from qreg.stats.holm import family_alpha
from qreg.upgrade.case_files import CaseFiles
from qreg.upgrade.compare.case import compare_case, unexplained_images
from qreg.upgrade.compare.pair import CasePair
from qreg.upgrade.reading import read_cross_run, read_inspection, read_side_result
from qreg.upgrade.records import WORKS, Answer, CaseUpgrade

APPROVED = Approval(reason="qreg upgrade", date="2000-01-01T00:00:00Z", commit="", qreg="")


def read_pairs(
    cases: Sequence[Case], names: tuple[str, str], folders: Sequence[Path]
) -> tuple[CasePair, ...]:
    """The results of both sides for each case."""
    return tuple(_pair(n, case, names, folders) for n, case in enumerate(cases))


def _pair(number: int, case: Case, names: tuple[str, str], folders: Sequence[Path]) -> CasePair:
    first, second = (CaseFiles(folder, number) for folder in folders)
    results = (read_side_result(case, first), read_side_result(case, second))
    return CasePair(case, names, results, (read_cross_run(first), read_cross_run(second)))


def unexplained_cases(
    pairs: Sequence[CasePair], cases: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Cases whose diverging layer is unknown, each with samples to inspect of A's and B's state."""
    found = [dict(zip("AB", unexplained_images(pair), strict=True)) for pair in pairs]
    return [{**case, **rows} for case, rows in zip(cases, found, strict=True) if any(rows.values())]


def with_inspections(pairs: Sequence[CasePair], folders: Sequence[Path]) -> tuple[CasePair, ...]:
    """The pairs with the layer outputs of the inspected samples."""
    return tuple(
        replace(
            pair, inspections=(read_inspection(n, "A", folders), read_inspection(n, "B", folders))
        )
        for n, pair in enumerate(pairs)
    )


def judge_pairs(pairs: Sequence[CasePair], family: int = 0) -> tuple[CaseUpgrade, ...]:
    """Judge all cases as one run of the gate, or as a part of one of `family` cases."""
    alpha = family_alpha(family or len(pairs))
    return tuple(compare_case(pair, _verdict(pair, alpha)) for pair in pairs)


def _verdict(pair: CasePair, alpha: float) -> Verdict | None:
    """The regression gate's verdict, with A's snapshot as the baseline."""
    before, now = (results.snapshot for results in pair.results)
    if before is None or now is None:
        return None
    baselines = (Baseline(before, (APPROVED,)),)
    own = judged(before, baselines, alpha=alpha)[1]
    # what A's own run fails for is no difference between the two
    return without_findings(judged(now, baselines, alpha=alpha)[1], own.findings)


def warning_answers(pairs: Sequence[CasePair], side: int) -> Iterator[Answer]:
    """The warnings emitted while building the cases, as probe answers."""
    for pair in pairs:
        snapshot = pair.results[side].snapshot
        texts = snapshot.warnings if snapshot else ()
        yield Answer(str(pair.case), WORKS, warnings=texts, used_by=(pair.case.method,))
