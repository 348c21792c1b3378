"""The comparison of several versions for a terminal, as Markdown, as a page and as JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from rich.box import SIMPLE_HEAD
from rich.table import Table

from qreg.report.escape import markdown
from qreg.report.json_text import enveloped
from qreg.report.simple_page import Details, PageTable, Row, simple_page
from qreg.upgrade.matrix.records import (
    Appearance,
    BisectionTrial,
    Change,
    ChangeSubject,
    MatrixReport,
    PairRecord,
)
from qreg.upgrade.records import CaseUpgrade, ChangeKind, UpgradeLevel
from qreg.upgrade.releases import is_version, short_side
from qreg.upgrade.report.html_page import TONES
from qreg.upgrade.report.markdown import MARKS, folded, table_lines
from qreg.upgrade.report.sections import PROPERTY_WORDS, Section, sections
from qreg.upgrade.report.words import SHORT, headline
from qreg.upgrade.report.words import title as pair_title

#: 1: format, qreg, created, level, and a matrix as in qreg.upgrade.matrix.records.
FORMAT = 1
LEGEND = (
    "Each version is compared with the next; what a case's verdict is for stands below it. first "
    "at: the first version known to differ from the one before it in this way."
)
_LONGEST = 72
# Stands for all changes that appear at one place.
_ANY = Change(ChangeSubject.CASE, "*", "*")


def labels(report: MatrixReport) -> dict[str, str]:
    """Short names of all that was compared: the PyTorch that an interpreter has, if it tells."""
    torch: dict[str, str] = {}
    for pair in report.pairs:
        if pair.report is not None:
            for given, side in (
                (pair.baseline, pair.report.baseline),
                (pair.candidate, pair.report.candidate),
            ):
                torch[given] = side.environment.torch.partition("+")[0]
    plain = {
        one: one if is_version(one) else torch.get(one, short_side(one)) for one in _all(report)
    }
    counts = Counter(plain.values())
    found = {one: name if counts[name] == 1 else short_side(one) for one, name in plain.items()}
    return {one: name.replace("==", " ") for one, name in found.items()}


def _all(report: MatrixReport) -> dict[str, None]:
    """All versions that are named, each once."""
    tried = (one.release for one in report.trials)
    found = [name for x in report.appearances for name in (x.first, x.before, *x.between, *x.gone)]
    return dict.fromkeys((*report.versions, *tried, *found))


def title(report: MatrixReport) -> str:
    """What is compared."""
    names = labels(report)
    how = ", releases in between bisected" if report.bisected else ""
    return f"PyTorch {' -> '.join(names[one] for one in report.versions)}{how}"


def verdict_line(report: MatrixReport) -> str:
    """The worst verdict, and of which pair it is."""
    done = [pair for pair in report.pairs if pair.report is not None]
    if not done:
        return "nothing could be compared"
    worst = next(pair for pair in done if pair.report and pair.report.level is report.level)
    assert worst.report is not None
    if len(report.pairs) > 1 and report.level is not UpgradeLevel.SAFE:
        return f"{_arrow(worst, labels(report))}: {headline(worst.report)}"
    cases = [one for pair in done if pair.report for one in pair.report.cases]
    compared = sum(one.level is not None for one in cases)
    if not compared:
        return "no case could be compared"
    plural = "s" if compared > 1 else ""
    return f"{report.level.value} in {compared} comparison{plural} of cases"


def points(report: MatrixReport) -> tuple[str, ...]:
    """Below the verdict: pairs that could not be compared, or not bisected."""
    names = labels(report)
    failed = (pair for pair in report.pairs if pair.report is None)
    return (
        *(f"{_arrow(pair, names)}: not compared: {pair.failed}" for pair in failed),
        *(f"not bisected: {text}" for text in report.skipped),
    )


def header(report: MatrixReport) -> tuple[str, ...]:
    """The table's columns."""
    names = labels(report)
    return "case or change", "first at", *(_arrow(p, names, "\n-> ") for p in report.pairs)


def rows(report: MatrixReport) -> tuple[Row, ...]:
    """A row per case, in their order, then one for each other change."""
    names = labels(report)
    cases = dict.fromkeys(
        str(one.case) for pair in report.pairs if pair.report for one in pair.report.cases
    )
    where = {(name.partition("/")[0], name.rpartition("@")[2]) for name in cases}
    others = dict.fromkeys(
        (one.change.subject, one.change.name)
        for one in sorted(report.appearances, key=lambda one: one.change.key)
        if one.change.subject is not ChangeSubject.CASE
    )
    return (
        *(_case_row(report, name, names, short=len(where) == 1) for name in cases),
        *(_change_row(report, subject, name, names) for subject, name in others),
    )


def _case_row(report: MatrixReport, name: str, names: dict[str, str], *, short: bool) -> Row:
    here = [one for one in report.appearances if _is(one.change, ChangeSubject.CASE, name)]
    cells, worst = [], UpgradeLevel.SAFE
    for number, pair in enumerate(report.pairs):
        case = _case(pair, name)
        if case is None:
            cells.append("-")
            continue
        worst = max(worst, case.level or UpgradeLevel.SAFE, key=lambda level: level.severity)
        whats = (_what(one, pair, names) for one in here if one.pair == number)
        cells.append("\n".join((SHORT[case.level], *whats)))
    shown = name.partition("/")[2].rpartition("@")[0] if short else name
    return Row((shown, _first(here, names), *cells), TONES[worst] if here else "")


def _change_row(
    report: MatrixReport, subject: ChangeSubject, name: str, names: dict[str, str]
) -> Row:
    here = [one for one in report.appearances if _is(one.change, subject, name)]
    cells = [
        "\n".join(_what(one, pair, names) for one in here if one.pair == number)
        for number, pair in enumerate(report.pairs)
    ]
    return Row((_cut(name), _first(here, names), *cells))


def _case(pair: PairRecord, name: str) -> CaseUpgrade | None:
    cases = pair.report.cases if pair.report else ()
    return next((one for one in cases if str(one.case) == name), None)


def _is(change: Change, subject: ChangeSubject, name: str) -> bool:
    return (change.subject, change.name) == (subject, name)


def _what(one: Appearance, pair: PairRecord, names: dict[str, str]) -> str:
    """The change, and the release where the pair's later version is not the first to have it."""
    since = f": from {names[one.first]}" if one.first != pair.candidate else ""
    return f"{_word(one.change)}{since}"


def _word(change: Change) -> str:
    """What changed, as in the report of a pair."""
    if change.subject is ChangeSubject.PROPERTY:
        return PROPERTY_WORDS.get(ChangeKind(change.what), change.what)
    return change.what


def _first(appearances: Iterable[Appearance], names: dict[str, str]) -> str:
    """The first versions of the first pair that has changes."""
    found = sorted(appearances, key=lambda one: one.pair)
    return "\n".join(dict.fromkeys(names[one.first] for one in found if one.pair == found[0].pair))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _arrow(pair: PairRecord, names: dict[str, str], arrow: str = " -> ") -> str:
    return f"{names[pair.baseline]}{arrow}{names[pair.candidate]}"


def matrix_sections(report: MatrixReport) -> tuple[Section, ...]:
    """What appears where, and what was compared."""
    parts = (
        Section("First versions", tuple(_appearance_lines(report))),
        Section("Comparisons", tuple(_comparison_lines(report))),
    )
    return tuple(part for part in parts if part.lines)


def _appearance_lines(report: MatrixReport) -> Iterator[str]:
    """The changes by where they appear, the earliest pair and its earliest version first."""
    names = labels(report)
    failed = {one.release for one in report.trials if one.failed}
    found: dict[Appearance, list[Change]] = {}
    for one in report.appearances:
        found.setdefault(replace(one, change=_ANY), []).append(one.change)
    for one, changes in sorted(found.items(), key=lambda item: _place(item[0])):
        yield f"first at {names[one.first]}, not at {names[one.before]}"
        for change in sorted(changes, key=lambda change: change.key):
            yield f"  {change.name}: {_word(change)}"
        for release in one.between:
            why = "cannot be compared" if release in failed else "does not tell"
            yield f"  ({names[release]}, in between, {why})"
        if one.gone:
            yield f"  (absent again at {', '.join(names[name] for name in one.gone)})"


def _place(one: Appearance) -> tuple[int, list[int]]:
    return one.pair, [int(number) for number in re.findall(r"\d+", one.first)]


def _comparison_lines(report: MatrixReport) -> Iterator[str]:
    names = labels(report)
    for number, pair in enumerate(report.pairs):
        if pair.report is None:
            yield f"{_arrow(pair, names)}: not compared"
            yield f"  {pair.failed}"
        else:
            yield f"{_arrow(pair, names)}: {pair.report.level.value}, {pair.report.seconds:.0f} s"
            yield from (f"  {text}" for text in pair.report.reasons)
        for one in (one for one in report.trials if one.pair == number):
            yield f"{names[pair.baseline]} -> {names[one.release]}: {_trial(one)}"


def _trial(one: BisectionTrial) -> str:
    if one.level is None:
        return f"not compared: {one.failed}"
    return f"{one.level.value}, {one.seconds:.0f} s"


def _pair_sections(report: MatrixReport) -> Iterator[Section]:
    names = labels(report)
    for pair in report.pairs:
        for part in sections(pair.report) if pair.report else ():
            yield replace(part, title=f"{_arrow(pair, names)}: {part.title}")


def matrix_table(report: MatrixReport) -> Table:
    """The table of `rows`."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in header(report):
        table.add_column(name)
    for row in rows(report):
        table.add_row(*row.cells)
    return table


def opening_lines(report: MatrixReport) -> tuple[str, ...]:
    """The verdict, what was compared, and what was not."""
    return verdict_line(report), title(report), *(f"- {text}" for text in points(report))


def closing_lines(report: MatrixReport) -> tuple[str, ...]:
    """What appears where."""
    lines = [LEGEND, ""]
    for section in matrix_sections(report):
        lines += [section.title, *(f"  {line}" for line in section.lines), ""]
    return tuple(lines)


def matrix_markdown(report: MatrixReport) -> str:
    """The verdict, the table, and folded details, of each pair too."""
    lines = [
        f"## {markdown(title(report))}",
        "",
        f"{MARKS[report.level]} **{markdown(verdict_line(report))}**",
        "",
        *(f"- {markdown(text)}" for text in points(report)),
        "",
        *table_lines(header(report), [row.cells for row in rows(report)]),
        "",
        markdown(LEGEND),
        "",
    ]
    for section in (*matrix_sections(report), *_pair_sections(report)):
        lines += folded(section)
    return "\n".join(lines).rstrip() + "\n"


def matrix_html(report: MatrixReport, *, created: str) -> str:
    """One self-contained page; `created` is an ISO 8601 time."""
    opened = len(matrix_sections(report))
    parts = (*matrix_sections(report), *_pair_sections(report))
    return simple_page(
        title=title(report),
        created=created,
        tone="warn"
        if points(report) and report.level is UpgradeLevel.SAFE
        else TONES[report.level],
        headline=verdict_line(report),
        points=(*points(report), *_titles(report)),
        tables=[PageTable("Versions", header(report), rows(report), LEGEND)],
        sections=[
            Details(part.title, part.lines, number < opened) for number, part in enumerate(parts)
        ],
    )


def _titles(report: MatrixReport) -> tuple[str, ...]:
    return tuple(pair_title(pair.report) for pair in report.pairs if pair.report)


def matrix_text(report: MatrixReport, *, created: str) -> str:
    """All as JSON, keys sorted. `created` is an ISO 8601 time."""
    content = {**asdict(report), "level": report.level}
    return enveloped(content, number=FORMAT, created=created)
