"""Tables of bad sites and of budgets: what blame and budgets prove, next to the gate's faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.faults.results import RATE_LEVEL, STATED_RATE, BudgetRates, PlantedSite
from qreg.report.score import number
from qreg.stats.intervals import clopper_pearson


def planted_table(sites: Sequence[PlantedSite]) -> Table:
    """A row for each site that was damaged: its rank, and the drop that it causes alone."""
    table = Table(title="Bad sites, one at a time", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("bad site", no_wrap=True)
    table.add_column("in", no_wrap=True)
    for header in ("rank", "drop alone", "significant", "noise %"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in sites:
        drop = "" if one.drop is None else number(one.drop, one.unit, signed=True)
        table.add_row(
            one.site,
            f"{one.case.method}@{one.case.engine}",
            f"{one.rank} of {one.sites}",
            drop,
            "yes" if one.significant else "no",
            f"{one.noise * 100:.1f}",
        )
    return table


def planted_notes(sites: Sequence[PlantedSite]) -> Iterator[str]:
    """How many rank first."""
    if sites:
        first = sum(one.first for one in sites)
        missed = [f"{one.site} in {one.case}" for one in sites if not one.first]
        yield (
            f"{first} of {len(sites)} bad sites rank first in qreg sensitivity; not first: "
            f"{', '.join(missed) or 'none'}."
        )


def budget_rates_table(rows: Sequence[BudgetRates]) -> Table:
    """A row for each distance of the true drop from the budget."""
    title = "Budgets where the true drop is known"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("drawn from", overflow="fold")
    for header in ("samples", "draws", "true drop - budget", "KEPT", "BROKEN", "NOT SHOWN"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in rows:
        table.add_row(
            one.what,
            f"{one.samples:,}",
            f"{one.draws:,}",
            f"{one.miss:+.1f}",
            *(f"{count / one.draws:.1%}" for count in (one.kept, one.broken, one.not_shown)),
        )
    return table


def budget_rates_notes(rows: Sequence[BudgetRates]) -> Iterator[str]:
    """How often budgets that are missed are called KEPT, and those that are kept BROKEN."""
    if not rows:
        return
    for what, chosen in (
        ("missed budgets called KEPT", [one for one in rows if one.miss > 0]),
        ("kept budgets called BROKEN", [one for one in rows if one.miss < 0]),
    ):
        wrong, draws = sum(one.wrong for one in chosen), sum(one.draws for one in chosen)
        if draws:
            low, high = clopper_pearson(wrong, draws)
            share = f"{wrong / draws:.2%} ({low:.2%}..{high:.2%})"
            yield f"{what}: {wrong:,} of {draws:,} draws, {share}."
    failed = [f"{one.what}, {one.samples:,}, {one.miss:+.1f}" for one in rows if not one.holds]
    yield (
        f"Rows with more than the stated {STATED_RATE:.0%} of wrong answers (Clopper-Pearson, "
        f"{RATE_LEVEL:.1%}): {'; '.join(failed) or 'none'}."
    )
