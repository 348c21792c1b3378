"""Real models under this PyTorch, and under one that was made to do something else."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qreg.errors import QregError
from qreg.measure.environment import capture_environment
from qreg.measure.options import ONE_THREAD
from qreg.processes.local import LocalExecutor
from qreg.processes.sides import Side
from qreg.records.case import Case
from qreg.upgrade import check, child, running
from qreg.upgrade.case_files import KINDS
from qreg.upgrade.check import KeptSides, check_upgrade
from qreg.upgrade.records import (
    CaseUpgrade,
    Cause,
    ChangeKind,
    FileOutcome,
    UpgradeLevel,
    UpgradeReport,
)
from qreg.upgrade.running import SideProcess, UpgradeRequest
from qreg.upgrade.side import probing
from tests.unit.upgrade.doctored import doctored_python

ROOT = Path(__file__).parents[3]
METHODS = ("fp32", "dynamic", "static", "static-per-tensor", "qat")
CASES = tuple(Case("shapes10", "linear_100", method, "fbgemm") for method in METHODS)

_CHANGES = {
    "torch.ao.quantization.observer": """
before = m.HistogramObserver.calculate_qparams
def wider(self):
    scale, zero_point = before(self)
    return scale * 1.05, zero_point
m.HistogramObserver.calculate_qparams = wider
""",
    # when torch's own modules have been imported, which need it
    "qreg.upgrade.side.probing": "del m.torch.ao.quantization.observer.default_weight_observer",
    "torch.ao.quantization.quantize": """
import os, signal
m.quantize_dynamic = lambda *args, **more: os.kill(os.getpid(), signal.SIGILL)
""",
    # of the module that uses it: linear's weights at conversion
    "torch.ao.nn.quantized.modules.linear": """
import torch
before, run = m._quantize_weight, m.Linear.forward
def other_codes(weight, observer):
    q = before(weight, observer)
    codes = q.int_repr()
    codes[0, 0] ^= 1
    return torch._make_per_channel_quantized_tensor(
        codes, q.q_per_channel_scales(), q.q_per_channel_zero_points(), 0
    )
def other_rounding(self, x):
    y = run(self, x)
    codes = y.int_repr()
    codes[:, 3] ^= 1
    return torch._make_per_tensor_quantized_tensor(codes, y.q_scale(), y.q_zero_point())
m._quantize_weight, m.Linear.forward = other_codes, other_rounding
""",
    "torch.serialization": """
import functools
before = m.load
@functools.wraps(before)
def load(*args, **more):
    found = before(*args, **more)
    if isinstance(found, dict) and "linear.weight" in found:
        found["linear.weight"] = found["linear.weight"] * 1.5
    return found
m.load = load
""",
}


#: What `_CHANGES` overwrites or removes, by module, and where else it is known by name.
_CHANGED = (
    ("torch.ao.quantization.observer", "HistogramObserver.calculate_qparams"),
    ("torch.ao.quantization.observer", "default_weight_observer"),
    ("torch.ao.quantization.quantize", "quantize_dynamic"),
    ("torch.ao.quantization", "quantize_dynamic"),
    ("torch.ao.nn.quantized.modules.linear", "_quantize_weight"),
    ("torch.ao.nn.quantized.modules.linear", "Linear.forward"),
    ("torch.serialization", "load"),
    ("torch", "load"),
)
#: The probes and properties that are tried where interpreters are not started: those that change.
_ASKED = (
    "torch.ao.quantization.quantize_dynamic",
    "torch.ao.quantization.observer.default_weight_observer",
    "torch.ao.quantization.QConfig",
)


def _request(candidate: str, cases: tuple[Case, ...] = CASES, *, limit: int = 0) -> UpgradeRequest:
    options = replace(ONE_THREAD, limit=limit)
    return UpgradeRequest(cases, sys.executable, candidate, ROOT, options=options, timeout=60)


def _in_forks(changes: dict[str, str], cases: tuple[Case, ...] = CASES) -> UpgradeReport:
    """Both sides in forks of this process; `changes` are made for those of the candidate."""

    class RunningSides:
        def __init__(self, processes: Sequence[SideProcess]) -> None:
            self.processes = processes

        def run(
            self,
            task: str,
            cases: Sequence[dict[str, Any]],
            folders: Sequence[Path],
            request: UpgradeRequest,
        ) -> None:
            job = running._job(request, Path())
            first, second = map(str, folders)
            given = {"task": task, "cases": cases, "first": first, "second": second}
            given |= {"comparison": "A -> B"}
            for number, folder in enumerate(folders):
                folder.mkdir(exist_ok=True)
                with pytest.MonkeyPatch.context() as patch:
                    if number and changes:
                        _change(patch, changes)
                    if task == "make":
                        seconds, interface = job["seconds"], request.interface
                        probing.ask_all(folder, seconds=seconds, interface=interface)
                    with closing(LocalExecutor(jobs=1)) as executor:
                        child.do_task({**job, **given, "folder": str(folder)}, executor)

        def environments(self, folders: Sequence[Path]) -> tuple[dict[str, Any], ...]:
            # as a process would write it
            return (json.loads(json.dumps(vars(capture_environment()))),) * len(folders)

    with pytest.MonkeyPatch.context() as patch:
        asked = [one for one in probing.all_probes() if one.name in _ASKED]
        kept = "HistogramObserver stays within the range"
        patch.setattr(probing, "all_probes", lambda: asked)
        patch.setattr(probing, "PROPERTIES", {kept: probing.PROPERTIES[kept]})
        patch.setattr(probing, "probes", dict)
        patch.setattr(probing, "LETHAL", {})
        patch.setattr(probing, "_HEAVY", ())
        patch.delitem(KINDS, "exported program")  # half a second for each
        patch.setattr(child, "importlib", SimpleNamespace(import_module=str))  # nor torch.export
        patch.setattr(check, "RunningSides", RunningSides)
        patch.setattr(check, "started_side", _not_started)
        return check_upgrade(_request(sys.executable, cases, limit=60))


def _not_started(option: str, request: UpgradeRequest, side: Side) -> Any:
    return nullcontext(SideProcess(side, child=None, folder=Path()))  # type: ignore[arg-type]


def _change(patch: pytest.MonkeyPatch, changes: dict[str, str]) -> None:
    for module, path in _CHANGED:
        *owners, name = path.split(".")
        owner = reduce(getattr, owners, importlib.import_module(module))
        patch.setattr(owner, name, getattr(owner, name))  # what is put back at the end
    for module, code in changes.items():
        exec(code, {"m": importlib.import_module(module)})
    torch.load = torch.serialization.load
    torch.ao.quantization.quantize_dynamic = sys.modules[
        "torch.ao.quantization.quantize"
    ].quantize_dynamic


SIDES = ["in forks", pytest.param("in interpreters", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=SIDES)
def same(request: pytest.FixtureRequest) -> UpgradeReport:
    if request.param == "in forks":
        return _in_forks({}, (CASES[0], CASES[2]))
    return check_upgrade(_request(sys.executable))


@pytest.fixture(scope="module", params=SIDES)
def doctored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> UpgradeReport:
    if request.param == "in forks":
        return _in_forks(_CHANGES)
    python = doctored_python(tmp_path_factory.mktemp("side") / "other", _CHANGES)
    return check_upgrade(_request(str(python)))


def _of(report: UpgradeReport, method: str) -> CaseUpgrade:
    return next(one for one in report.cases if one.case.method == method)


def test_the_same_interpreter_is_safe(same: UpgradeReport) -> None:
    report = same
    assert (report.level, report.reasons) == (UpgradeLevel.SAFE, ())
    assert not report.interface
    assert not report.invariants
    assert report.probes > len(_ASKED)
    assert all(one.level is UpgradeLevel.SAFE for one in report.cases)
    assert all(cell.equal for one in report.cases for cell in one.cells)


def test_a_changed_observer_is_named(doctored: UpgradeReport) -> None:
    found = _of(doctored, "static")
    assert found.level is UpgradeLevel.UNSAFE
    assert found.causes[0] is Cause.OBSERVERS
    assert "HistogramObserver at quant" in found.findings[0]
    assert found.quantizing is not None
    assert (found.quantizing.where, found.quantizing.what) == ("quant", "scale")


def test_a_changed_conversion_and_a_changed_kernel_are_distinguished(
    doctored: UpgradeReport,
) -> None:
    found = _of(doctored, "qat")
    assert found.level is UpgradeLevel.UNSAFE
    assert set(found.causes) == {Cause.CONVERT, Cause.KERNELS}
    assert found.quantizing is not None
    assert (found.quantizing.where, found.quantizing.count) == ("linear", 1)
    for cell in found.cells:
        assert cell.first is not None
        assert (cell.first.where, cell.first.lsb) == ("linear", 1)


def test_what_only_loading_changes_is_serialization(doctored: UpgradeReport) -> None:
    found = _of(doctored, "fp32")
    assert found.causes == (Cause.SERIALIZATION,)
    assert all(cell.equal for cell in found.cells)
    outcomes = {file.kind: file.outcome for file in found.artifacts}
    assert outcomes["state dict"] is FileOutcome.DIFFERENT
    assert outcomes["TorchScript"] is FileOutcome.EQUAL


def test_a_crash_costs_its_own_case(doctored: UpgradeReport) -> None:
    found = _of(doctored, "dynamic")
    assert (found.level, found.causes) == (UpgradeLevel.UNSAFE, (Cause.FAILS,))
    assert "was killed by SIGILL" in found.findings[0]
    crashes = [one.name for one in doctored.interface if one.kind is ChangeKind.CRASHES]
    assert crashes == ["torch.ao.quantization.quantize_dynamic"]


def test_what_was_removed_is_reported_for_probe_and_case(doctored: UpgradeReport) -> None:
    assert "default_weight_observer" in _of(doctored, "static-per-tensor").findings[0]
    removed = [one.name for one in doctored.interface if one.kind is ChangeKind.REMOVED]
    assert "torch.ao.quantization.observer.default_weight_observer" in removed
    assert any(reason.startswith("removed: ") for reason in doctored.reasons)


def test_a_property_that_is_lost_is_named(doctored: UpgradeReport) -> None:
    lost = [one.name for one in doctored.invariants if one.kind is ChangeKind.LOST]
    assert "HistogramObserver stays within the range" in lost


@pytest.mark.slow
def test_an_interpreter_without_torch(tmp_path: Path) -> None:
    python = doctored_python(tmp_path / "other", {"torch": "raise ImportError('no torch here')"})
    with pytest.raises(QregError, match=r"--to .*no torch here \(importing torch\)") as caught:
        check_upgrade(_request(str(python), CASES[:1]))
    assert "needs PyTorch" in caught.value.hint


def test_no_interpreter_at_all() -> None:
    with pytest.raises(QregError, match="'no-such-python' is not an interpreter") as caught:
        check_upgrade(_request("no-such-python"))
    assert "revision" not in caught.value.hint


@pytest.mark.slow
def test_an_interpreter_that_is_none(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho no python here >&2\nexit 3\n")
    other.chmod(0o755)
    with pytest.raises(QregError, match="exited 3: no python here"):
        check_upgrade(_request(str(other), CASES[:1]))


def test_a_side_of_two_comparisons_is_started_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    @contextmanager
    def started(option: str, request: UpgradeRequest, side: Side) -> Iterator[SideProcess]:
        log.append(f"start {Path(side.name).name}")
        yield SideProcess(side, child=None, folder=tmp_path)  # type: ignore[arg-type]
        log.append(f"end {Path(side.name).name}")

    monkeypatch.setattr(check, "started_side", started)
    for name in "abcd":
        (tmp_path / name).symlink_to(sys.executable)

    def request(baseline: str, candidate: str) -> UpgradeRequest:
        sides = (str(tmp_path / baseline), str(tmp_path / candidate))
        return UpgradeRequest(CASES, *sides, project=tmp_path)

    with KeptSides() as kept:
        kept.pair(request("a", "b"))
        kept.pair(request("b", "c"))
        kept.pair(request("a", "b"))  # a piece that a lost machine had left
        assert log == ["start a", "start b", "start c"]
        kept.pair(request("c", "d"))
        assert log[3:] == ["end a", "start d"]  # three at most: b was named later
        kept.pair(request("d", "d"))  # two processes, or each would wait for itself
        assert log[5:] == ["end b", "start d"]
        with pytest.raises(QregError, match="missing' is not an interpreter"):
            kept.pair(request("a", "missing"))
    assert [one for one in log if one.startswith("start")] == [f"start {one}" for one in "abcdd"]
    assert sorted(log[7:]) == ["end c", "end d", "end d"]
