"""The gate holds a method that leaves layers in float."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.baselines.folder import case_file
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.quantization.engines import default_engine
from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Outcome
from tests.unit.checks import given
from tests.unit.checks.given import EXACT


@pytest.mark.slow
def test_a_method_with_layers_in_float_is_judged_like_another() -> None:
    case = Case("shapes10", "simple_cnn", "static-keep:conv1+fc3", default_engine())
    first, second = (Gate(Options(calibration=16)).observe(case) for _ in range(2))
    assert isinstance(first, Snapshot), first
    assert isinstance(second, Snapshot)
    assert given.verdict(second, first, EXACT).outcome is Outcome.PASS
    kinds = {layer.name: layer.kind for layer in first.numerics.layers}
    assert "quantized" in kinds["conv2"]
    kept = [kind for name, kind in kinds.items() if name.startswith("conv1.layer")]
    assert kept
    assert not any("quantized" in kind for kind in kept)


def test_its_baseline_has_a_file_of_its_own() -> None:
    names = [
        case_file(Case("shapes10", "simple_cnn", method, "x86"))
        for method in ("static", "static-keep:conv1+fc3", "static-keep:conv1")
    ]
    assert names[1] == Path("shapes10", "simple_cnn", "static-keep.conv1+fc3@x86.json")
    assert len(set(names)) == 3
