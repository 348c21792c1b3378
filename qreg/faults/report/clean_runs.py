"""The table of clean runs: false alarms, and the noise on which tolerances are based."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.faults.noise import EnvironmentNoise
from qreg.faults.results import CleanRun, Proof
from qreg.stats.intervals import clopper_pearson

_COLUMNS = (
    "cases",
    "bit by\nbit",
    "false\nalarms",
    "SQNR\nfall dB",
    "logits\ncloser dB",
    "float\nlogits dB",
    "scale",
    "zero\npoint",
    "flips",
)


def clean_table(runs: Sequence[CleanRun]) -> Table:
    """A row per setting and baseline: verdicts, and the largest noise of any case."""
    title = "Clean runs (no fault)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("process", no_wrap=True)
    table.add_column("baseline", no_wrap=True)
    for header in _COLUMNS:
        table.add_column(header, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list[CleanRun]] = {}
    for run in runs:
        groups.setdefault((run.setting, run.baseline), []).append(run)
    for (setting, baseline), group in groups.items():
        table.add_row(setting, baseline, *_cells(group))
    table.add_section()
    table.add_row("all", "", *_cells(runs))
    return table


def _cells(runs: Sequence[CleanRun]) -> tuple[str, ...]:
    worst = EnvironmentNoise()
    for run in runs:
        worst = worst.worst(run.observed.noise or EnvironmentNoise())
    return (
        str(len(runs)),
        str(sum(run.observed.same_environment for run in runs)),
        str(sum(not run.judged.silent for run in runs)),
        f"{worst.sqnr_fall_db:.2f}",
        _finite(worst.logits_closer_db),
        _finite(worst.float_logits_db),
        f"{worst.scale:.1e}" if worst.scale else "0",
        str(worst.zero_point),
        str(worst.flips),
    )


def _finite(db: float) -> str:
    return f"{db:.1f}" if math.isfinite(db) else "equal"


def clean_notes(proof: Proof) -> tuple[str, ...]:
    """Notes for the table, one sentence per line."""
    runs = proof.clean
    alarms = [run for run in runs if not run.judged.silent]
    details = [
        f"{run.judged.outcome.value} {run.observed.case} in {run.setting}, {run.baseline} "
        f"baseline: {', '.join(run.judged.checks) or run.observed.reason}"
        for run in alarms
    ]
    high = clopper_pearson(len(alarms), len(runs))[1] if runs else 1.0
    return (
        f"{len(alarms)} false alarms in {len(runs)} verdicts of "
        f"{len({run.observed.case for run in runs})} cases: at most {high:.2%} of verdicts "
        "(Clopper-Pearson, 95 %, two-sided).",
        *details,
        *_left_out(proof),
        "SQNR fall: the largest decrease of any layer. Logits closer: how much closer the logits "
        "are to the baseline's than quantization is to float, at least. Float logits: SQNR of the "
        "logits of models that are not quantized. Scale, zero point: the largest difference of "
        "any tensor, relative for scales.",
    )


def _left_out(proof: Proof) -> tuple[str, ...]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in proof.left_out:
        reasons.setdefault((one.setting, one.reason), []).append(str(one.case))
    return tuple(
        f"Excluded in {setting} because of a true loss ({reason}): {', '.join(cases)}."
        for (setting, reason), cases in reasons.items()
    )
