"""Pages of tables and intervals, of real results."""

from __future__ import annotations

from rich.table import Table

from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.report.charts import Interval, interval_chart
from qreg.report.simple_page import Chart, Details, page_table, simple_page
from qreg.sensitivity.page import sensitivity_page
from qreg.sensitivity.run import Extent, measure_sensitivity
from tests.unit.report import pages

CREATED = "2026-11-25T00:00:00+00:00"


def test_a_table_of_the_terminal_is_the_same_on_a_page() -> None:
    table = Table(title=pages.HOSTILE)
    table.add_column("case")
    table.add_column("two\nlines", justify="right")
    table.add_row(pages.HOSTILE, "1\n2")
    found = page_table(table, tones=["bad"])
    assert found.rows[0].cells == (pages.HOSTILE, "1\n2")
    picture = interval_chart([Interval(pages.HOSTILE, -1, 0.5, 2)], unit="%", title="t")
    text = simple_page(
        title=pages.HOSTILE, created=CREATED, tone="bad", headline=pages.HOSTILE,
        points=[pages.HOSTILE], charts=[Chart("c", picture)], tables=[found],
        sections=[Details("s", ("a line", "  deeper"))],
    )  # fmt: skip
    assert "<script>alert" not in text
    assert 'class="pre toned bad"' in text
    assert '<li class="deeper">deeper</li>' in text


def test_intervals_lie_where_their_values_do() -> None:
    chart = str(
        interval_chart([Interval("a", -1, 0, 1), Interval("b", 3, 4, 5)], unit="%", title="")
    )
    places = [float(part.split('"')[0]) for part in chart.split('cx="')[1:]]
    assert places[0] < places[1]
    assert "a: +0 (-1 to +1) %" in chart
    assert interval_chart([], unit="%", title="") == ""


def test_a_sensitivity_names_the_harmful_sites() -> None:
    case = Case("shapes10", "linear_100", "static", "x86")
    found = measure_sensitivity(case, Options(limit=40, threads=1), Extent())
    text = sensitivity_page(found, created=CREATED)
    assert "sensitivity of shapes10/linear_100/static@x86" in text
    assert str(found.effects[0].site) in text
    assert "only it:" in text
    assert "<svg" in text
