"""The calibration as a table: how often each rule says "slower", scenario by scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.compare.intervals import clopper_pearson
from qreg.compare.walsh import hodges_lehmann
from qreg.records import Case

#: (case, load, scenario) to each trial's log ratios, and to what each rule says of it.
Key = tuple[Case, int, str]
Seen = Mapping[Key, Sequence[tuple[Sequence[float], Mapping[str, bool]]]]


def calibration_table(case: Case, load: int, seen: Seen) -> Table:
    """One row a rule, one column a scenario: found of trials, with the exact 95 % interval."""
    keys = [key for key in seen if key[:2] == (case, load)]
    busy = f", {load} noise processes" if load else ""
    table = Table(
        title=f'how often a rule says "slower": {case}{busy}',
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("rule", no_wrap=True)
    for key in keys:
        table.add_column(f"{key[2]}\n{_measured(seen[key])}", justify="right")
    for rule in seen[keys[0]][0][1]:
        table.add_row(rule, *(_cell([says[rule] for _, says in seen[key]]) for key in keys))
    return table


def _measured(trials: Sequence[tuple[Sequence[float], Mapping[str, bool]]]) -> str:
    """The change that the trials have, median of their estimates."""
    change = math.expm1(median(hodges_lehmann(ratios) for ratios, _ in trials))
    return f"({change * 100:+.1f} %)"


def _cell(says: Sequence[bool]) -> str:
    low, high = clopper_pearson(sum(says), len(says))
    return f"{sum(says)}/{len(says)}\n{low * 100:.0f}..{high * 100:.0f} %"
