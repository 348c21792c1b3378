"""Sites measured in pieces of some batches: the same bits as in one process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.processes.local import LocalExecutor
from qreg.processes.sending import default_settings
from qreg.quantization.engines import default_engine
from qreg.records.case import Case
from qreg.sensitivity import clustered, sharing
from qreg.sensitivity.clustered import OnCluster
from qreg.sensitivity.measuring import Prepared
from qreg.sensitivity.records import Sensitivity
from qreg.sensitivity.run import Extent, Measured, measure_sensitivity

CASE = Case("shapes10", "linear_100", "static", default_engine())
OPTIONS = Options(threads=1, limit=300, calibration=64)
EVERYTHING = Extent(everything=True)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LARGEST_BATCH", 30)


def _untimed(found: Sensitivity) -> Sensitivity:
    """All but what was timed."""
    effects = tuple(replace(one, saved_ms=None) for one in found.effects)
    return replace(found, effects=effects, seconds=0.0)


@pytest.mark.slow
def test_pieces_give_the_bits_of_one_process(small_batches: None, tmp_path: Path) -> None:
    here = measure_sensitivity(CASE, OPTIONS, EVERYTHING)
    executor = LocalExecutor(jobs=2)
    try:
        pieces = OnCluster(executor, default_settings(tmp_path), OPTIONS, parts=3)
        there = measure_sensitivity(CASE, OPTIONS, EVERYTHING, pieces)
    finally:
        executor.close()
    assert there.measured == 300
    assert len(there.effects) >= 3
    assert all(one.but is not None for one in there.effects)
    assert _untimed(there) == _untimed(here)


def test_what_a_piece_sends_back_is_bounded(
    small_batches: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[int]] = []
    executor = LocalExecutor(jobs=1)

    def looking(ready: Prepared, measured: Measured) -> None:
        for most in (1 << 20, 20_000):
            monkeypatch.setattr(clustered, "_MOST_BYTES", most)
            pieces = OnCluster(executor, default_settings(tmp_path), OPTIONS, parts=1)
            contents = [json.loads(one.content) for one in pieces._pieces(ready, measured)]
            assert sorted(n for one in contents for n in one["batches"]) == list(range(10))
            found.append([len(one["batches"]) for one in contents])
        raise QregError("enough was seen")

    try:
        with pytest.raises(QregError, match="enough"):
            measure_sensitivity(CASE, OPTIONS, EVERYTHING, looking)
    finally:
        executor.close()
    assert found[0] == [10]
    assert len(found[1]) > 3


def test_what_goes_wrong_in_a_piece_is_said(small_batches: None, tmp_path: Path) -> None:
    executor = LocalExecutor(jobs=1)
    options = replace(OPTIONS, task="no-such-task")

    def failing(ready: object, measured: object) -> None:
        pieces = OnCluster(executor, default_settings(tmp_path), options, parts=1)
        pieces(ready, measured)  # type: ignore[arg-type]

    try:
        with pytest.raises(QregError, match="part 1 of 1: unknown task"):
            measure_sensitivity(CASE, OPTIONS, EVERYTHING, failing)
    finally:
        executor.close()
