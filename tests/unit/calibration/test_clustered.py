"""Draws in other processes: the audit of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import make_npz
from qreg.calibration.clustered import DrawsOnCluster
from qreg.calibration.run import AuditRequest, audit_calibration
from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.processes.local import LocalExecutor
from qreg.processes.sending import default_settings
from qreg.quantization.engines import default_engine
from qreg.records.case import Case


def _request(nets: str, method: str = "static") -> AuditRequest:
    case = Case("photos.npz", f"{nets}:make_net", method, default_engine())
    return AuditRequest(case, 3, Options(threads=1), sizes=(8, 40))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_npz(tmp_path / "photos.npz", train=200, test=60)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_draws_elsewhere_are_those_of_one_process(folder: Path, nets: str) -> None:
    request = _request(nets)
    here = audit_calibration(request)
    executor = LocalExecutor(jobs=2)
    try:
        there = audit_calibration(
            request, DrawsOnCluster(executor, default_settings(folder), request)
        )
    finally:
        executor.close()
    assert there == here
    assert len(there.draws) == 6
    assert there.sites


def test_a_draw_that_cannot_be_made_is_named(folder: Path, nets: str) -> None:
    executor, request = LocalExecutor(jobs=1), _request(nets, "dynamic")
    draws = DrawsOnCluster(executor, default_settings(folder), request)
    try:
        draws.start([(8, 1)])
        with pytest.raises(QregError, match=r"draw 2 of 8 samples: .*observes no"):
            draws.results()
    finally:
        executor.close()
