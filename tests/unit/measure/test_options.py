"""Datasets by name or by where they are from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import UnknownNameError
from qreg.measure.comparison import measure
from qreg.measure.options import FEW_CALIBRATION, Options, load_test
from qreg.measure.saturation import audit_case
from qreg.measure.subject import Subject, case_setup, prepare
from qreg.records.case import Case
from qreg.records.decode import MismatchError
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


def test_options_travel_as_json_and_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sent = Options(
        data_dir=Path("data"), threads=2, calibration=16, sources=(("a", "b"),), download=False
    )
    found = Options.of_plain(json.loads(json.dumps(sent.plain())))
    assert found == replace(sent, data_dir=tmp_path / "data")


@pytest.mark.parametrize(
    "change", [{"threads": -1}, {"calibration": -1}, {"limit": "all"}, {"unknown": 1}]
)
def test_what_are_no_options_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MismatchError):
        Options.of_plain(Options().plain() | change)


def test_so_many_calibration_samples_are_observed(options: Options, nets: str) -> None:
    case = Case("photos", f"{nets}:make_net", "static", "x86")
    options = replace(options, calibration=FEW_CALIBRATION)
    dataset = options.dataset("photos")
    made = prepare(case, case_setup(dataset, load_test(dataset, options), options))
    assert isinstance(made, Subject)
    assert len(made.calibration) == FEW_CALIBRATION
