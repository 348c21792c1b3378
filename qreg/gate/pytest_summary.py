"""The summary at the end of a gate run: verdicts (worst first), counts of skips, error rates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qreg.gate.outputs import PAGE, Outputs
from qreg.gate.report import budget_line, promise_line, summary_line, verdict_record
from qreg.records.budget import KnownFailure
from qreg.records.decode import decoder, parse, plain
from qreg.records.detail import CaseDetail
from qreg.records.verdict import Outcome, Verdict
from qreg.report.escape import visible
from qreg.stats.holm import FAMILY_ALPHA, holm

if TYPE_CHECKING:
    from qreg.records.case import Case
    from qreg.report.location import Location

_PROPERTY, _KNOWN, _ENVIRONMENT = "qreg", "qreg-known", "qreg-environment"
#: Suffix of a reason for judging no case, where this is not the user's choice.
FAILS = "the run fails"
Record = dict[str, Any]


class RunSummary:
    """Collects the verdicts of all processes of a run; the only writer of results.

    Args:
        locate: the line that a reviewer is shown of a case.
        not_judged: why no case is judged although it was requested, "" where cases are judged.
    """

    def __init__(
        self, config: pytest.Config, locate: Callable[[Case], Location], not_judged: str = ""
    ) -> None:
        self._outputs = Outputs(
            json=config.getoption("qreg_json"),
            page=config.getoption("qreg_report"),
            markdown=config.getoption("qreg_markdown"),
            code_quality=config.getoption("qreg_code_quality"),
            environment=os.environ,
        )
        self._locate = locate
        self._strict: bool = config.getoption("qreg_strict")
        self._not_judged = not_judged
        self._recorded = ""
        #: The file of the history and the project's folder, None where nothing is recorded.
        self.store: Callable[[], tuple[Path, Path] | None] = lambda: None
        # by item: if a plugin reruns one, its last attempt counts
        self._found: dict[str, Record] = {}
        self._skipped: dict[str, str] = {}
        self._verdicts: dict[str, tuple[Verdict, CaseDetail | None]] = {}
        self._known: dict[str, KnownFailure] = {}
        self._seen: set[str] = set()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Extract the verdict from a case's report."""
        if not report.nodeid.startswith("qreg::"):
            return
        if report.when == "call":
            self._seen.add(report.nodeid)
            for attempts in (self._found, self._skipped, self._verdicts, self._known):
                attempts.pop(report.nodeid, None)
            for name, value in report.user_properties:
                if name == _PROPERTY:
                    verdict = decoder(Verdict)(parse(str(value).encode()))
                    self._found[report.nodeid] = verdict_record(verdict)
                    self._verdicts[report.nodeid] = verdict, _detail(report)
                if name == _ENVIRONMENT:
                    self._found[report.nodeid]["environment"] = str(value)
                if name == _KNOWN:
                    known = decoder(KnownFailure)(parse(str(value).encode()))
                    self._known[report.nodeid] = known
                    self._found[report.nodeid]["known_failure"] = plain(known)
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")

    @property
    def _records(self) -> list[Record]:
        return list(self._found.values())

    @property
    def _skips(self) -> Counter[str]:
        return Counter(self._skipped.values())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that judged nothing, and write the files."""
        vanished = self._not_judged.endswith(FAILS) or (self._seen and not self._judged())
        if vanished and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._seen:
            found, lines = list(self._verdicts.values()), list(self._closing_lines())
            self._outputs.write(self._sorted(), found, lines, self._locate)
            if store := self.store():
                self._record(*store, found)

    def _record(
        self, path: Path, root: Path, judged: list[tuple[Verdict, CaseDetail | None]]
    ) -> None:
        from qreg.git import current_commit
        from qreg.history.store import append, gate_entries

        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        entries = gate_entries(judged, time=time, commit=current_commit(root))
        append(path, entries)
        self._recorded = f"recorded {len(entries)} cases in {path}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the section."""
        if self._seen or self._not_judged:
            terminalreporter.section("qreg: quantized models against their baselines")
        if self._not_judged:
            terminalreporter.line(visible(f"no case was judged: {self._not_judged}"))
        if self._seen:
            for line in self._lines():
                terminalreporter.line(visible(line))
            if self._recorded:
                terminalreporter.line(visible(self._recorded))
            if self._outputs.page:
                terminalreporter.line(visible(f"page: {self._outputs.page / PAGE}"))
            for line in self._outputs.annotations(self._unexcused(), self._locate):
                terminalreporter.line(line)

    def _unexcused(self) -> list[tuple[Verdict, CaseDetail | None]]:
        """The verdicts without those of known failures."""
        return [found for node, found in self._verdicts.items() if node not in self._known]

    def _judged(self) -> list[Record]:
        return [r for r in self._records if r["outcome"] != Outcome.NO_BASELINE.value]

    def _sorted(self) -> list[Record]:
        return sorted(self._records, key=lambda r: (-Outcome(r["outcome"]).severity, r["case"]))

    def _by_holm(self) -> list[str]:
        """Cases that become significant by Holm's procedure once the failed ones are rejected."""
        tests = [(r, p) for r in self._records for p in r["p_values"]]
        rejected = holm([p for _, p in tests])
        found = [r for (r, _), hit in zip(tests, rejected, strict=True) if hit]
        return list(dict.fromkeys(r["case"] for r in found if not Outcome(r["outcome"]).fails))

    def _lines(self) -> Iterator[str]:
        for record in self._sorted():
            yield from self._case_lines(record)
        yield from self._closing_lines()

    def _case_lines(self, record: Record) -> Iterator[str]:
        outcome = Outcome(record["outcome"])
        if known := record["known_failure"]:
            yield (
                f"known failure {record['case']}: {outcome.value}, excused until "
                f"{known['expires']}: {known['reason']}"
            )
        # failures are shown in full above, among pytest's failures
        elif outcome is not Outcome.PASS:
            yield from record["short" if outcome.fails or self._strict else "lines"]

    def _closing_lines(self) -> Iterator[str]:
        yield from environment_lines(self._records)
        no_baseline = len(self._records) - len(self._judged())
        skipped = sum(self._skips.values()) - no_baseline
        yield summary_line([record["outcome"] for record in self._records], skipped)
        if unchanged := sum(record["unchanged"] for record in self._records):
            yield (
                f"unchanged {unchanged}: passed before, and all that determines their results is "
                "equal; judge them: --no-qreg-cache"
            )
        if self._known:
            yield f"known failures {len(self._known)}: counted above, and excused"
        if failed := len(self._seen - self._found.keys() - self._skipped.keys()):
            yield f"failed without a verdict {failed}: see the failures above"
        for reason, count in sorted(self._skips.items()):
            yield f"skipped {count}: {reason}"
        for reason, count in Counter(r["reason"] for r in self._judged() if r["reason"]).items():
            yield f"{count} cases: {reason}"
        yield from _data_lines(self._judged())
        yield from _detectable_lines(self._records)
        if self._judged():
            yield _weights_line(self._judged())
            yield promise_line(self._judged())
        if line := budget_line(self._records):
            yield line
        if further := self._by_holm():
            yield f"also significant by Holm's procedure in this run: {', '.join(further)}"
        if not self._judged():
            yield f"no case was judged: {FAILS}"


def environment_lines(records: list[Record]) -> Iterator[str]:
    """How each case stands on each kind of machine, where that was asked for."""
    kinds = list(dict.fromkeys(one["environment"] for one in records if "environment" in one))
    if not kinds:
        return
    yield "on each kind of machine:"
    for number, kind in enumerate(kinds, 1):
        yield f"  {number}  {kind}"
    found = {(one["case"], one["environment"]): one["outcome"] for one in records}
    cases = list(dict.fromkeys(one["case"] for one in records))
    width, column = max(map(len, cases)), max(map(len, found.values()))
    rows = [("", [str(number) for number in range(1, len(kinds) + 1)])]
    rows += [(case, [found.get((case, kind), "-") for kind in kinds]) for case in cases]
    for case, cells in rows:
        yield f"  {case:{width}}  {'  '.join(f'{cell:<{column}}' for cell in cells)}".rstrip()


def _detail(report: pytest.TestReport) -> CaseDetail | None:
    text = getattr(report, "qreg_detail", None)
    return decoder(CaseDetail)(parse(text.encode())) if text else None


def _data_lines(judged: list[Record]) -> Iterator[str]:
    """What was done to samples and outputs, by dataset and model: it holds of a PASS too."""
    noted = Counter(
        (str(record["case"]).rpartition("/")[0], note)
        for record in judged
        for note in record["data_notes"]
    )
    for (scope, note), count in noted.items():
        yield f"{scope}, {count} {'case' if count == 1 else 'cases'}: {note}"


def _detectable_lines(records: list[Record]) -> Iterator[str]:
    """A line for each of the figures that are judged: accuracy, or the summaries of tasks."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record["detectable"] is not None:
            found.setdefault((record["judged_by"], record["unit"]), []).append(record["detectable"])
    for number, ((what, unit), drops) in enumerate(found.items()):
        alarms = f"; probability of any false alarm in this run: below {FAMILY_ALPHA:.0%} (Holm)"
        percent = unit == "%"
        low, high = (
            f"{end * 100:.2f}" if percent else f"{end:.3g}" for end in (min(drops), max(drops))
        )
        if not max(drops):  # equal scores, one by one: nothing hides a change
            ends = "any, as no sample's score moved"
        else:
            between = low if low == high else f"{low} to {high}"
            ends = f"{between} {'points' if percent else unit}".rstrip()
        yield (
            f"smallest detectable {what} (power 80 %): {ends}"
            f"{alarms if number == len(found) - 1 else ''}"
        )


def _weights_line(judged: list[Record]) -> str:
    # a case that could not be made has none
    sources = Counter(text.partition(",")[0] for record in judged if (text := record["weights"]))
    named = ", ".join(f"{source} {count}" for source, count in sources.items())
    return f"weights: {named or 'of no case'}"
