from __future__ import annotations

from qreg.check.records import Attempt, AttemptOutcome, CheckReport, Remark, RemarkLevel
from qreg.check.report import attempt_lines, report_record


def test_of_many_remarks_of_a_kind_the_first_are_shown() -> None:
    cats = [
        Remark("scales", RemarkLevel.WARNING, f"cat {n}", "use a module", f"b{n}") for n in range(9)
    ]
    other = Remark("observers", RemarkLevel.WARNING, "never reached", "calibrate it", "head")
    works = Attempt("static", AttemptOutcome.WORKS, remarks=(*cats, other))
    report = CheckReport("net", "x86", "3x8x8", (), (works,))
    lines = [line.plain for line in attempt_lines(report)]
    assert lines == [
        "static: warning: b0: cat 0",
        "static: warning: b1: cat 1",
        "static: warning: b2: cat 2",
        "  use a module",
        "  6 more of the kind (all: --json)",
        "static: warning: head: never reached",
        "  calibrate it",
    ]
    (method,) = report_record(report)["methods"]
    assert len(method["remarks"]) == 10


def test_one_reason_of_the_float_model_is_not_said_of_each_method() -> None:
    reason = "AttributeError: no such layer"
    broken = Remark("runs", RemarkLevel.BROKEN, f"the float model does not run: {reason}")
    blocked = [Attempt(n, AttemptOutcome.BLOCKED, reason=reason) for n in ("dynamic", "static")]
    report = CheckReport("net", "x86", "3x8x8", (broken,), tuple(blocked))
    assert len(attempt_lines(report)) == 1
    other = Attempt("fx-static", AttemptOutcome.BLOCKED, reason="another one")
    report = CheckReport("net", "x86", "3x8x8", (broken,), (*blocked, other))
    assert len(attempt_lines(report)) == 3
