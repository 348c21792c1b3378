"""Records of a matrix refuse what contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qreg.upgrade.matrix.records import (
    Appearance,
    BisectionTrial,
    Change,
    ChangeSubject,
    MatrixReport,
    PairRecord,
)
from qreg.upgrade.records import UpgradeLevel
from tests.unit.upgrade.report.upgrade_report import REPORT

KERNELS = Change(ChangeSubject.CASE, "a", "kernels")
MATRIX = MatrixReport(
    versions=("1.0", "2.0", "3.0"),
    pairs=(PairRecord("1.0", "2.0", REPORT), PairRecord("2.0", "3.0", None, "cannot be installed")),
    bisected=True,
    appearances=(Appearance(KERNELS, 0, "1.2", "1.0"),),
    trials=(BisectionTrial(0, "1.2", UpgradeLevel.DIFFERENT),),
    skipped=(),
    seconds=3.0,
)


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": ("1.0", "2.0")},
        {"versions": ("3.0", "2.0", "1.0")},
        {"trials": MATRIX.trials * 2},
        {"trials": (BisectionTrial(2, "1.2", UpgradeLevel.SAFE),)},
        {"appearances": (Appearance(KERNELS, 2, "1.2", "1.0"),)},
    ],
)
def test_pairs_are_neighbours_and_compared_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"matrix|once"):
        replace(MATRIX, **changes)


def test_each_part_is_one_thing_or_the_other() -> None:
    with pytest.raises(ValueError, match="a report, or why"):
        PairRecord("1.0", "2.0", None)
    with pytest.raises(ValueError, match="a report, or why"):
        PairRecord("1.0", "2.0", REPORT, "failed")
    with pytest.raises(ValueError, match="neither"):
        BisectionTrial(0, "1.2", None)
    with pytest.raises(ValueError, match="contradict"):
        Appearance(KERNELS, 0, "1.0", "1.0")
    with pytest.raises(ValueError, match="contradict"):
        Appearance(KERNELS, 0, "1.2", "1.0", gone=("1.2",))
    with pytest.raises(ValueError, match="without a name"):
        Change(ChangeSubject.CASE, "", "kernels")


def test_the_level_is_the_worst_and_an_appearance_exact_where_nothing_is_left() -> None:
    assert MATRIX.level is UpgradeLevel.SAFE
    worse = PairRecord("2.0", "3.0", replace(REPORT, level=UpgradeLevel.UNSAFE))
    assert replace(MATRIX, pairs=(MATRIX.pairs[0], worse)).level is UpgradeLevel.UNSAFE
    assert MATRIX.appearances[0].exact
    assert not replace(MATRIX.appearances[0], between=("1.1",)).exact
