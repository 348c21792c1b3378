"""A case to its verdict, with a store of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from qreg.errors import MissingDataError
from qreg.gate.judge import Judge
from qreg.gate.observe import Gate
from qreg.gate.report import verdict_lines
from qreg.measure.comparison import measure
from qreg.measure.options import Options
from qreg.models import define_models
from qreg.models.source import ModelSource
from qreg.records.baseline import Approval, Baseline, Snapshot
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.records.verdict import Outcome, Verdict
from qreg.report.comparison import comparison_notes

ALPHA = 0.005


@pytest.fixture
def gate(colours: Path, nets: str, own_cache: Path) -> Gate:
    """Observes the small dataset, called colours."""
    return Gate(Options(download=False, sources=(("colours", str(colours)),)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "baselines")


def _case(nets: str, method: str = "static", model: str = "make_net") -> Case:
    return Case("colours", f"{nets}:{model}", method, "qnnpack")


def _approve(store: Store, gate: Gate, case: Case) -> Snapshot:
    snapshot = gate.observe(case)
    assert isinstance(snapshot, Snapshot)
    store.write(Baseline(snapshot, (Approval("a test", "2026-01-01", "", "0"),)))
    return snapshot


def _verdict(gate: Gate, store: Store, case: Case) -> Verdict:
    verdict = Judge(gate, store, alpha=ALPHA).verdict(case)
    assert isinstance(verdict, Verdict)
    return verdict


def test_what_was_approved_passes(gate: Gate, store: Store, nets: str) -> None:
    _approve(store, gate, _case(nets))
    verdict = _verdict(gate, store, _case(nets))
    assert verdict.outcome is Outcome.PASS
    assert verdict.basis is not None
    assert verdict.basis.exact


def test_what_was_not_approved_has_no_baseline(gate: Gate, store: Store, nets: str) -> None:
    assert _verdict(gate, store, _case(nets)).outcome is Outcome.NO_BASELINE


def test_a_model_that_was_renamed_is_told_the_name_of_its_baseline(
    gate: Gate, store: Store, nets: str
) -> None:
    """Whatever changed its name: a name in the table, arguments, another place of its file."""
    _approve(store, gate, _case(nets))
    define_models(
        [
            ModelSource("renamed", f"{nets}:make_net"),
            ModelSource("other", f"{nets}:make_branching"),
        ]
    )
    verdict = _verdict(gate, store, replace(_case(nets), model="renamed"))
    assert verdict.outcome is Outcome.NO_BASELINE
    assert f'name = "{nets}:make_net" in [tool.qreg] keeps it' in "\n".join(verdict_lines(verdict))
    # of another method, and of other weights
    for case in (_case(nets, "dynamic"), replace(_case(nets, "dynamic"), model="other")):
        assert "keeps it" not in "\n".join(verdict_lines(_verdict(gate, store, case)))


def test_another_environment_is_judged_statistically(gate: Gate, store: Store, nets: str) -> None:
    snapshot = _approve(store, gate, _case(nets))
    store.remove(_case(nets))
    elsewhere = replace(snapshot, environment=replace(snapshot.environment, cpu="another"))
    store.write(Baseline(elsewhere, (Approval("a test", "2026-01-01", "", "0"),)))
    verdict = _verdict(gate, store, _case(nets))
    assert verdict.outcome is Outcome.PASS
    assert verdict.basis is not None
    assert not verdict.basis.exact
    assert "judged statistically" in verdict.basis.reason


def test_a_model_that_raises_is_an_error_with_its_traceback(
    gate: Gate, store: Store, nets: str
) -> None:
    verdict = _verdict(gate, store, _case(nets, model="make_branching"))
    assert verdict.outcome is Outcome.ERROR
    assert "Traceback" in verdict.details


def test_an_engine_that_is_not_there_is_no_verdict(gate: Gate, store: Store, nets: str) -> None:
    missing = Judge(gate, store, alpha=ALPHA).verdict(replace(_case(nets), engine="fpga"))
    assert isinstance(missing, Failure)
    assert missing.unavailable


def test_a_damaged_baseline_is_an_error_and_left(gate: Gate, store: Store, nets: str) -> None:
    _approve(store, gate, _case(nets))
    path = store.path(_case(nets))
    path.write_text(path.read_text()[:-40])
    damaged = path.read_text()
    verdict = _verdict(gate, store, _case(nets))
    assert verdict.outcome is Outcome.ERROR
    assert path.name in verdict.notes[0]
    assert path.read_text() == damaged


def test_a_missing_dataset_is_reported(tmp_path: Path, store: Store, own_cache: Path) -> None:
    gate = Gate(Options(data_dir=tmp_path, download=False))
    with pytest.raises(MissingDataError, match="no cifar10"):
        Judge(gate, store, alpha=ALPHA).verdict(Case("cifar10", "simple_cnn", "fp32", "x86"))


def test_outputs_that_are_no_class_are_said_of_a_pass_and_on_the_table(
    gate: Gate, store: Store, nets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide_nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def wide():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 7))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    case = Case("colours", "wide_nets:wide", "fp32", "qnnpack")
    note = "7 outputs for 4 classes: the first 4 are taken to be the classes"
    _approve(store, gate, case)
    verdict = _verdict(gate, store, case)
    assert (verdict.outcome, verdict.data_notes) == (Outcome.PASS, (note,))
    assert f"  {note}" in verdict_lines(verdict)
    # it is of that case alone
    _approve(store, gate, _case(nets))
    assert _verdict(gate, store, _case(nets)).data_notes == ()
    (measured,) = measure([case], Options(sources=gate.samples("colours").options.sources))
    assert isinstance(measured, Measurement)
    assert f"{note}." in comparison_notes([measured])
