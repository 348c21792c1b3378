"""Cases that are skipped: only where everything that determines their result is equal."""

from __future__ import annotations

import ctypes
import json
import os
import py_compile
import sqlite3
import sys
import time
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import torch

from qreg.faults import get_faults
from qreg.faults.fault import Target
from qreg.gate.pool import JudgeRequest
from qreg.gate.unchanged import (
    CachedCase,
    Opened,
    Unchanged,
    UnknownError,
    _environment,
    _files,
    known_state,
    read_entry,
    write_entry,
)
from qreg.gate.warm import warm_up
from qreg.measure.options import Options
from qreg.quantization.engines import default_engine
from qreg.records.case import Case
from qreg.records.verdict import CaseResult, Outcome, Verdict
from qreg.settings import Settings

ROOT = Path(__file__).parents[3]
ENGINE = default_engine()
CASE = Case("shapes10", "linear_100", "static", ENGINE)
MODULES = frozenset({"Conv2d", "Linear", "ReLU", "BatchNorm2d"})
PASSED = CaseResult(Verdict(CASE, Outcome.PASS))


@pytest.fixture
def unchanged(tmp_path: Path) -> Unchanged:
    settings = Settings(root=ROOT, models=("linear_100",))
    options = Options(threads=torch.get_num_threads())
    request = JudgeRequest(settings, ROOT / "baselines", alpha=0.01, options=options)
    warm_up([CASE])  # as a run does before it looks at what is loaded
    found = Unchanged(request.judge(), *known_state(request), tmp_path / "verdicts")
    found._opened.started = time.time()  # what the tests before wrote is as a run finds it
    return found


def test_a_case_that_passed_is_unchanged_until_torch_is_patched(unchanged: Unchanged) -> None:
    assert unchanged.result(CASE) is None
    unchanged.keep(CASE, PASSED)
    found = unchanged.result(CASE)
    assert found is not None
    assert found.verdict is not None
    assert found.verdict.unchanged
    with patch("torch.nn.functional.linear", lambda *_: None):
        assert unchanged.result(CASE) is None
    with patch("torch.ao.quantization.observer.HistogramObserver.bins", 7, create=True):
        assert unchanged.result(CASE) is None
    assert unchanged.result(CASE) is not None
    assert unchanged.result(Case("shapes10", "linear_100", "dynamic", ENGINE)) is None


def test_only_passed_cases_are_kept(unchanged: Unchanged) -> None:
    for outcome in (Outcome.IMPROVED, Outcome.INCONCLUSIVE):
        assert unchanged.result(CASE) is None
        unchanged.keep(CASE, CaseResult(Verdict(CASE, outcome)))
    assert unchanged.result(CASE) is None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["static", "dynamic", "qat"])
def test_no_planted_fault_has_the_key_of_the_clean_case(unchanged: Unchanged, method: str) -> None:
    case = Case("shapes10", "simple_cnn", method, ENGINE)
    target = Target(case, Options(threads=1))
    clean = unchanged._key(case)
    faults = [one for one in get_faults(()) if one.applies(case, MODULES)]
    hidden = []
    for fault in faults:
        try:
            with fault.inject(target):
                same = unchanged._key(case) == clean
        except Exception:  # the gate judges it
            same = False
        if same and not fault.unchanged_because:
            hidden.append(fault.name)
    assert len(faults) > 5
    assert not hidden
    assert unchanged._key(case) == clean


def test_a_damaged_entry_and_one_of_others_is_none(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    entry = CachedCase(2, "key", {}, {}, {}, PASSED)
    write_entry(path, entry)
    assert read_entry(path) == entry
    content = json.loads(path.read_text())
    content["result"]["verdict"]["weights"] = "other"
    for damaged in (json.dumps(content), path.read_text()[:-9], "", "[]", "{}"):
        other = tmp_path / "damaged.json"
        other.write_text(damaged)
        assert read_entry(other) is None
    path.chmod(0o666)
    assert read_entry(path) is None
    assert read_entry(tmp_path / "none.json") is None


def _opened() -> Opened:
    """What a process that begins now opens."""
    opened = Opened()
    opened.started = time.time() + 0.1
    return opened


def test_files_that_were_opened_count_and_those_it_wrote_do_not(tmp_path: Path) -> None:
    given, made = tmp_path / "given.yaml", tmp_path / "made.txt"
    given.write_text("a: 1")
    opened = _opened()
    made.write_text("x")
    assert given.read_text() + made.read_text() == "a: 1x"
    found = _files(opened)
    assert str(given) in found
    assert str(made) not in found
    given.write_text("a: 2")
    opened.written.discard(str(given))
    assert _files(opened)[str(given)] != found[str(given)]


def test_a_file_that_changes_while_cases_are_judged_is_not_known(tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text("a: 1")
    opened = _opened()
    assert given.read_text() == "a: 1"
    time.sleep(0.2)
    os.utime(given, (1, 1))  # the time that it tells is its owner's
    with pytest.raises(UnknownError, match=r"given\.yaml was changed while cases were judged"):
        _files(opened)


@pytest.mark.parametrize(
    "how", ["elsewhere", "to update", "memmap", "library", "sqlite", "bytecode"]
)
def test_a_file_counts_however_python_opens_it(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given.py"
    given.write_bytes(b"x = 1\n")
    compiled = Path(py_compile.compile(str(given)) or "")
    opened = _opened()
    if how == "elsewhere":
        monkeypatch.chdir(tmp_path)
        Path("given.py").read_text()
        monkeypatch.chdir(tmp_path.parent)
    elif how == "to update":
        given.open("r+").close()
    elif how == "memmap":
        np.memmap(given)
    elif how == "library":
        with pytest.raises(OSError, match="given"):
            ctypes.CDLL(str(given))
    elif how == "sqlite":
        sqlite3.connect(given).close()
    else:
        compiled.read_bytes()
    assert str(given) in _files(opened)


def test_modules_that_were_not_there_are_seen(
    unchanged: Unchanged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unchanged.result(CASE) is None
    unchanged.keep(CASE, PASSED)
    assert unchanged.result(CASE) is not None
    module = ModuleType("knobs_of_test")
    module.__file__ = str(tmp_path / "knobs_of_test.py")
    Path(module.__file__).write_text("")
    monkeypatch.setitem(sys.modules, "knobs_of_test", module)
    assert unchanged.result(CASE) is None


def test_the_command_pytest_is_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = ModuleType("__main__")
    script.__file__ = str(tmp_path / "pytest")
    Path(script.__file__).write_text("#!/usr/bin/env python3")
    opened = _opened()
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert script.__file__ in _files(opened)


def test_a_compiled_module_of_the_project_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("mine")
    module.__file__ = str(tmp_path / "mine.so")
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(UnknownError, match="compiled"):
        _files(_opened())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (b'x = os.environ["MINE"]\ny = os.getenv("NO_SUCH")', {"MINE", "NO_SUCH"}),
        (b'x = os.environ.get("MINE", "1")', {"MINE"}),
        (b"import os", set()),
        (b"x = os.environ[name]", {"ALL"}),
        (b"x = os.environ.get('NET_' + name)", {"ALL"}),
        (b"from os import environ as e\nx = e['MINE']", {"ALL"}),
        (b"from os import getenv as e\nx = e('MINE')", {"ALL"}),
        (b"x = os.environb[b'MINE']", {"ALL"}),
        (b"important = os.environ.copy()", {"ALL"}),
    ],
)
def test_variables_that_sources_name_count(source: bytes, names: set[str]) -> None:
    assert _environment([b"import os", source], ["ALL", "PYTEST_CURRENT_TEST"]) == names


def test_a_variable_that_code_takes_away_counts(
    unchanged: Unchanged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("taking")
    module.__file__ = str(tmp_path / "taking.py")
    Path(module.__file__).write_text("import os\nx = os.environ.pop('MINE_TAKEN', 0)")
    monkeypatch.setitem(sys.modules, "taking", module)
    unchanged._opened.started = time.time() + 0.1
    monkeypatch.setattr(unchanged._opened, "environment", {"MINE_TAKEN": "1"})
    assert unchanged.result(CASE) is None
    unchanged.keep(CASE, PASSED)
    assert unchanged.result(CASE) is not None
    unchanged._opened.environment["MINE_TAKEN"] = "2"
    assert unchanged.result(CASE) is None
