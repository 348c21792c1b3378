"""A migration as Markdown and as JSON, and its code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict

from qreg.migrate.records import Migration, Replacement
from qreg.migrate.report import groups, headers_of, headline, migration_notes, verdict_lines
from qreg.report.escape import html, markdown, visible
from qreg.report.json_text import enveloped

#: 1: format, qreg, created, and a migration as in qreg.migrate.records.
FORMAT = 1


def code_blocks(migration: Migration) -> Iterator[tuple[str, str]]:
    """Headings and Python code: each old code, then the codes that replace it."""
    pairs: dict[tuple[str, str], Replacement] = {}
    for one in migration.replacements:
        pairs.setdefault((one.replaced.method, one.case.method), one)
    shown = ""
    for (old, new), one in pairs.items():
        if old != shown:
            yield f"{old}, deprecated: {_calls(one.calls)}", one.before
        yield f"{new}, replacing {old}: {_calls(one.new_calls)}", one.after
        shown = old


def _calls(calls: tuple[str, ...]) -> str:
    train = ", train, " if calls[0].startswith("prepare_") else ", "
    return train.join(calls[:2]) + "".join(f", {call}" for call in calls[2:])


def migration_markdown(migration: Migration) -> str:
    """For a pull request: verdicts, table, notes, and collapsed code."""
    parts = [f"**{markdown(headline(migration))}**", _list(migration), _table(migration)]
    parts += [f"<sub>{markdown(note)}</sub>" for note in migration_notes(migration)]
    parts += [_folded(title, code) for title, code in code_blocks(migration)]
    return "\n\n".join(parts) + "\n"


def _list(migration: Migration) -> str:
    lines = verdict_lines(migration)
    return "\n".join(
        f"  - {markdown(x.strip())}" if x.startswith(" ") else f"- {markdown(x)}" for x in lines
    )


def _table(migration: Migration) -> str:
    headers = headers_of(migration)
    rows = [_line(headers), f"| --- {'| --: ' * (len(headers) - 1)}|"]
    rows += [_line(row) for group in groups(migration) for row in group]
    return "\n".join(rows)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(markdown(cell).replace(chr(10), '<br>') for cell in cells)} |"


def _folded(title: str, code: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    heading = f"<details><summary>{html(title)}</summary>"
    return f"{heading}\n\n{fence}python\n{visible(code)}{fence}\n</details>"


def migration_text(migration: Migration, *, created: str) -> str:
    """The whole migration as JSON, keys sorted. `created` is an ISO 8601 time."""
    return enveloped(asdict(migration), number=FORMAT, created=created)
