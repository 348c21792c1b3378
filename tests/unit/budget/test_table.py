"""[tool.qreg.budget] and known failures: what they say is taken, what makes no sense is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.budget.table import check_patterns, read_limits
from qreg.errors import QregError
from qreg.records.budget import Against, KnownFailure, Limits
from qreg.records.case import Case
from qreg.settings import Settings, read_settings

STATIC = Case("photos", "net", "static", "x86")
QAT = Case("photos", "net", "qat", "onednn")


def read(folder: Path, table: str) -> Settings:
    path = folder / "pyproject.toml"
    path.write_text(f"[tool.qreg]\nmodels = ['simple_cnn']\n{table}\n")
    found = read_settings(path)
    assert found is not None
    return found


def test_limits_are_those_of_the_last_pattern_that_says_something(tmp_path: Path) -> None:
    budget = read(
        tmp_path,
        """
        [tool.qreg.budget]
        max-drop = 1
        max-size = "30 %"
        [tool.qreg.budget."sta*"]
        max-drop = 0.5
        [tool.qreg.budget."photos/*/static@x86"]
        max-size = 0.7
        max-flips = "2 %"
        [tool.qreg.budget."qat@onednn"]
        against = "control"
        min-speed-up = 2
        """,
    ).budget
    assert budget.of(STATIC, float_only=False) == Limits(
        max_drop=0.5, max_size=0.7, max_flips_share=0.02
    )
    assert budget.of(QAT, float_only=False) == Limits(
        max_drop=1.0, against=Against.CONTROL, max_size_share=0.3, min_speed_up=2.0
    )
    assert not budget.of(Case("photos", "net", "fp32", "x86"), float_only=True)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("budget = 3", "budget.* = 3"),
        ("[tool.qreg.budget]", "limits nothing"),
        ("[tool.qreg.budget]\nmax-dorp = 1", "unknown key .* 'max-dorp'"),
        ("[tool.qreg.budget]\nmax-drop = -0.5", "max-drop = -0.5"),
        ("[tool.qreg.budget]\nmax-drop = inf", "max-drop = inf"),
        ("[tool.qreg.budget]\nmax-drop = true", "max-drop = True"),
        ("[tool.qreg.budget]\nmax-drop = '1'", "max-drop = '1'"),
        ("[tool.qreg.budget]\nmax-size = 0", "max-size = 0"),
        ("[tool.qreg.budget]\nmax-size = '3 MB'", "max-size = '3 MB'"),
        ("[tool.qreg.budget]\nmax-flips = 1.5", "max-flips = 1.5"),
        ("[tool.qreg.budget]\nmax-flips = '101 %'", "max-flips = '101 %'"),
        ("[tool.qreg.budget]\nmin-speed-up = 0", "min-speed-up = 0"),
        ("[tool.qreg.budget]\nagainst = 'int4'\nmax-drop = 1", "against = 'int4'"),
        ("[tool.qreg.budget.static]\nagainst = 'control'", 'budget."static" limits|limits nothing'),
        ("[tool.qreg.budget.static]\nmax-dorp = 1", "unknown key .*static"),
        ("known-failures = 1", "known-failures.* = 1"),
        ("[tool.qreg.known-failures]\nstatic = 'later'", "reason and expires"),
        ("[tool.qreg.known-failures]\nstatic = { reason = 'x' }", "reason and expires"),
        (
            "[tool.qreg.known-failures]\nstatic = { reason = 'x', expires = 'soon' }",
            "static.*soon",
        ),
        (
            "[tool.qreg.known-failures]\nstatic = { reason = ' ', expires = 2027-01-01 }",
            "needs a reason",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line_and_a_hint(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(QregError, match=says) as caught:
        read(tmp_path, table)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_known_failures_have_a_reason_and_a_date(tmp_path: Path) -> None:
    table = "[tool.qreg.known-failures]\n'photos/*' = { reason = 'issue 12', expires = 2027-01-31 }"
    (found,) = read(tmp_path, table).known_failures
    assert found == KnownFailure("photos/*", "issue 12", "2027-01-31")
    assert not found.expired("2027-01-31")
    assert found.expired("2027-02-01")


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    check_patterns(["static", "qat@*", "photos/*"], [STATIC, QAT], "[tool.qreg.budget]")
    with pytest.raises(QregError, match=r'"statci" matches no case') as caught:
        check_patterns(["statci"], [STATIC, QAT], "[tool.qreg.budget]")
    assert "static, qat" in caught.value.hint


def test_limits_of_a_command_line() -> None:
    budget = read_limits("max-drop=0.5, max-size = 30 %,max-flips=3")
    assert budget.everywhere == Limits(max_drop=0.5, max_size_share=0.3, max_flips=3)
    with pytest.raises(QregError, match="max-drop"):
        read_limits("max-drop")
