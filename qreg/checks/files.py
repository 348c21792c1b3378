"""A delivered file compared with the approved one: what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.records.model_file import ModelFile
from qreg.records.verdict import Check, Finding, Outcome


def judge_file(observed: ModelFile | None, baseline: ModelFile | None) -> Iterator[Finding]:
    """Format, operator sets and external files must be the same; the content is judged as run."""
    if observed is None or baseline is None:
        if observed != baseline:
            yield _finding("file", str(baseline or "no file"), str(observed or "no file"))
        return
    for what, here, there in (
        ("format", observed.format, baseline.format),
        ("operator sets", ", ".join(observed.opsets), ", ".join(baseline.opsets)),
        ("files of external data", ", ".join(observed.external), ", ".join(baseline.external)),
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


def file_note(observed: ModelFile | None, baseline: ModelFile | None) -> str:
    """That the file's bytes are others, whatever its numbers are; "" where they are the same."""
    if observed is None or baseline is None or observed.sha256 == baseline.sha256:
        return ""
    by = (
        f", written by {observed.producer}"
        if observed.producer and observed.producer != baseline.producer
        else ""
    )
    return (
        f"another file: sha256 {observed.sha256[:16]}{by}; approved {baseline.sha256[:16]}: "
        "what it holds and computes was judged"
    )
