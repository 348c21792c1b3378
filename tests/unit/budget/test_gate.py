"""Budgets and known failures in a user's project, through its own pytest run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What a run inside this process imports first, it would take away again at its end.
from qreg.cli import main

PLUGIN = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider", "-m", "regression")
TABLE = """
[tool.qreg]
models = ["budget_nets:make_net"]
datasets = ["photos.npz"]
methods = ["fp32", "dynamic", "static"]
engines = ["x86"]
"""
NETS = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, colours: Path
) -> Iterator[pytest.Pytester]:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("QREG_BASELINES", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(str(pytester.path))
    (pytester.path / "budget_nets.py").write_text(NETS)
    shutil.copy(colours, pytester.path / "photos.npz")
    yield pytester
    sys.modules.pop("budget_nets", None)


def _run(project: pytest.Pytester, table: str, *options: str) -> pytest.RunResult:
    (project.path / "pyproject.toml").write_text(TABLE + table)
    return project.runpytest_inprocess(*PLUGIN, *options)


@pytest.mark.slow
def test_a_budget_is_judged_with_and_without_a_baseline(project: pytest.Pytester) -> None:
    table = """
    [tool.qreg.budget]
    max-drop = 60
    max-size = "90 %"
    [tool.qreg.budget.static]
    max-drop = 0.1
    max-size = 0.001
    """
    found = _run(project, table)
    found.assert_outcomes(failed=1, skipped=2)  # NO_BASELINE of the others
    found.stdout.fnmatch_lines(
        [
            "REGRESSED *photos/budget_nets:make_net/static@x86*",
            "*budget REGRESSED: max-size BROKEN",
            "*budget INCONCLUSIVE: max-drop NOT SHOWN",
            "*would show it*",
            "*next: qreg compare --budget --model budget_nets:make_net --dataset photos "
            "--methods static --engine x86",
            "budget: 2 KEPT, 1 BROKEN, 1 NOT SHOWN, of 4 limits in 2 cases*",
        ]
    )
    (project.path / "pyproject.toml").write_text(TABLE + table)
    assert main(["baseline", "update", "--reason", "a test", "--category", "create"]) == 0
    again = _run(project, table, "--qreg-json=verdicts.json")
    again.assert_outcomes(failed=1, passed=2)
    records = json.loads((project.path / "verdicts.json").read_text())
    static = next(one for one in records if "/static@" in one["case"])
    assert [one["result"] for one in static["budget"]] == ["NOT SHOWN", "BROKEN"]
    assert static["checks"] == ["budget"]
    _known_failures(project, table)


def _known_failures(project: pytest.Pytester, table: str) -> None:
    """Excused, then expired, then passing: with the baselines that the test above approved."""
    known = '\n[tool.qreg.known-failures]\n{}{{ reason = "issue 12", expires = {} }}'
    excused = _run(project, table + known.format("static = ", "2999-12-31"))
    excused.assert_outcomes(passed=2, xfailed=1)
    assert excused.ret == pytest.ExitCode.OK
    excused.stdout.fnmatch_lines(
        ["known failure photos/*/static@x86: REGRESSED, excused until 2999-12-31: issue 12"]
    )
    expired = _run(project, table + known.format("static = ", "2001-01-31"))
    expired.assert_outcomes(passed=2, failed=1)
    expired.stdout.fnmatch_lines(["*a known failure expired on 2001-01-31 (issue 12)*"])
    passes = _run(project, known.format('"*/fp32@*" = ', "2999-12-31"))
    passes.assert_outcomes(passed=2, failed=1)
    passes.stdout.fnmatch_lines(["ERROR *", "*a known failure passes now (issue 12)*"])


@pytest.mark.slow
def test_what_is_not_shown_fails_only_when_asked_to(project: pytest.Pytester) -> None:
    table = "\n[tool.qreg.budget]\nmax-drop = 0.1\n"
    options = ("--qreg-method", "static")
    assert _run(project, table, *options).ret != pytest.ExitCode.INTERRUPTED
    (project.path / "pyproject.toml").write_text(TABLE + table)
    name = "photos/budget_nets:make_net/static@x86"
    assert main(["baseline", "update", "--reason", "a test", name]) == 0
    shown = _run(project, table, *options)
    shown.assert_outcomes(passed=1)
    shown.stdout.fnmatch_lines(["INCONCLUSIVE *", "*budget INCONCLUSIVE: max-drop NOT SHOWN"])
    _run(project, table, *options, "--qreg-strict").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[tool.qreg.budget]\nmax-dorp = 1", "*unknown key of *max-dorp*"),
        ("[tool.qreg.budget.statci]\nmax-drop = 1", '*"statci" matches no case of the project*'),
        (
            '[tool.qreg.known-failures]\n"statci" = { reason = "x", expires = 2999-12-31 }',
            '*"statci" matches no case of the project*',
        ),
    ],
)
def test_bad_tables_are_usage_errors(project: pytest.Pytester, table: str, says: str) -> None:
    found = _run(project, table)
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines([says])
