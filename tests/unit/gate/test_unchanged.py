"""Cases that are skipped: only where everything that determines their result is equal."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import py_compile
import shutil
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
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
    _files,
    known_state,
    read_entry,
    run_key,
    write_entry,
)
from qreg.gate.warm import warm_up
from qreg.measure.options import Options
from qreg.processes.temporary import temporary_folder
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
    entry = CachedCase(
        3, "key", {}, {"gone": ("a",)}, every=False, environment={}, started_with={}, result=PASSED
    )
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
    """What a process opens that begins when the files of a test are there."""
    opened = Opened()
    opened.started = time.time() + 60
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
    given.write_text("a: 2")  # it was read before it was written
    assert _files(opened)[str(given)] != found[str(given)]


def test_a_file_that_changes_while_cases_are_judged_is_not_known(tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text("a: 1")
    opened = _opened()
    assert given.read_text() == "a: 1"
    opened.started = time.time()
    time.sleep(0.1)
    os.utime(given, (1, 1))  # the time that it tells is its owner's
    with pytest.raises(UnknownError, match=r"given\.yaml was changed while cases were judged"):
        _files(opened)


@pytest.mark.parametrize(
    "how",
    [
        "elsewhere",
        "to update",
        "to append and read",
        "to append, then to read",
        "memmap",
        "library",
        "sqlite",
        "sqlite here",
        "sqlite by its address",
        "bytecode",
    ],
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
    elif how == "to append and read":
        given.open("a+").close()
    elif how == "to append, then to read":
        given.open("a").close()
        assert str(given) not in _files(opened)
        given.open().close()
    elif how == "memmap":
        np.memmap(given)
    elif how == "library":
        with pytest.raises(OSError, match="given"):
            ctypes.CDLL(str(given))
    elif how == "sqlite":
        sqlite3.connect(given).close()
    elif how == "sqlite here":
        monkeypatch.chdir(tmp_path)
        sqlite3.connect("given.py").close()
    elif how == "sqlite by its address":
        sqlite3.connect(f"file:{tmp_path}/gi%76en.py?mode=ro", uri=True).close()
        assert f"{given}-wal" in _files(opened)
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


def test_any_variable_counts_where_any_may_be_read(
    unchanged: Unchanged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _loaded("reading", "import os\nx = {**os.environ}", tmp_path, monkeypatch)
    unchanged._opened.started = time.time() + 60
    assert unchanged.result(CASE) is None
    unchanged.keep(CASE, PASSED)
    assert unchanged.result(CASE) is not None
    monkeypatch.setenv("MINE_SET_SINCE", "1")
    assert unchanged.result(CASE) is None
    monkeypatch.delenv("MINE_SET_SINCE")
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
    assert unchanged.result(CASE) is not None


def _loaded(name: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(name)
    module.__file__ = str(folder / f"{name}.py")
    Path(module.__file__).write_text(source)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_module_that_was_looked_for_in_vain_counts(
    unchanged: Unchanged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_of_test").mkdir()
    (tmp_path / "own_of_test" / "__init__.py").write_text("")
    unchanged._opened.started = time.time() + 60
    importlib.import_module("own_of_test")
    assert unchanged.result(CASE) is None
    for name in ("fast_of_test", "own_of_test.fast"):
        with pytest.raises(ImportError):
            importlib.import_module(name)
    unchanged.keep(CASE, PASSED)
    assert unchanged.result(CASE) is not None
    for name in ("fast_of_test", "own_of_test/fast"):
        made = tmp_path / f"{name}.py"
        made.write_text("")
        importlib.invalidate_caches()
        assert unchanged.result(CASE) is None
        made.unlink()
        importlib.invalidate_caches()
        assert unchanged.result(CASE) is not None


def test_what_is_loaded_when_a_run_begins_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = JudgeRequest(Settings(root=ROOT, models=("linear_100",)), ROOT / "baselines", 0.01)
    without = run_key(request)
    assert run_key(request) == without
    with monkeypatch.context() as patched:
        _loaded("plugin_of_test", "", tmp_path, patched)
        assert run_key(request) != without
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_key(request) != without
    for name in ("TZ", "HOME", "PYTHONOPTIMIZE", "LC_ALL"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "other")
            assert run_key(request) != without, name


def test_files_that_a_fork_opened_are_not_known(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("1")
    opened = _opened()
    _in_a_fork(lambda: Path(os.devnull).read_bytes())
    assert str(given) not in _files(opened)
    _in_a_fork(given.read_bytes)
    with pytest.raises(UnknownError, match="another process"):
        _files(opened)
    opened.own()  # as the process that judges next
    _files(opened)


def _in_a_fork(work: Callable[[], object]) -> None:
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_temporary_folder_of_others_is_no_folder_of_qregs(tmp_path: Path) -> None:
    others = Path(tempfile.mkdtemp(prefix="qreg-"))
    try:
        (others / "given.txt").write_text("1")
        opened = _opened()
        (others / "given.txt").read_text()
        assert str(others / "given.txt") in _files(opened)
    finally:
        shutil.rmtree(others)
    with temporary_folder("test") as own:
        (own / "made.txt").touch()
        opened.written.clear()
        (own / "made.txt").read_text()
        assert str(own / "made.txt") not in _files(opened)


def test_a_variable_that_code_takes_away_counts(
    unchanged: Unchanged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _loaded("taking", "import os\nx = os.environ.pop('MINE_TAKEN', 0)", tmp_path, monkeypatch)
    unchanged._opened.started = time.time() + 60
    monkeypatch.setattr(unchanged._opened, "environment", {"MINE_TAKEN": "1"})
    assert unchanged.result(CASE) is None
    unchanged.keep(CASE, PASSED)
    assert unchanged.result(CASE) is not None
    unchanged._opened.environment["MINE_TAKEN"] = "2"
    assert unchanged.result(CASE) is None
