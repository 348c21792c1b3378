"""From the files of both sides to judged cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qreg.gate.judge import judged
from qreg.records.baseline import Approval, Baseline
from qreg.records.case import Case
from qreg.records.verdict import Verdict
from qreg.stats.holm import family_alpha
from qreg.upgrade.case_files import Place
from qreg.upgrade.compare.case import images_to_look_at, judge_case
from qreg.upgrade.compare.made import Pair
from qreg.upgrade.reading import read_crossed, read_look, read_made
from qreg.upgrade.records import WORKS, Answer, CaseUpgrade

APPROVED = Approval(reason="qreg upgrade", date="2000-01-01T00:00:00Z", commit="", qreg="")


def read_pairs(
    cases: Sequence[Case], names: tuple[str, str], places: Sequence[Path]
) -> tuple[Pair, ...]:
    """What both sides made and ran of each case."""
    return tuple(_pair(n, case, names, places) for n, case in enumerate(cases))


def _pair(number: int, case: Case, names: tuple[str, str], places: Sequence[Path]) -> Pair:
    first, second = (Place(folder, number) for folder in places)
    made = (read_made(case, first), read_made(case, second))
    return Pair(case, names, made, (read_crossed(first), read_crossed(second)))


def to_look_at(pairs: Sequence[Pair], cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases of which a layer is still to be found, each with images of A's and B's state."""
    found = [dict(zip("AB", images_to_look_at(pair), strict=True)) for pair in pairs]
    return [{**case, **rows} for case, rows in zip(cases, found, strict=True) if any(rows.values())]


def with_looks(pairs: Sequence[Pair], places: Sequence[Path]) -> tuple[Pair, ...]:
    """The pairs with the outputs that were looked at."""
    return tuple(
        replace(pair, looks=(read_look(n, "A", places), read_look(n, "B", places)))
        for n, pair in enumerate(pairs)
    )


def judge_pairs(pairs: Sequence[Pair]) -> tuple[CaseUpgrade, ...]:
    """Judge them all, as one run of the gate."""
    alpha = family_alpha(len(pairs))
    return tuple(judge_case(pair, _verdict(pair, alpha)) for pair in pairs)


def _verdict(pair: Pair, alpha: float) -> Verdict | None:
    """The regression gate's, A's snapshot being the baseline."""
    before, now = (made.snapshot for made in pair.made)
    if before is None or now is None:
        return None
    return judged(now, (Baseline(before, (APPROVED,)),), alpha=alpha)[1]


def warned(pairs: Sequence[Pair], side: int) -> Iterator[Answer]:
    """What making the cases warned of, as answers like a probe's."""
    for pair in pairs:
        snapshot = pair.made[side].snapshot
        texts = snapshot.warnings if snapshot else ()
        yield Answer(str(pair.case), WORKS, warnings=texts, used_by=(pair.case.method,))
