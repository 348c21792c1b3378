"""Several processes that judge: the same verdicts, and a crash that costs its own case."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreg.errors import MissingDataError
from qreg.gate.pool import JudgeRequest, Pool
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.records.verdict import Outcome, Verdict
from qreg.selection import select_cases
from qreg.settings import Settings

_CRASH = """
import os, signal

def crash(model, context):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def options(tmp_path: Path, colours: Path, nets: str) -> JudgeRequest:
    shutil.copy(colours, tmp_path / "colours.npz")
    with (tmp_path / f"{nets}.py").open("a") as file:
        file.write(_CRASH)
    settings = Settings(
        root=tmp_path,
        models=(f"{nets}:make_net",),
        datasets=("colours.npz",),
        methods=("fp32", f"{nets}:crash", "dynamic"),
        engines=("qnnpack",),
    )
    return JudgeRequest(
        settings, tmp_path / "baselines", alpha=0.005, options=Options(data_dir=tmp_path, threads=1)
    )


@pytest.fixture
def pool(options: JudgeRequest) -> Iterator[Pool]:
    missing = Case("cifar10", "simple_cnn", "fp32", "qnnpack")
    found = Pool(options, (*select_cases(options.settings), missing), jobs=2)
    yield found
    found.close()


def test_a_crash_costs_its_own_case_and_missing_data_is_said(
    options: JudgeRequest, pool: Pool
) -> None:
    outcomes = []
    for case in select_cases(options.settings):
        verdict = pool.verdict(case)
        assert isinstance(verdict, Verdict)
        outcomes.append(verdict.outcome)
    assert outcomes == [Outcome.NO_BASELINE, Outcome.ERROR, Outcome.NO_BASELINE]
    with pytest.raises(MissingDataError, match="no cifar10"):
        pool.verdict(Case("cifar10", "simple_cnn", "fp32", "qnnpack"))
