"""A sensitivity as a page."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.report.charts import Interval, interval_chart
from qreg.report.simple_page import Chart, Details, page_table, simple_page
from qreg.sensitivity.records import Sensitivity
from qreg.sensitivity.report import headline, sensitivity_notes, sensitivity_table

# Rows of the chart; the table has all sites.
_ROWS = 24


def sensitivity_page(result: Sensitivity, *, created: str) -> str:
    """The whole page: which sites do damage, how sure that is, and what each would cost in size."""
    unit = "points" if result.unit == "%" else result.unit or result.summary
    title = f"sensitivity of {result.case}"
    shown = [e for e in result.effects if e.only is not None or e.rank]
    tones = ["bad" if effect.significant else "" for effect in shown]
    return simple_page(
        title=title,
        created=created,
        tone="bad" if result.harmful else "good",
        headline=headline(result),
        points=[],
        charts=[
            Chart(
                f"{result.summary} with only this site quantized",
                interval_chart(list(_intervals(result)), unit=unit, title=title),
                f"Change from float with its interval; "
                f"{'left' if result.higher_is_better else 'right'} is worse. "
                "Red: significant after Holm's correction.",
            )
        ],
        tables=[page_table(sensitivity_table(result, everything=True), tones=tones)],
        sections=[
            Details("The columns", tuple(sensitivity_notes(result, everything=True)), opened=True)
        ],
    )


def _intervals(result: Sensitivity) -> Iterator[Interval]:
    factor = 100 if result.unit == "%" else 1
    for effect in [one for one in result.effects if one.only is not None][:_ROWS]:
        assert effect.only is not None
        change = effect.only.score
        ends = [factor * value for value in (change.low, change.change, change.high)]
        yield Interval(
            str(effect.site), ends[0], ends[1], ends[2], "bad" if effect.significant else "info"
        )
