"""What the selftest proves of blame and budgets: bad sites rank first, budgets keep their rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qreg.budget.rule import judge_limits
from qreg.cli import main
from qreg.errors import UnknownNameError
from qreg.faults import PROOFS, budget_rates, chosen_proofs, get_faults
from qreg.faults.budget_rates import simulated_scores, simulated_shares
from qreg.faults.report.proofs import (
    budget_rates_notes,
    budget_rates_table,
    planted_notes,
    planted_table,
)
from qreg.faults.results import BudgetRates, PlantedSite, Proof
from qreg.records.budget import Limits
from qreg.records.case import Case

_SITE = PlantedSite(
    Case("shapes10", "simple_cnn", "static", "x86"), "fc1 weight", 1, 13, True, 0.4, 0.99, "%"
)


def _row(kept: int, broken: int, miss: float) -> BudgetRates:
    return BudgetRates("3% flip", 1000, miss, kept, broken, 1000 - kept - broken)


@pytest.mark.parametrize(
    ("kept", "broken", "miss", "holds"),
    [
        (60, 900, 0.1, True),  # of 1,000 draws at 5 %, 60 are no surprise
        (90, 900, 0.1, False),
        (900, 60, -0.1, True),
        (900, 90, -0.1, False),
        (50, 90, 0.0, False),
        (90, 50, 0.0, False),
    ],
)
def test_a_rate_of_wrong_answers_is_compared_with_the_stated_one(
    kept: int, broken: int, miss: float, holds: bool
) -> None:
    row = _row(kept, broken, miss)
    assert row.holds is holds
    assert Proof((), (), budgets=(row,)).holds is holds
    assert ("none" in list(budget_rates_notes([row]))[-1]) is holds
    assert budget_rates_table([row]).row_count == 1


@pytest.mark.slow
def test_the_rule_keeps_its_rates_and_a_lenient_one_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert all(row.holds for row in simulated_shares(60, (1000,)))
    assert all(row.holds for row in simulated_scores(5, (1000,)))

    def lenient(limits: Limits, evidence: Any) -> Any:
        return judge_limits(replace(limits, max_drop=(limits.max_drop or 0) + 2), evidence)

    monkeypatch.setattr(budget_rates, "judge_limits", lenient)
    missed = [row for row in simulated_shares(60, (1000,)) if row.miss in (0.1, 0.5)]
    assert sum(not row.holds for row in missed) == len(missed)


def test_a_bad_site_that_is_not_first_fails_the_proof() -> None:
    second = replace(_SITE, rank=2)
    assert Proof((), (), planted=(_SITE,)).holds
    assert not Proof((), (), planted=(_SITE, second)).holds
    assert "1 of 2 bad sites rank first" in next(iter(planted_notes([_SITE, second])))
    assert planted_table([_SITE, second]).row_count == 2
    assert not list(planted_notes([]))


def test_they_are_named_like_faults() -> None:
    assert chosen_proofs(()) == PROOFS
    assert chosen_proofs(("bad-site", "bias-dropped")) == ("bad-site",)
    assert [fault.name for fault in get_faults(("bad-site", "bias-dropped"))] == ["bias-dropped"]
    assert not {fault.name for fault in get_faults(())} & set(PROOFS)
    with pytest.raises(UnknownNameError, match="bad-sit"):
        get_faults(("bad-sit",))


@pytest.mark.slow
def test_the_command_runs_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--faults", ",".join(PROOFS), "--method", "dynamic", "--clean-runs",
                 "0", "--draws", "50"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "3 of 3 bad sites rank first" in shown
    assert "weights-4-bit" in shown
