"""Verdicts where changes are reviewed: Markdown, annotations of GitHub, code quality of GitLab."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from qreg.gate.report import next_command
from qreg.records.case import Case
from qreg.records.detail import CaseDetail
from qreg.records.verdict import Finding, Outcome, Verdict
from qreg.report.charts import short
from qreg.report.escape import html, markdown, visible
from qreg.report.gate_page import Judgement, headline, quality, samples_text
from qreg.report.location import Location

Found = Sequence[tuple[Verdict, CaseDetail | None]]
Locate = Callable[[Case], Location]

_MARKS = {
    Outcome.PASS: "✅",
    Outcome.IMPROVED: "✅",
    Outcome.NO_BASELINE: "🟡",
    Outcome.INCONCLUSIVE: "🟡",
    Outcome.INCOMPARABLE: "❌",
    Outcome.REGRESSED: "❌",
    Outcome.ERROR: "❌",
}
#: GitHub takes 65,536 characters of a comment, and 10 annotations of each level and step.
LONGEST, ANNOTATIONS = 60_000, 10
# Of a name or a finding; a page has the whole of it.
_LONGEST_TEXT = 200


def review_markdown(judged: Found, *, lines: Sequence[str], link: str = "") -> str:
    """One line where all cases pass; else a table, and each case that did not pass, folded.

    Args:
        lines: the summary of the run, as the terminal has it.
        link: the address of the page or the run.
    """
    cases = _sorted(judged)
    counts = Counter(one.verdict.outcome for one in cases)
    worst = cases[0].verdict.outcome if cases else Outcome.ERROR
    page = f" [page]({_address(link)})" if link else ""
    text = f"{_MARKS[worst]} **qreg: {markdown(headline(counts))}**"
    detectable = next((line for line in lines if line.startswith("smallest detectable")), "")
    if set(counts) == {Outcome.PASS}:
        said = f"; {markdown(detectable.partition(';')[0])}." if detectable else "."
        return f"{text}{said}{page}\n"
    moved = [one for one in cases if one.verdict.outcome is not Outcome.PASS]
    parts = [text + page, "", *_table(moved), ""]
    size = sum(map(len, parts))
    for number, one in enumerate(moved):
        folded = "\n".join(_folded(one))
        size += len(folded)
        if size > LONGEST:
            parts += [f"{len(moved) - number} more cases: see the page or the log.", ""]
            break
        parts += [folded, ""]
    parts += [f"- {markdown(line)}" for line in lines]
    return "\n".join(parts).rstrip() + "\n"


def _sorted(judged: Found) -> list[Judgement]:
    cases = [Judgement(one, detail or CaseDetail(one.case)) for one, detail in judged]
    return sorted(cases, key=lambda one: one.order)


def _address(link: str) -> str:
    """A link's target that ends neither the link nor the line."""
    return "".join(f"%{ord(c):02X}" if c in ' ()<>"\\\n\r|' else c for c in visible(link))


def _table(cases: Sequence[Judgement]) -> Iterator[str]:
    yield _row(("", "model", "method", "dataset", "quality", "first layer", "samples"))
    yield _row(["---"] * 7)
    for one in cases[:100]:
        case = one.verdict.case
        cells = (
            case.model, f"{case.method}@{case.engine}", case.dataset, quality(one.verdict),
            one.verdict.layer, samples_text(one),
        )  # fmt: skip
        yield _row(
            (f"{_MARKS[one.verdict.outcome]} {one.verdict.outcome.value}", *map(_cell, cells))
        )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return markdown(short(text, _LONGEST_TEXT)).replace("\n", "<br>")


def _folded(one: Judgement) -> Iterator[str]:
    verdict = one.verdict
    yield f"<details><summary>{html(short(str(verdict.case), 400))}</summary>"
    yield ""
    if verdict.findings:
        yield _row(("check", "where", "expected", "observed", "allowed"))
        yield _row(["---"] * 5)
    for each in verdict.findings:
        cells = (each.where, each.expected, each.observed, each.allowed)
        yield _row((f"{each.check.value} {each.outcome.value}", *map(_cell, cells)))
    yield ""
    yield from (f"- {_cell(note)}" for note in (*verdict.notes, *verdict.data_notes))
    if command := next_command(verdict):
        yield f"- next: <code>{html(short(command, 400))}</code>"
    yield ""
    yield "</details>"


def github_lines(judged: Found, locate: Locate) -> tuple[str, ...]:
    """Commands that GitHub shows at a line: errors, warnings, notices; as many as it takes."""
    counts: Counter[str] = Counter()
    lines = []
    for one in _sorted(judged):
        outcome = one.verdict.outcome
        if outcome is Outcome.PASS:
            continue
        level = "error" if outcome.fails else "notice" if outcome is Outcome.IMPROVED else "warning"
        counts[level] += 1
        if counts[level] <= ANNOTATIONS:
            lines.append(_annotation(level, one, locate(one.verdict.case)))
    return tuple(lines)


def _annotation(level: str, one: Judgement, where: Location) -> str:
    title = _property(short(f"{one.verdict.outcome.value} {one.verdict.case}", _LONGEST_TEXT))
    place = f"file={_property(where.file)},line={where.line}"
    return f"::{level} {place},title={title}::{_message(_sentence(one))}"


def _sentence(one: Judgement) -> str:
    verdict = one.verdict
    layer = f"first diverging layer {short(verdict.layer, 80)}" if verdict.layer else ""
    findings = ", ".join(dict.fromkeys(each.check.value for each in verdict.findings))
    parts = (quality(verdict), layer, samples_text(one), f"found by {findings}" if findings else "")
    said = "; ".join(filter(None, parts)) or "; ".join(short(n, 200) for n in verdict.notes[:2])
    return f"{said or verdict.outcome.value}\nnext: {next_command(verdict)}"


# as @actions/toolkit escapes them
def _message(text: str) -> str:
    lines = "\n".join(map(visible, text.split("\n")))
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def code_quality(judged: Found, locate: Locate) -> str:
    """GitLab's code quality report: an issue for each finding, or case without one, as JSON."""
    issues = []
    for one in _sorted(judged):
        if one.verdict.outcome is Outcome.PASS:
            continue
        where = locate(one.verdict.case)
        for finding in one.verdict.findings or (None,):
            issues.append(_issue(one.verdict, finding, where))
    return json.dumps(issues, indent=1) + "\n"


def _issue(verdict: Verdict, finding: Finding | None, where: Location) -> dict[str, object]:
    outcome = finding.outcome if finding else verdict.outcome
    check = finding.check.value if finding else outcome.value.lower()
    said = (
        f"{finding.where}: expected {finding.expected}, observed {finding.observed}"
        if finding
        else "; ".join(verdict.notes[:2])
    )
    severity = "critical" if outcome.fails else "info" if outcome is Outcome.IMPROVED else "minor"
    # the same finding of the next run is the same issue: no figures are part of it
    named = f"{verdict.case}\n{check}\n{outcome.value}"
    return {
        "description": visible(
            short(f"{verdict.case}: {check} {outcome.value}: {said}", 5 * _LONGEST_TEXT)
        ),
        "check_name": f"qreg/{check}",
        "fingerprint": hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest(),
        "severity": severity,
        "location": {"path": where.file, "lines": {"begin": where.line}},
    }
