"""A speed check as a page."""

from __future__ import annotations

from collections import Counter

from qreg.records.verdict import Outcome
from qreg.report.charts import Interval, interval_chart
from qreg.report.gate_page import TONES, headline
from qreg.report.simple_page import Chart, Details, page_table, simple_page
from qreg.speed.compare.rule import SequentialPlan
from qreg.speed.records import SpeedRun
from qreg.speed.report.check import speed_lines, speed_notes, speed_table


def speed_page(run: SpeedRun, plan: SequentialPlan, *, created: str) -> str:
    """The whole page: verdicts, the change of each case with its interval, and how it was found."""
    ordered = sorted(run.verdicts, key=lambda one: -one.outcome.severity)
    outcomes = Counter(one.outcome for one in ordered)
    worst = ordered[0].outcome if ordered else Outcome.ERROR
    title = f"speed: {run.candidate.given} against {run.baseline.given}"
    intervals = [
        Interval(str(one.case), 100 * s.low, 100 * s.change, 100 * s.high, TONES[one.outcome])
        for one in ordered
        if (s := one.speed) is not None
    ]
    named = zip(ordered, speed_lines(run), strict=False)
    return simple_page(
        title=title,
        created=created,
        tone=TONES[worst],
        headline=headline(outcomes),
        points=[line for one, line in named if one.outcome is not Outcome.PASS][:8],
        charts=[
            Chart(
                "Change of the time per call",
                interval_chart(intervals, unit="% (right is slower)", title=title),
                "With its interval; where that touches 0, no change was shown.",
            )
        ],
        tables=[page_table(speed_table(run), tones=[TONES[one.outcome] for one in ordered])],
        sections=[Details("How it was measured", speed_notes(run, plan), opened=True)],
    )
