"""Cases that are skipped: only where everything that determines their result is equal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

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
    return Unchanged(request.judge(), *known_state(request), tmp_path / "verdicts")


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
    entry = CachedCase(1, "key", {}, {}, PASSED)
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


def test_files_that_were_opened_count_and_those_it_wrote_do_not(tmp_path: Path) -> None:
    opened = Opened()
    given, made = tmp_path / "given.yaml", tmp_path / "made.txt"
    given.write_text("a: 1")
    opened.written.clear()
    made.write_text("x")
    assert given.read_text() + made.read_text() == "a: 1x"
    found = _files(opened)
    assert str(given) in found
    assert str(made) not in found
    given.write_text("a: 2")
    opened.written.discard(str(given))
    assert _files(opened)[str(given)] != found[str(given)]


def test_a_compiled_module_of_the_project_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("mine")
    module.__file__ = str(tmp_path / "mine.so")
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(UnknownError, match="compiled"):
        _files(Opened())


def test_variables_that_sources_name_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "1")
    assert _environment([b'import os\nx = os.environ["MINE"]\ny = os.getenv("NO_SUCH")']) == {
        "MINE": "1",
        "NO_SUCH": None,
    }
    assert _environment([b"import os"]) == {}
    assert _environment([b"import os\nx = os.environ[name]"]) == dict(os.environ)
