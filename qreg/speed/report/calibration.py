"""Calibration tables: how often each rule reports "slower", by scenario."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.speed.calibration.trials import Trial, says_slower
from qreg.stats.hodges_lehmann import hodges_lehmann
from qreg.stats.intervals import clopper_pearson

_Judged = tuple[Trial, Mapping[str, bool]]


def calibration_tables(trials: Sequence[Trial]) -> Iterator[Table]:
    """One table per condition and case, one for all its cases, and one for all conditions."""
    judged = [(trial, says_slower(trial)) for trial in trials]
    conditions: dict[tuple[int, int, int], list[_Judged]] = {}
    for one in judged:
        key = (one[0].load, one[0].threads, one[0].batch)
        conditions.setdefault(key, []).append(one)
    for condition in conditions.values():
        cases = dict.fromkeys(trial.case for trial, _ in condition)
        for case in cases:
            yield _table(str(case), [one for one in condition if one[0].case == case])
        if len(cases) > 1:
            yield _table(f"these {len(cases)} cases pooled", condition)
    alone = [one for one in judged if one[0].threads == 1]
    if len({(trial.load, trial.batch) for trial, _ in alone}) > 1:
        yield _table("all conditions on one thread, pooled", alone)


def _table(name: str, judged: Sequence[_Judged]) -> Table:
    """A row per rule, a column per scenario: detections of trials, with the exact 95 % interval."""
    scenarios: dict[str, list[_Judged]] = {}
    for one in judged:
        scenarios.setdefault(one[0].scenario, []).append(one)
    table = Table(
        title=f'how often each rule reports "slower":  {name}{_condition([t for t, _ in judged])}',
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("rule", no_wrap=True)
    for scenario, those in scenarios.items():
        table.add_column(f"{scenario}\n{_measured([t for t, _ in those])}", justify="right")
    for rule in judged[0][1]:
        cells = (_cell([says[rule] for _, says in those]) for those in scenarios.values())
        table.add_row(rule, *cells)
    return table


def _condition(trials: Sequence[Trial]) -> str:
    """The conditions that all trials share, and how busy the machine was."""
    loads, threads, batches = (
        {getattr(t, n) for t in trials} for n in ("load", "threads", "batch")
    )
    parts = [f"{n} threads" for n in threads if len(threads) == 1 and n > 1]
    parts += [f"batch {n}" for n in batches if len(batches) == 1 and n > 1]
    parts += [f"{n} background processes" for n in loads if len(loads) == 1 and n]
    if busy := [trial.others for trial in trials if trial.others is not None]:
        parts.append(f"other load {median(busy):.1f} ({min(busy):.1f} to {max(busy):.1f})")
    return "".join(f", {part}" for part in parts)


def _measured(trials: Sequence[Trial]) -> str:
    """The median estimated change of the trials, and the median number of pairs they took."""
    change = math.expm1(median(hodges_lehmann(trial.ratios) for trial in trials))
    pairs = median(len(trial.ratios) for trial in trials)
    return f"({change * 100:+.1f} %, {pairs:.0f} pairs)"


def _cell(says: Sequence[bool]) -> str:
    low, high = clopper_pearson(sum(says), len(says))
    return f"{sum(says)}/{len(says)}\n{low * 100:.1f}..{high * 100:.1f} %"
