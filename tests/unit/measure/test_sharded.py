"""A large set in shards: the same bits as in one process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import make_npz
from qreg.errors import QregError
from qreg.measure.comparison import Run, measure, run_cases
from qreg.measure.options import Options
from qreg.measure.sharded import Sharding, observe_in_shards, shards_of
from qreg.processes.local import LocalExecutor
from qreg.records.case import Case, Failure
from qreg.records.measurement import Measurement
from qreg.selection import gate_options, use_project
from qreg.settings import Settings, read_settings


@pytest.mark.parametrize(("count", "parts"), [(1, 1), (100, 3), (1000, 3), (1050, 4), (999, 50)])
def test_shards_are_whole_batches_and_all_samples(count: int, parts: int) -> None:
    found = shards_of(count, parts, batch=100)
    assert [first for first, _ in found] == [0, *(last for _, last in found[:-1])]
    assert found[-1][1] == count
    assert all(first % 100 == 0 for first, _ in found)
    assert len(found) == min(parts, -(-count // 100))
    assert all(last > first for first, last in found)


def test_a_shard_has_samples() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        shards_of(0, 1)


def _project(folder: Path, nets: str, source: str, *, count: int) -> tuple[Settings, Options]:
    """A user's project with so many test samples."""
    make_npz(folder / "many.npz", train=64, test=count)
    table = f'[tool.qreg]\nmodels = ["{nets}:make_net"]\ndatasets = [{source}]\n'
    (folder / "pyproject.toml").write_text(table)
    settings = read_settings(folder / "pyproject.toml")
    assert settings is not None
    use_project(settings)
    return settings, gate_options(settings, Options(threads=1))


def test_what_shards_find_is_bit_for_bit_what_one_process_finds(tmp_path: Path, nets: str) -> None:
    settings, options = _project(tmp_path, nets, '"many.npz"', count=730)
    case = Case("many", f"{nets}:make_net", "dynamic", "x86")
    (whole,) = run_cases([case], options).runs
    assert isinstance(whole, Run)
    executor = LocalExecutor(jobs=2)
    try:
        found = observe_in_shards(case, settings, replace(options), executor, parts=3)
    finally:
        executor.close()
    assert found.shards == 3
    assert np.array_equal(found.observation.rows, whole.observation.rows)
    assert np.array_equal(found.observation.index, whole.observation.index)
    assert found.observation.digest == whole.observation.digest
    assert found.observation.correct == whole.observation.correct
    assert found.peak > 1 << 20


_LEAVES = """
import os

def leaves(model, context):
    def leave(*_):
        if os.getpid() != {here}:
            os._exit(7)
    model.register_forward_pre_hook(leave)
    return model
"""


@pytest.mark.slow
def test_a_comparison_in_shards_finds_what_one_process_finds(tmp_path: Path, nets: str) -> None:
    (tmp_path / "shard_methods.py").write_text(_LEAVES.format(here=os.getpid()))
    settings, options = _project(tmp_path, nets, '"many.npz"', count=1130)
    methods = ("fp32", "dynamic", "shard_methods:leaves")
    cases = [Case("many", f"{nets}:make_net", method, "x86") for method in methods]
    whole = measure(cases[:2], options)
    executor = LocalExecutor(jobs=2)
    try:
        found = measure(cases, options, observe=Sharding(settings, options, executor, parts=4))
    finally:
        executor.close()
    for one, other in zip(whole, found, strict=False):
        assert isinstance(one, Measurement)
        assert isinstance(other, Measurement)
        assert (one.accuracy, one.agreements) == (other.accuracy, other.agreements)
        assert one.data_fingerprint == other.data_fingerprint
        assert other.notes == (*one.notes, "times are of the first 1,000 of 1,130 samples")
    assert isinstance(found[2], Failure)
    assert found[2].reason.startswith(f"{cases[2]} samples ")
    assert "exited 7" in found[2].reason


def test_what_needs_the_reference_is_not_sharded(tmp_path: Path, nets: str) -> None:
    source = '{ source = "many.npz", task = "agreement" }'
    settings, options = _project(tmp_path, nets, source, count=130)
    case = Case("many", f"{nets}:make_net", "fp32", "x86")
    executor = LocalExecutor(jobs=1)
    try:
        with pytest.raises(QregError, match="compares with fp32's outputs"):
            Sharding(settings, options, executor, 2)([case])
    finally:
        executor.close()
