"""The plugin in others' projects: their tests, conftest.py, plugins and folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# What a run inside this process imports first, it would take away again at its end.
import qreg.gate.pytest_summary
import qreg.selection
import qreg.settings
from qreg.records.case import Case
from qreg.records.decode import plain
from qreg.records.verdict import Outcome, Verdict

PLUGIN = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:randomly")
TABLE = """
[tool.qreg]
models = ["simple_cnn"]
datasets = ["photos.npz"]
methods = ["fp32", "dynamic"]
engines = ["x86"]
"""
TESTS = """
import pytest

@pytest.mark.regression
def test_marked(): pass

def test_plain(): pass
"""
CONFTEST = """
import inspect, pytest

def pytest_collection_modifyitems(session, config, items):
    for item in items:
        assert item.function.__name__ and item.module.__name__ and item.originalname
        item.cls, item.instance, item.obj, item.parent.obj, item.fspath, item.funcargs
        assert not inspect.iscoroutinefunction(item.function)
        assert inspect.getsource(item.function) and inspect.getsourcefile(item.module)
        assert "absent" not in item.fixturenames and isinstance(item.fixturenames, list)
        assert item.path.is_file() and item.location and item.reportinfo() and item.listchain()
        item.add_marker(pytest.mark.usefixtures("tmp_path"))

def pytest_runtest_setup(item):
    assert item.function.__doc__ is None or "case" in item.function.__doc__

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.description = f"{item.function.__doc__} {item.funcargs} {item.cls}"
    return report
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A monorepo's folder with a pytest.ini, started in its sub-project that has the table."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others' would be imported each time
    root = pytester.path
    (root / "pytest.ini").write_text("[pytest]\n")
    files = {"pyproject.toml": TABLE, "tests/test_own.py": TESTS, "ci/pytest.ini": "[pytest]\n"}
    for name, content in files.items():
        path = root / "sub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(root / "sub")
    return pytester


def _collected(project: pytest.Pytester, *options: str) -> list[str]:
    found = project.runpytest_inprocess(*PLUGIN, "--collect-only", "-q", *options)
    assert found.ret == pytest.ExitCode.OK
    return [line.rpartition("/")[2] for line in found.outlines if "::" in line]


@pytest.mark.parametrize(
    "options",
    [(), ("tests",), (".",), ("..",), ("-c", "ci/pytest.ini")],
)
def test_the_table_is_found_from_where_pytest_is_started(
    project: pytest.Pytester, options: tuple[str, ...]
) -> None:
    found = _collected(project, "-m", "regression", *options)
    assert [name for name in found if "@" in name] == ["fp32@x86", "dynamic@x86"]


def test_the_table_is_found_from_the_folders_that_are_named(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert "fp32@x86" in _collected(project, "sub", "-m", "regression")


def test_a_gate_that_has_no_table_says_so_and_is_not_green(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    found = project.runpytest_inprocess(*PLUGIN, "-m", "regression")
    found.stdout.fnmatch_lines(["*no case was judged: no table*pyproject.toml*"])
    found.assert_outcomes(passed=1, deselected=1)
    assert found.ret == pytest.ExitCode.TESTS_FAILED


def test_where_one_file_is_asked_for_the_summary_says_that_no_case_was(
    project: pytest.Pytester,
) -> None:
    found = project.runpytest_inprocess(*PLUGIN, "-m", "regression", "tests/test_own.py")
    found.stdout.fnmatch_lines(["*no case was judged: only *test_own.py was asked for*"])
    assert found.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("options", [(), ("-m", "not regression"), ("-m", "regression or x")])
def test_ordinary_tests_run_though_a_dataset_is_missing(
    project: pytest.Pytester, options: tuple[str, ...]
) -> None:
    if "x" in "".join(options[1:]).split():
        assert len(_collected(project, *options)) == 3
        return
    found = project.runpytest_inprocess(*PLUGIN, *options)
    assert found.ret == pytest.ExitCode.OK
    assert "qreg: quantized models" not in found.stdout.str()


def test_an_installed_qreg_gives_a_project_one_marker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    with_qreg = pytester.runpytest_inprocess(*PLUGIN, "--markers").outlines
    before = pytester.runpytest_inprocess("--markers").outlines
    added = {line for line in with_qreg if line.startswith("@")} - set(before)
    assert [line.partition(":")[0] for line in added] == ["@pytest.mark.regression"]


def test_a_conftest_that_reads_test_functions_reads_cases(project: pytest.Pytester) -> None:
    Path("conftest.py").write_text(CONFTEST)
    assert len(_collected(project, "-m", "regression")) == 3


@pytest.mark.parametrize("text", ["regression and", "regression(", "not regression or ("])
def test_what_is_no_marker_expression_is_left_to_pytest(
    project: pytest.Pytester, text: str
) -> None:
    found = project.runpytest_inprocess(*PLUGIN, "-m", text)
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["ERROR: Wrong expression passed to '-m'*"])


def _report(case: Case, properties: list[tuple[str, object]]) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=f"qreg::{case}",
        location=("pyproject.toml", None, str(case)),
        keywords={},
        outcome="passed",
        longrepr=None,
        when="call",
        user_properties=properties,
    )


def _nowhere(case: Case) -> Any:
    raise AssertionError(f"{case} is not reported to a reviewer")


def test_the_last_attempt_of_a_case_counts(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = qreg.gate.pytest_summary.RunSummary(request.config, locate=_nowhere)
    import json

    for name, attempts in {"a": "RRP", "b": "PR", "c": "P"}.items():
        case = Case("photos", "net", name, "x86")
        properties: list[tuple[str, object]] = []
        for letter in attempts:
            outcome = Outcome.PASS if letter == "P" else Outcome.REGRESSED
            record = plain(Verdict(case, outcome))
            properties = [*properties, ("qreg", json.dumps(record))]
            summary.pytest_runtest_logreport(_report(case, properties))
    assert "3 cases: 1 REGRESSED, 2 PASS" in "\n".join(summary._lines())


def _run(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "regression"]
    if find_spec("qreg.pytest_plugin"):
        command += ["-p", "qreg.pytest_plugin"]
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_DISABLE_PLUGIN_AUTOLOAD"}
    environment |= {"PYTHONPATH": os.pathsep.join((str(root), *sys.path)), "CI": ""}
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), ("skipped 2: no dataset at", "1 passed, 2 skipped", "status 1")),
        (("--qreg-require-data",), ("failed without a verdict 2", "2 failed, 1 passed")),
    ],
)
def test_a_missing_dataset_is_a_counted_skip_or_on_demand_a_failure(
    project: pytest.Pytester, options: tuple[str, ...], says: tuple[str, ...]
) -> None:
    printed = _run(project.path / "sub", *options)
    for text in says:
        assert text in printed


_OTHERS: dict[str, tuple[str, ...]] = {
    "pytest_rerunfailures": ("--reruns", "1"),
    "xdist": ("-n2",),
    "pytest_timeout": ("--timeout", "300"),
    "pytest_randomly": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("plugin", _OTHERS)
def test_other_plugins_run_cases(
    project: pytest.Pytester, plugin: str, make_photos: Callable[[Path], None]
) -> None:
    pytest.importorskip(plugin)
    make_photos(project.path / "sub" / "photos.npz")
    (project.path / "sub" / "nets.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))\n"
    )
    table = project.path / "sub" / "pyproject.toml"
    table.write_text(TABLE.replace("simple_cnn", "nets:net"))
    Path("conftest.py").write_text(CONFTEST)
    printed = _run(project.path / "sub", *_OTHERS[plugin])
    assert "2 cases: 2 NO_BASELINE" in printed
    assert "INTERNALERROR" not in printed


@pytest.fixture
def make_photos() -> Callable[[Path], None]:
    from conftest import make_npz

    return lambda path: make_npz(path)  # type: ignore[no-any-return,func-returns-value]
