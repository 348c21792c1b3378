"""A delivered file compared with the approved one: what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.records.model_file import ModelFile
from qreg.records.verdict import Check, Finding, Outcome


def judge_file(now: ModelFile | None, before: ModelFile | None) -> Iterator[Finding]:
    """Format, operator sets and external files must be the same; the content is judged as run."""
    if now is None or before is None:
        if now != before:
            yield _finding("file", str(before or "no file"), str(now or "no file"))
        return
    for what, here, there in (
        ("format", now.format, before.format),
        ("operator sets", ", ".join(now.opsets), ", ".join(before.opsets)),
        ("files of external data", ", ".join(now.external), ", ".join(before.external)),
    ):
        if here != there:
            yield _finding(what, there or "none", here or "none")


def _finding(what: str, expected: str, observed: str) -> Finding:
    return Finding(
        check=Check.FILE,
        outcome=Outcome.REGRESSED,
        expected=expected,
        observed=observed,
        allowed="the same, or approve the new file",
        where=what,
    )


def file_note(now: ModelFile | None, before: ModelFile | None) -> str:
    """That the file's bytes are others, whatever its numbers are; "" where they are the same."""
    if now is None or before is None or now.sha256 == before.sha256:
        return ""
    by = f", written by {now.producer}" if now.producer and now.producer != before.producer else ""
    return (
        f"another file: sha256 {now.sha256[:16]}{by}; approved {before.sha256[:16]}: what it holds "
        "and computes was judged"
    )
