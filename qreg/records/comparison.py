"""The measurements of a model and its quantized versions, in the order of their methods.

Only the standard library and the other records may be imported here.
"""

from __future__ import annotations

from collections.abc import Iterable

from qreg.records.case import Failure
from qreg.records.detail import CaseDetail
from qreg.records.measurement import Measurement
from qreg.records.shown import Shown


class Comparison(tuple["Measurement | Failure", ...], Shown):
    """A tuple with a measurement or a failure for each case, fp32's first.

    Attributes:
        details: what a page shows of the measured cases; () unless they were asked for.
    """

    _html = "qreg.report.notebook:comparison_html"
    details: tuple[CaseDetail, ...]

    def __new__(
        cls, results: Iterable[Measurement | Failure], details: tuple[CaseDetail, ...] = ()
    ) -> Comparison:
        made = super().__new__(cls, tuple(results))
        made.details = details
        return made
