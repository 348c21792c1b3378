from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qreg.data import get_dataset, load_split
from qreg.data.images import ImageSamples
from qreg.errors import ContractError, CorruptFileError
from qreg.files import shipped_folder
from qreg.measure.subject import CaseSetup, Subject, prepare
from qreg.records.case import Case, Failure
from qreg.records.weights import WeightsSource
from qreg.training.checkpoints import find_checkpoint

SHIPPED = shipped_folder() / "checkpoints"


def _setup(colours: Path, folder: Path) -> CaseSetup:
    dataset = get_dataset(str(colours))
    train = load_split(dataset, "train")
    return CaseSetup(dataset, (folder,), lambda: train.head(32), torch.zeros(2, 3, 32, 32))


def _case(model: str, method: str = "static", engine: str = "x86") -> Case:
    return Case("colours", f"tiny_nets:{model}", method, engine)


def test_a_users_model_brings_its_weights(
    own_cache: Path, nets: str, colours: Path, tmp_path: Path
) -> None:
    made = prepare(_case("make_net"), _setup(colours, tmp_path))
    assert isinstance(made, Subject)
    assert made.weights.source is WeightsSource.RANDOM
    assert made.calibration == tuple(range(32))
    assert made.run(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    torch.backends.quantized.engine = "x86"


def test_a_users_method(own_cache: Path, nets: str, colours: Path, tmp_path: Path) -> None:
    made = prepare(_case("make_net", "tiny_nets:half_precision"), _setup(colours, tmp_path))
    assert isinstance(made, Subject)
    assert made.calibration == ()


def test_a_sample_that_is_observed_twice_counts_once(
    own_cache: Path, nets: str, colours: Path, tmp_path: Path
) -> None:
    made = prepare(_case("make_net", "tiny_nets:observes_twice"), _setup(colours, tmp_path))
    assert isinstance(made, Subject)
    assert made.calibration == tuple(range(32))


def test_code_that_raises_is_the_cases_own_failure(
    own_cache: Path, nets: str, plus_at: str, colours: Path, tmp_path: Path
) -> None:
    made = prepare(_case("make_branching"), _setup(colours, tmp_path))
    assert isinstance(made, Failure)
    assert not made.unavailable
    assert (made.where, made.operator) == (plus_at, "+")
    assert "Traceback" in made.details


def test_an_engine_that_is_not_here(
    own_cache: Path, nets: str, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreg.quantization.engines.available_engines", lambda: ("x86",))
    made = prepare(_case("make_net", engine="qnnpack"), _setup(colours, tmp_path))
    assert isinstance(made, Failure)
    assert made.unavailable
    assert "qnnpack" in made.reason


def test_a_checkpoint_that_is_not_there(
    own_cache: Path, nets: str, colours: Path, tmp_path: Path
) -> None:
    made = prepare(_case("make_net", "qat"), _setup(colours, tmp_path))
    assert isinstance(made, Failure)
    assert made.unavailable
    assert "qreg train" in made.hint


def test_a_broken_contract_concerns_all_cases(
    own_cache: Path, nets: str, colours: Path, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match="for 2 samples"):
        prepare(_case("make_wrong", "fp32"), _setup(colours, tmp_path))


def _shapes_setup(folder: Path) -> CaseSetup:
    dataset = get_dataset("shapes10")

    def calibration() -> ImageSamples:
        return load_split(dataset, "train").head(64)

    return CaseSetup(dataset, (folder,), calibration, torch.zeros(2, 3, 32, 32))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = find_checkpoint((SHIPPED,), "linear_100", "shapes10", "fp32")
    copy = tmp_path / "shapes10" / "linear_100" / "fp32.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(path.read_bytes()[:-1])
    copy.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
    case = Case("shapes10", "linear_100", "fp32", "x86")
    with pytest.raises(CorruptFileError, match="found sha256"):
        prepare(case, _shapes_setup(tmp_path))


def test_each_case_is_built_on_a_fresh_model() -> None:
    setup = _shapes_setup(SHIPPED)
    case = Case("shapes10", "simple_cnn", "fp32", "x86")
    before = prepare(case, setup)
    quantized = prepare(replace(case, method="static"), setup)
    after = prepare(case, setup)
    assert isinstance(before, Subject)
    assert isinstance(after, Subject)
    assert isinstance(quantized, Subject)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(before.model(images), after.model(images))
    assert before.weights == quantized.weights


def test_warnings_are_recorded_not_shown(recwarn: pytest.WarningsRecorder) -> None:
    made = prepare(Case("shapes10", "simple_cnn", "static", "x86"), _shapes_setup(SHIPPED))
    assert isinstance(made, Subject)
    assert any("reduce_range" in text for text in made.warnings)
    assert len(recwarn) == 0
