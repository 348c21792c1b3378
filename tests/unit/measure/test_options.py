"""Datasets by name or by where they are from."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.errors import UnknownNameError
from qreg.measure.comparison import measure
from qreg.measure.options import Options
from qreg.measure.saturation import audit_case
from qreg.records.case import Case
from qreg.records.measurement import Measurement


@pytest.fixture
def options(colours: Path, own_cache: Path) -> Options:
    return Options(limit=2, sources=(("photos", str(colours)),))


def test_a_dataset_is_called_by_its_name_whatever_is_done_with_it(
    options: Options, nets: str
) -> None:
    case = Case("photos", f"{nets}:make_net", "dynamic", "qnnpack")
    assert options.dataset("photos").name == "colours"
    assert [layer.layer for layer in audit_case(case, options)] == ["model.4", "model.4"]
    (measured,) = measure([Case("photos", case.model, "fp32", "qnnpack")], options)
    assert isinstance(measured, Measurement)


def test_another_name_is_a_registered_one(options: Options) -> None:
    assert options.dataset("shapes10").name == "shapes10"
    with pytest.raises(UnknownNameError, match="photographs"):
        options.dataset("photographs")
