"""What a run of the gate writes besides its text: JSON, a page, and what reviewers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qreg.files import write_output

if TYPE_CHECKING:
    from qreg.records.case import Case
    from qreg.records.detail import CaseDetail
    from qreg.records.verdict import Verdict
    from qreg.report.location import Location

_SUMMARY = "GITHUB_STEP_SUMMARY"
PAGE = "index.html"


@dataclass(frozen=True)
class Outputs:
    """The files that were asked for; None where one was not.

    Attributes:
        page: a folder.
        environment: as the CI service sets it.
    """

    json: Path | None
    page: Path | None
    markdown: Path | None
    code_quality: Path | None
    environment: Mapping[str, str]

    def write(
        self,
        records: Sequence[dict[str, Any]],
        judged: Sequence[tuple[Verdict, CaseDetail | None]],
        lines: Sequence[str],
        locate: Callable[[Case], Location],
    ) -> None:
        """Write all of them.

        Args:
            records: of the JSON file.
            lines: the summary of the run.

        Raises:
            QregError: a file cannot be written.
        """
        if self.json:
            text = json.dumps(list(records), indent=1, sort_keys=True)
            write_output(self.json, text.encode() + b"\n")
        if self.page:
            from qreg.report.gate_page import gate_page

            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            page = gate_page(judged, created=created, lines=lines)
            write_output(self.page / PAGE, page.encode(errors="replace"))
        if self.code_quality:
            from qreg.report.review import code_quality

            write_output(self.code_quality, code_quality(judged, locate).encode(errors="replace"))
        summary = self.environment.get(_SUMMARY, "")
        if self.markdown or summary:
            from qreg.report.review import review_markdown

            text = review_markdown(judged, lines=lines, link=self.link)
            if self.markdown:
                write_output(self.markdown, text.encode(errors="replace"))
            if summary:
                _append(Path(summary), text)

    def annotations(
        self,
        judged: Sequence[tuple[Verdict, CaseDetail | None]],
        locate: Callable[[Case], Location],
    ) -> tuple[str, ...]:
        """The lines that make GitHub annotate the changed files; () elsewhere."""
        github = self.environment.get("GITHUB_ACTIONS") == "true" or _SUMMARY in self.environment
        if not github:
            return ()
        from qreg.report.review import github_lines

        return github_lines(judged, locate)

    @property
    def link(self) -> str:
        """Where the page is found: the run on the CI service, else the file."""
        given = self.environment
        if run := given.get("GITHUB_RUN_ID"):
            server = given.get("GITHUB_SERVER_URL", "https://github.com")
            return f"{server}/{given.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
        if job := given.get("CI_JOB_URL"):
            return job
        return (self.page / PAGE).as_posix() if self.page else ""


def _append(path: Path, text: str) -> None:
    # other steps have written there
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(text + "\n")
