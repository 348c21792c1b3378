"""A budget's results as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from qreg.budget.verdict import needed_text
from qreg.records.budget import BudgetCheck, BudgetOutcome
from qreg.records.decode import plain

if TYPE_CHECKING:
    from qreg.budget.run import CaseBudget

_STYLES = {
    BudgetOutcome.KEPT: "green",
    BudgetOutcome.BROKEN: "red",
    BudgetOutcome.NOT_SHOWN: "yellow",
}


def budget_table(budgets: Sequence[CaseBudget]) -> Table:
    """A row per limit: what is allowed, what was measured, and the result."""
    table = Table(
        title="budget", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    several = len({one.case.engine for one in budgets}) > 1
    for header in ("method", "limit", "allowed", "measured (bounds at 95 %)", "result"):
        table.add_column(header)
    for one in budgets:
        name = f"{one.case.method}@{one.case.engine}" if several else one.case.method
        for check in one.checks:
            result = Text(check.result.value, style=_STYLES[check.result])
            table.add_row(name, check.limit, check.allowed, check.observed, result)
    return table


def budget_notes(budgets: Sequence[CaseBudget]) -> tuple[str, ...]:
    """What would show each limit that is not shown."""
    return tuple(
        f"{one.case.method} {check.limit}: {needed_text(check)}."
        for one in budgets
        for check in one.checks
        if check.result is BudgetOutcome.NOT_SHOWN
    )


def budget_json(budgets: Sequence[CaseBudget]) -> list[dict[str, Any]]:
    """One object for each limit."""
    return [{"case": plain(one.case), **_plain(check)} for one in budgets for check in one.checks]


def _plain(check: BudgetCheck) -> dict[str, Any]:
    content: dict[str, Any] = plain(check)
    return content
