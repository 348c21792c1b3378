"""Faults of QAT's own path leave every compared number as it was, and are caught all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx import GraphModule

from qreg.checks.conversion import judge_qat
from qreg.faults import child, get_faults
from qreg.faults.fault import Target
from qreg.faults.results import TIERS
from qreg.gate.qat import observe_training
from qreg.measure.options import Options
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.quantization import METHODS
from qreg.quantization.engines import available_engines
from qreg.records.case import Case
from qreg.records.qat import QatObservation, TrainingSteps

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
JOB = {
    "cases": [["shapes10", "linear_100", "qat", "x86"]],
    "options": Options(threads=1, download=False).plain(),
}


def _observed(**more: Any) -> Any:
    return child._work({**JOB, **more}, lambda _: None)["observed"][0]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder with a baseline that was just recorded."""
    before = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("clean")
    _observed(record=str(folder))
    yield str(folder)
    torch.set_num_threads(before)


def test_a_clean_run_passes(clean: str, tmp_path: Path) -> None:
    found = _observed(against=clean)
    assert found["unchanged"]
    assert {found[tier]["outcome"] for tier in TIERS} == {"PASS"}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("fake-quant-passes-through", ["conversion", "training"]),
        ("gradient-outside-range", ["training"]),
        ("gradient-zero", ["training"]),
        ("moving-average-halved", ["training"]),
    ],
)
def test_a_fault_that_changes_no_compared_number_is_caught(
    clean: str, fault: str, checks: list[str]
) -> None:
    found = _observed(against=clean, fault=fault)
    assert found["unchanged"]
    for tier in TIERS:
        assert (found[tier]["outcome"], found[tier]["checks"]) == ("REGRESSED", checks)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fx-qat", "pt2e-qat"])
def test_a_graph_trains_by_its_own_fake_quantizers(method: str) -> None:
    if METHODS.info(method).requires:
        pytest.importorskip("torchao")
    case, options = Case("shapes10", "simple_cnn", method, "x86"), Options(threads=1)
    dataset = options.dataset("shapes10")
    test = options.load(dataset, "test").head(32)
    subject = prepare(case, case_setup(dataset, test, options))
    assert isinstance(subject, Subject), subject
    assert isinstance(subject.prepared, GraphModule)
    given = test.first(32).inputs

    def trained() -> TrainingSteps:
        found = observe_training(subject.prepared, given)
        assert isinstance(found, TrainingSteps), found
        return found

    clean = trained()
    assert list(judge_qat(QatObservation(None, clean))) == []
    assert clean.losses == clean.expected
    assert len(set(clean.losses)) == 3
    assert clean.modules >= 4
    for name, says in (
        ("fake-quant-passes-through", "output"),
        ("gradient-zero", "gradient inside the range"),
        ("gradient-outside-range", "gradient outside the range"),
        ("moving-average-halved", "the ranges observed in training"),
    ):
        with get_faults([name])[0].inject(Target(case, options)):
            findings = list(judge_qat(QatObservation(None, trained())))
        assert any(says in one.expected for one in findings), name
