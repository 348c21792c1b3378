"""Speed as pytest-benchmark tracks it: every shipped case. `pytest -m benchmark`.

It tracks, it does not judge: docs/commands/speed.md says why, and what does.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from qreg.errors import MissingDataError
from qreg.gate.samples import GateSamples, load_gate_samples
from qreg.measure.comparison import BATCH
from qreg.measure.environment import capture_environment
from qreg.measure.subject import Subject
from qreg.quantization.engines import use_engine
from qreg.records.case import Case
from qreg.selection import gate_options, select_cases
from qreg.settings import read_settings
from tests.speed.memory import peak_growth

SETTINGS = read_settings(Path(__file__).parents[2] / "pyproject.toml")
assert SETTINGS is not None
CASES = select_cases(SETTINGS)

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("default")]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
steady = {"disable_gc": True, "warmup": True, "min_rounds": 20, "max_time": 0.5}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def _bench(dataset: str) -> GateSamples:
    assert SETTINGS is not None
    return load_gate_samples(dataset, gate_options(SETTINGS), full=False)


def _made(case: Case) -> Subject:
    """The case made ready; a dataset or an engine that is not here is a skip."""
    try:
        made = _bench(case.dataset).subject(case)
    except MissingDataError as error:
        pytest.skip(str(error))
    if not isinstance(made, Subject):
        pytest.skip(made.reason)
    return made


def _describe(benchmark: BenchmarkFixture, case: Case, **more: object) -> None:
    environment = dataclasses.asdict(capture_environment())
    benchmark.extra_info.update(case=dataclasses.asdict(case), environment=environment, **more)


@each_case
@pytest.mark.parametrize("batch", [1, BATCH], ids=lambda size: f"batch {size}")
@pytest.mark.benchmark(group="latency", **steady)
def test_latency(case: Case, batch: int, benchmark: BenchmarkFixture) -> None:
    subject = _made(case)
    images = _bench(case.dataset).first(batch)
    with use_engine(case.engine), torch.no_grad():
        peak = peak_growth(lambda: subject.run(images))
        benchmark(subject.run, images)
    _describe(benchmark, case, batch=batch, peak_memory_bytes=peak)


@each_case
@pytest.mark.benchmark(group="quantize")
def test_quantize(case: Case, benchmark: BenchmarkFixture) -> None:
    """Weights read, model built, calibrated and converted."""
    _made(case)  # what is loaded once
    peak = peak_growth(lambda: _made(case))
    benchmark.pedantic(_made, args=(case,), rounds=3)
    _describe(benchmark, case, peak_memory_bytes=peak)


@each_case
@pytest.mark.benchmark(group="load", **steady)
def test_load(case: Case, benchmark: BenchmarkFixture) -> None:
    """A saved state read and put into the quantized model."""
    subject, buffer = _made(case), io.BytesIO()
    torch.save(subject.model.state_dict(), buffer)

    def load() -> None:
        buffer.seek(0)
        subject.model.load_state_dict(torch.load(buffer, weights_only=True))

    with use_engine(case.engine):
        peak = peak_growth(load)
        benchmark(load)
    _describe(benchmark, case, peak_memory_bytes=peak, file_bytes=buffer.getbuffer().nbytes)
