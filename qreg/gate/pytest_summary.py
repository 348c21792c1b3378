"""What a run of the gate says at its end: verdicts worst first, skips counted, levels named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qreg.gate.report import promise_line, summary_line
from qreg.records.verdict import Outcome
from qreg.stats.holm import FAMILY_ALPHA, holm

_PROPERTY = "qreg"
Record = dict[str, Any]


class Summary:
    """Collects the verdicts of all processes of a run; the only one to write."""

    def __init__(self, config: pytest.Config) -> None:
        self._json: Path | None = config.getoption("qreg_json")
        self._strict: bool = config.getoption("qreg_strict")
        self._records: list[Record] = []
        self._skips: Counter[str] = Counter()
        self._seen = 0

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the verdict out of a case's report."""
        if not report.nodeid.startswith("qreg::"):
            return
        self._seen += report.when == "call"
        if report.when == "call":
            self._records += [
                json.loads(str(value))
                for name, value in report.user_properties
                if name == _PROPERTY
            ]
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skips[report.longrepr[2].removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that judged nothing, and write the JSON."""
        if self._seen and not self._judged() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._json and self._seen:
            from qreg.files import write_atomically

            text = json.dumps(self._sorted(), indent=1, sort_keys=True)
            write_atomically(self._json, text.encode() + b"\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the section."""
        if self._seen:
            terminalreporter.section("qreg: quantized models against their baselines")
            for line in self._lines():
                terminalreporter.line(line)

    def _judged(self) -> list[Record]:
        return [r for r in self._records if r["outcome"] != Outcome.NO_BASELINE.value]

    def _sorted(self) -> list[Record]:
        return sorted(self._records, key=lambda r: (-Outcome(r["outcome"]).severity, r["case"]))

    def _by_holm(self) -> list[str]:
        """Cases that are significant once the ones that failed are known to be."""
        tests = [(r, p) for r in self._records for p in r["p_values"]]
        rejected = holm([p for _, p in tests])
        found = [r for (r, _), hit in zip(tests, rejected, strict=True) if hit]
        return list(dict.fromkeys(r["case"] for r in found if not Outcome(r["outcome"]).fails))

    def _lines(self) -> Iterator[str]:
        for record in self._sorted():
            outcome = Outcome(record["outcome"])
            # what failed is shown in full above, among pytest's failures
            if outcome is not Outcome.PASS:
                yield from record["short" if outcome.fails or self._strict else "lines"]
        no_baseline = len(self._records) - len(self._judged())
        skipped = sum(self._skips.values()) - no_baseline
        yield summary_line([record["outcome"] for record in self._records], skipped)
        for reason, count in sorted(self._skips.items()):
            yield f"skipped {count}: {reason}"
        for reason, count in Counter(r["reason"] for r in self._judged() if r["reason"]).items():
            yield f"{count} cases: {reason}"
        if drops := [r["detectable"] for r in self._records if r["detectable"] is not None]:
            yield (
                "smallest drop of accuracy that would have shown (power 80 %): "
                f"{min(drops) * 100:.2f} to {max(drops) * 100:.2f} points; "
                f"chance of any false alarm in this run: below {FAMILY_ALPHA:.0%} (Holm)"
            )
        if self._judged():
            yield promise_line(self._judged())
        if further := self._by_holm():
            yield f"significant too by Holm's procedure, in this run: {', '.join(further)}"
        if not self._judged():
            yield "no case was judged: the run fails"
