"""What reviewers see: Markdown, GitHub's annotations, GitLab's code quality."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.gate.outputs import Outputs
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from qreg.report.location import Location, case_location
from qreg.report.review import code_quality, github_lines, review_markdown
from qreg.settings import find_settings
from tests.unit.report import pages

LINES = (
    "2 cases: 1 REGRESSED, 1 PASS",
    "smallest detectable accuracy drop (power 80 %): 1.00 to 2.00 points; probability of any",
)
WHERE = Location("nets.py", 7)


def _found(*verdicts: object) -> list:
    return [(one, pages.detail(one)) for one in verdicts]


def test_markdown_is_one_line_where_all_pass() -> None:
    passing = _found(pages.verdict(Outcome.PASS), pages.verdict(Outcome.PASS, method="fp32"))
    text = review_markdown(passing, lines=LINES, link="report/index.html")
    assert text.count("\n") == 1
    assert "All 2 cases pass" in text
    assert "1.00 to 2.00 points" in text
    assert "[page](report/index.html)" in text


def test_markdown_names_model_layer_and_samples() -> None:
    found = _found(pages.verdict(), pages.verdict(Outcome.PASS))
    text = review_markdown(found, lines=LINES)
    assert "1 of 2 cases regressed, 1 passes" in text
    assert "| ❌ REGRESSED | net | static@x86 | photos |" in text
    assert "| block.conv1 | 30 samples flipped (30 lost, 0 won) |" in text
    assert "| layers REGRESSED | block.conv1 | SQNR 30 dB | SQNR 10 dB | equal |" in text
    assert "qreg baseline diff photos/net/static@x86" in text
    assert "- 2 cases: 1 REGRESSED, 1 PASS" in text


def test_markdown_keeps_names_as_text_and_stays_small() -> None:
    bad = replace(pages.verdict(model=pages.HOSTILE), layer=pages.HOSTILE, notes=(pages.HOSTILE,))
    text = review_markdown(_found(bad), lines=(), link="a) <script> [x](y")
    assert "<script>" not in text
    assert "[x](y" not in text
    many = [pages.verdict(method=f"{pages.LONG}{n}") for n in range(300)]
    long = review_markdown(_found(*many), lines=())
    assert len(long) < 65_000 + 100 * 1000
    assert "more cases: see the page" in long


def test_github_is_shown_the_line_with_everything_escaped() -> None:
    (line,) = github_lines(_found(pages.verdict()), lambda _: WHERE)
    assert line.startswith("::error file=nets.py,line=7,title=REGRESSED photos/net/static@x86::")
    assert "first diverging layer block.conv1" in line
    assert "%0Anext: qreg baseline diff" in line
    hostile = pages.verdict(model="a,b:c\n::error ::x%")
    (line,) = github_lines(_found(hostile), lambda _: WHERE)
    assert "\n" not in line
    assert "a%2Cb%3Ac" in line
    found = _found(*(pages.verdict(method=f"m{n}") for n in range(30)))
    assert len(github_lines(found, lambda _: WHERE)) == 10
    assert github_lines(_found(pages.verdict(Outcome.PASS)), lambda _: WHERE) == ()
    (warning,) = github_lines(_found(pages.verdict(Outcome.INCONCLUSIVE)), lambda _: WHERE)
    assert warning.startswith("::warning file=")


def test_gitlab_gets_an_issue_a_finding_which_the_next_run_recognises() -> None:
    def issues(n: int) -> list[dict]:
        found = _found(pages.verdict(n=n), pages.verdict(Outcome.PASS))
        return json.loads(code_quality(found, lambda _: WHERE))

    first, second = issues(30), issues(31)
    assert [one["check_name"] for one in first] == ["qreg/accuracy", "qreg/layers"]
    assert {one["severity"] for one in first} == {"critical"}
    assert first[0]["location"] == {"path": "nets.py", "lines": {"begin": 7}}
    assert "block.conv1: expected SQNR 30 dB, observed SQNR 10 dB" in first[1]["description"]
    assert [o["fingerprint"] for o in first] == [o["fingerprint"] for o in second]
    assert first[0]["fingerprint"] != first[1]["fingerprint"]
    error = replace(pages.verdict(Outcome.ERROR), findings=())
    (issue,) = json.loads(code_quality(_found(error), lambda _: WHERE))
    assert issue["check_name"] == "qreg/error"


_TABLE = """[project]
name = "x"

[tool.qreg]
models = [
    "nets:make",
    "linear_100",
    { factory = "nets:Wide", name = "wide" },
    "gone:away",
]
datasets = ["shapes10"]
"""
_NETS = "import os\n\nother = 1\n\n\ndef make():\n    raise SystemExit\n\n\nclass Wide:\n    pass\n"


@pytest.mark.parametrize(
    ("model", "file", "line"),
    [
        ("nets:make", "part/nets.py", 6),
        ("wide", "part/nets.py", 10),
        ("linear_100", "part/pyproject.toml", 7),
        ("gone:away", "part/pyproject.toml", 9),
        ("never:named", "part/pyproject.toml", 4),
    ],
)
def test_the_line_is_that_of_the_factory_or_of_the_table(
    tmp_path: Path, model: str, file: str, line: int
) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    (tmp_path / ".git").mkdir()
    (folder / "pyproject.toml").write_text(_TABLE)
    (folder / "nets.py").write_text(_NETS)
    settings = find_settings(folder)
    assert settings is not None
    assert case_location(Case("shapes10", model, "static", "x86"), settings) == Location(file, line)


def test_the_step_summary_is_appended_to_and_links_to_the_run(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("of another step\n")
    given = {
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_RUN_ID": "42",
        "GITHUB_REPOSITORY": "me/nets",
        "GITHUB_SERVER_URL": "https://github.example",
    }
    outputs = Outputs(None, None, tmp_path / "own.md", None, given)
    found = _found(pages.verdict())
    outputs.write([], found, LINES, lambda _: WHERE)
    text = summary.read_text()
    assert text.startswith("of another step\n❌ **qreg: 1 of 1 case regressed**")
    assert "[page](https://github.example/me/nets/actions/runs/42)" in text
    assert (tmp_path / "own.md").read_text() in text
    assert len(outputs.annotations(found, lambda _: WHERE)) == 1
    elsewhere = Outputs(None, tmp_path, None, None, {"CI_JOB_URL": "https://gitlab.example/1"})
    assert elsewhere.annotations(found, lambda _: WHERE) == ()
    assert elsewhere.link == "https://gitlab.example/1"
