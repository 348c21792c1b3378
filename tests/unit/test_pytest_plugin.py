"""The plugin in another project: its own model, dataset and methods, named in pyproject.toml."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qreg.baselines.schema import FORMAT

ROOT = Path(__file__).parents[2]


def _example() -> dict[str, str]:
    """The files that docs/gate.md shows, by name."""
    text = (ROOT / "docs" / "gate.md").read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, flags=re.S))


def _write_example(folder: Path) -> None:
    for name, content in _example().items():
        (folder / name).write_text(content)


def _run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    """What a fresh process prints, its exit status in the last line."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        # the plugin comes by name, as from an installation without an entry point
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": "", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"


def _gate(folder: Path, *options: str, env: dict[str, str] | None = None) -> str:
    plugin = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider")
    return _run(folder, "pytest", "-m", "regression", *plugin, *options, env=env)


def _approve(folder: Path, *options: str) -> str:
    return _run(folder, "qreg", "baseline", "update", "--reason", "a test", *options)


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    """The documented project, its cases approved."""
    folder = tmp_path_factory.mktemp("approved")
    _write_example(folder)
    shutil.copy(colours, folder / "photos.npz")
    assert _approve(folder, "--category", "create").endswith("status 0")
    return folder


@pytest.fixture
def project(approved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(approved, tmp_path / "project", dirs_exist_ok=True))


@pytest.mark.slow
def test_the_documented_project_passes_in_two_processes(project: Path) -> None:
    printed = _gate(project, "-n2", "--qreg-json=verdicts.json")
    assert "3 cases: 3 PASS" in printed
    assert "same environment: judged bit by bit" in printed
    assert "smallest detectable accuracy drop" in printed
    assert printed.endswith("status 0")
    records = json.loads((project / "verdicts.json").read_text())
    assert [record["outcome"] for record in records] == ["PASS"] * 3


@pytest.mark.slow
def test_a_changed_quantization_is_named_with_its_layer(project: Path) -> None:
    _change(project / "nets.py", "    return ao.convert(model, inplace=True)", _SCALED)
    reports = ("--qreg-report=report", "--qreg-code-quality=quality.json", "--junitxml=junit.xml")
    printed = _gate(project, *reports, env={"GITHUB_STEP_SUMMARY": str(project / "summary.md")})
    assert "3 cases: 1 REGRESSED, 2 PASS" in printed
    assert "parameters REGRESSED: model.0: output" in printed
    assert "first diverging layer: model.0 (restoring it removes 100 %" in printed
    assert "next: qreg baseline diff photos/nets:make_net/nets:quantize@" in printed
    assert "page: report/index.html" in printed
    assert printed.endswith("status 1")
    page = (project / "report" / "index.html").read_text()
    assert "1 of 3 cases regressed" in page
    assert "first diverging layer <strong>model.0</strong>" in page
    assert "first diverging: model.0" in page
    assert "Output of model.0" in page
    assert "could not be collected" not in page
    assert "\n::error file=nets.py,line=6,title=REGRESSED photos/nets%3Amake_net" in printed
    assert "1 of 3 cases regressed" in (project / "summary.md").read_text()
    (first, *_) = json.loads((project / "quality.json").read_text())
    assert first["location"] == {"path": "nets.py", "lines": {"begin": 6}}
    junit = (project / "junit.xml").read_text()
    assert '<property name="qreg_layer" value="model.0"' in junit
    assert junit.count('<property name="qreg_outcome" value="PASS"') == 2


@pytest.mark.slow
def test_the_table_s_file_stands_for_all_cases_and_no_other_test(project: Path) -> None:
    (project / "test_mine.py").write_text("raise SystemExit('imported')\n")
    printed = _gate(project, "pyproject.toml", "--collect-only", "-q")
    assert "photos/nets:make_net/nets:quantize@" in printed
    assert "imported" not in printed
    assert printed.endswith("status 0")


@pytest.mark.slow
def test_what_passed_is_skipped_until_its_code_changes(project: Path) -> None:
    def run(*options: str) -> str:
        env = {"QREG_CACHE_DIR": str(project / "cache")}
        return _gate(project, "pyproject.toml", "--qreg-json=verdicts.json", *options, env=env)

    time.sleep(0.1)  # what was written as a run began may have changed during it
    assert "passed before" not in run("--qreg-cache")
    assert "3 cases: 3 PASS\nunchanged 3: passed before" in run("--qreg-cache")
    records = json.loads((project / "verdicts.json").read_text())
    assert [record["unchanged"] for record in records] == [True] * 3
    assert "passed before" not in run()
    assert "passed before" not in run("--qreg-cache", "--qreg-report=report")
    for entry in (project / "cache" / "verdicts").iterdir():
        entry.write_text(entry.read_text().replace("PASS", "IMPROVED"))
    assert "3 cases: 3 PASS\n3 cases" in run("--qreg-cache")
    _change(project / "nets.py", "    return ao.convert(model, inplace=True)", _SCALED)
    assert "3 cases: 1 REGRESSED, 2 PASS\n3 cases" in run("--qreg-cache")


def test_without_cases_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.qreg]\nmodels = ['simple_cnn']\n")
    (tmp_path / "test_mine.py").write_text(
        "import sys\ndef test_it():\n    assert not {'numpy', 'rich'} & sys.modules.keys()\n"
        "    assert 'qreg.gate' not in sys.modules\n"
    )
    plugin = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider")
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    assert _run(tmp_path, "pytest", "-q", *plugin, env=alone).endswith("status 0")


@pytest.mark.slow
def test_what_breaks_while_a_page_is_collected_changes_no_verdict(project: Path) -> None:
    _change(project / "nets.py", "    return ao.convert(model, inplace=True)", _SCALED)
    (project / "conftest.py").write_text(
        "import os, qreg.gate.detail as d\nd._histograms = lambda *a: os._exit(3)\n"
    )
    printed = _gate(project, "--qreg-report=report")
    assert "3 cases: 1 REGRESSED, 2 PASS" in printed
    assert (
        "details could not be collected: its process exited 3"
        in (project / "report" / "index.html").read_text()
    )


_SCALED = """\
    converted = ao.convert(model, inplace=True)
    converted.model[0].scale *= 1.01
    return converted
"""


@pytest.mark.slow
def test_what_is_broken_leaves_the_other_cases_alone(project: Path) -> None:
    _change(project / "nets.py", '"""Static', 'raise RuntimeError("broken here")\n    """')
    damaged = next((project / "baselines" / "photos").glob("*/dynamic@*.json"))
    _change(damaged, f'"format": {FORMAT}', '"format": 99')
    content = damaged.read_text()
    printed = _gate(project)
    assert "3 cases: 2 ERROR, 1 PASS" in printed
    assert "RuntimeError: broken here" in printed
    assert "nets.py:" in printed
    assert damaged.name in printed
    assert "restore it with git" in printed
    assert damaged.read_text() == content
    assert printed.endswith("status 1")


@pytest.mark.slow
def test_what_was_not_judged_is_shown(project: Path) -> None:
    _change(project / "pyproject.toml", '["photos.npz"]', '["photos.npz", "cifar10"]')
    next((project / "baselines" / "photos").glob("*/dynamic@*.json")).unlink()
    printed = _gate(project, "--qreg-data-dir=.")
    assert "6 cases: 1 NO_BASELINE, 2 PASS, 3 skipped" in printed
    assert "skipped 3: no cifar10 in" in printed
    assert 'next: qreg baseline update --reason "first baseline" photos/' in printed
    assert printed.endswith("status 0")
    alone = _gate(project, "--qreg-data-dir=.", "--qreg-dataset", "cifar10")
    assert "no case was judged: the run fails" in alone
    assert alone.endswith("status 1")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--qreg-strict", "--qreg-require-data"])
def test_what_was_not_judged_can_fail(project: Path, option: str) -> None:
    _change(project / "pyproject.toml", '["photos.npz"]', '["photos.npz", "cifar10"]')
    next((project / "baselines" / "photos").glob("*/dynamic@*.json")).unlink()
    printed = _gate(project, "--qreg-data-dir=.", option)
    assert f"{1 if option == '--qreg-strict' else 3} failed" in printed
    assert printed.endswith("status 1")


@pytest.mark.slow
def test_another_environment_is_judged_statistically(project: Path) -> None:
    printed = _gate(project, "--qreg-threads", "2")
    assert "3 cases: 3 PASS" in printed
    assert "recorded on 1 thread, now 2 threads: judged statistically" in printed


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    _write_example(tmp_path)
    printed = _gate(tmp_path, "--qreg-method", "statik")
    assert "unknown method 'statik'" in printed
    assert "static" in printed
    assert printed.endswith("status 4")


@pytest.mark.slow
def test_other_runs_of_pytest_are_left_alone(project: Path) -> None:
    (project / "test_other.py").write_text("def test_one():\n    pass\n")
    plugin = ("-p", "qreg.pytest_plugin", "-p", "no:cacheprovider")
    assert "1 passed" in (plain := _run(project, "pytest", *plugin))
    assert "qreg: quantized models" not in plain
    named = _gate(project, "test_other.py")
    assert "1 deselected" in named
    assert named.endswith("status 5")


def _recipe(name: str) -> list[str]:
    """The commands of a recipe of docs/ci.md, those that install something left out."""
    text = (ROOT / "docs" / "ci.md").read_text()
    (block,) = re.findall(rf"<!-- recipe: {name} -->\n```yaml\n(.*?)```", text, flags=re.S)
    found = re.findall(r"^ +- (?:run: )?((?:pip|pytest|qreg) .*)$", block, flags=re.M)
    assert found[0].startswith("pip install -r requirements.txt")
    return found[1:]


def _git(folder: Path, *command: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *names, *command], cwd=folder, check=True, capture_output=True)


_RECIPES = ("github", "gitlab", "github-nightly", "gitlab-nightly")


@pytest.mark.slow
def test_the_commands_of_the_recipes_run(project: Path) -> None:
    commands = dict.fromkeys(command for name in _RECIPES for command in _recipe(name))
    _git(project, "init", "-q")
    _git(project, "add", ".")
    _git(project, "commit", "-qm", "all")
    _git(project, "tag", "v1.0")
    env = {"CI": "true", "GITHUB_STEP_SUMMARY": str(project / "summary.md")}
    for command in commands:
        program, *words = shlex.split(command)
        if program == "pytest":
            words = ["-p", "qreg.pytest_plugin", "-p", "no:cacheprovider", *words]
        if words[:2] == ["speed", "record"]:
            words += ["--pairs", "8", "--cases", "photos/nets:make_net/fp32@*"]
        printed = _run(project, program, *words, env=env)
        assert printed.endswith("status 0"), printed
    for page in (project / "report").rglob("*.html"):
        assert page.read_text().startswith("<!doctype html>")
    assert "All 3 cases pass" in (project / "summary.md").read_text()
    history = (project / "report" / "history.html").read_text()
    assert "3 cases, 1 runs" in history
    assert "slowdown from the reference" in history
    assert "All 3 cases pass" in (project / "report" / "index.html").read_text()
    assert json.loads((project / "gl-code-quality-report.json").read_text()) == []


def _in_a_terminal(folder: Path, *options: str) -> str:
    """What a gate writes to a terminal of 100 columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "pytest", "-m", "regression", "-p", "qreg.pytest_plugin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": "", "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    process = subprocess.Popen(
        [*command, *options], cwd=folder, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 4096):
            found += part
    except OSError:  # the other end is closed
        pass
    process.wait()
    os.close(ours)
    return found.decode()


@pytest.mark.slow
def test_a_terminal_shows_how_far_the_gate_is(project: Path) -> None:
    shown = _in_a_terminal(project, "--qreg-jobs=1")
    assert "[----------] 0/3" in shown
    assert re.search("[12]/3, 0:", shown)  # cases may end between two refreshes
    assert "photos/nets:make_net" in shown.partition("3 PASS")[0]
    assert "3 cases: 3 PASS" in shown
    assert "\x1b7" not in _in_a_terminal(project, "-q", "--qreg-method=fp32")
