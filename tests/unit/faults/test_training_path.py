"""Faults of QAT's own path leave every compared number as it was, and are caught all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from qreg.faults import child
from qreg.faults.results import TIERS
from qreg.measure.options import Options
from qreg.quantization.engines import available_engines

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
