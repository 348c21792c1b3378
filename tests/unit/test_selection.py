"""Settings to cases."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.errors import UnknownNameError
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.selection import (
    dataset_sources,
    gate_cases,
    gate_options,
    project_checkpoints,
    select_cases,
)
from qreg.settings import Settings


def settings(folder: Path, **changed: tuple[str, ...]) -> Settings:
    known = {"models": ("simple_cnn", "resnet20"), "methods": ("static", "fp32"), **changed}
    return Settings(root=folder, engines=("x86",), **known)  # type: ignore[arg-type]


def test_every_model_with_every_method_fp32_first(tmp_path: Path) -> None:
    cases = select_cases(settings(tmp_path))
    assert [f"{case.model}/{case.method}" for case in cases] == [
        "simple_cnn/fp32",
        "simple_cnn/static",
        "resnet20/fp32",
        "resnet20/static",
    ]


def test_names_leave_only_those(tmp_path: Path) -> None:
    found = select_cases(
        settings(tmp_path), models=("resnet20",), methods=("qat", "static"), engines=("qnnpack",)
    )
    assert [str(case) for case in found] == [
        "shapes10/resnet20/qat@qnnpack",
        "shapes10/resnet20/static@qnnpack",
    ]


def test_what_is_left_out_is_there_when_its_method_is_named(tmp_path: Path) -> None:
    own = settings(tmp_path, leave_out=("*/resnet20/sta*",))
    assert [f"{case.model}/{case.method}" for case in select_cases(own)] == [
        "simple_cnn/fp32",
        "simple_cnn/static",
        "resnet20/fp32",
    ]
    named = select_cases(own, methods=("static",), models=("resnet20",))
    assert [f"{case.model}/{case.method}" for case in named] == ["resnet20/static"]


def test_a_model_that_does_not_belong_to_a_dataset_stays_out(tmp_path: Path) -> None:
    own = settings(tmp_path, leave_out=("shapes10/resnet20/*",))
    assert {case.model for case in select_cases(own)} == {"simple_cnn"}
    assert {case.model for case in select_cases(own, methods=("static",))} == {"simple_cnn"}
    assert not select_cases(own, methods=("static",), models=("resnet20",))
    asked = {"methods": ("static",), "models": ("resnet20",), "datasets": ("shapes10",)}
    assert [str(case) for case in select_cases(own, **asked)] == ["shapes10/resnet20/static@x86"]


def test_checkpoints_of_a_project_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QREG_CHECKPOINTS", raising=False)
    (tmp_path / "helpers").mkdir()
    own, usual = settings(tmp_path), Path("baselines", "checkpoints")
    monkeypatch.chdir(tmp_path)
    assert project_checkpoints(own) is None  # the usual place is the project's
    monkeypatch.chdir(tmp_path / "helpers")
    assert gate_options(own).checkpoints == tmp_path / usual
    assert gate_options(own, Options(checkpoints=Path("x"))).checkpoints == Path("x")
    with monkeypatch.context() as patched:
        patched.setenv("QREG_CHECKPOINTS", "elsewhere")
        assert project_checkpoints(own) is None
    usual.mkdir(parents=True)
    assert project_checkpoints(own) is None
    named = Settings(root=tmp_path, models=("simple_cnn",), checkpoints=tmp_path / "weights")
    assert project_checkpoints(named) == tmp_path / "weights"


def test_all_engines_are_those_of_this_machine(tmp_path: Path) -> None:
    import torch

    found = select_cases(
        settings(tmp_path), models=("resnet20",), methods=("fp32",), engines=("all",)
    )
    supported = set(torch.backends.quantized.supported_engines)
    assert {case.engine for case in found} == supported & {"x86", "fbgemm", "onednn", "qnnpack"}


@pytest.mark.parametrize("kind", ["datasets", "models", "methods", "engines"])
def test_unknown_names_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnknownNameError, match="nonsense"):
        select_cases(settings(tmp_path), **{kind: ("nonsense",)})


def test_an_unknown_name_in_the_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="simple_cn"):
        select_cases(settings(tmp_path, models=("simple_cn",)))


def test_a_dataset_by_path_is_called_by_its_own_name(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "photos.npz").write_bytes(colours.read_bytes())
    own = settings(tmp_path, datasets=("photos.npz", "shapes10"))
    path = str(tmp_path / "photos.npz")
    assert dataset_sources(own) == (("photos", path), ("shapes10", "shapes10"))
    assert {case.dataset for case in select_cases(own)} == {"photos", "shapes10"}
    assert gate_options(own).sources[0] == ("photos", path)
    assert not gate_options(own).download


_NAMES = st.lists(st.sampled_from("abcd"), max_size=3, unique=True)
_METHODS = st.lists(st.sampled_from(["fp32", "dynamic", "static", "qat"]), max_size=4, unique=True)


@given(_NAMES, _NAMES, _METHODS, _NAMES)
def test_every_combination_is_a_case_once(
    datasets: list[str], models: list[str], methods: list[str], engines: list[str]
) -> None:
    found = gate_cases(iter(datasets), models, methods, engines)
    expected = {Case(*names) for names in product(datasets, models, methods, engines)}
    assert len(found) == len(expected)
    assert set(found) == expected


@given(_NAMES, _NAMES, _METHODS, _NAMES)
def test_fp32_comes_before_what_is_compared_with_it(
    datasets: list[str], models: list[str], methods: list[str], engines: list[str]
) -> None:
    found = gate_cases(datasets, models, methods, engines)
    for number, case in enumerate(found):
        before = found[:number]
        if case.method != "fp32" and "fp32" in methods:
            assert Case(case.dataset, case.model, "fp32", case.engine) in before


def test_cases_of_one_dataset_and_model_stand_together() -> None:
    found = gate_cases(["a", "b"], ["m", "n"], ["qat", "fp32", "static"], ["x86", "onednn"])
    groups = [(case.dataset, case.model) for case in found]
    assert groups == sorted(groups)
    assert [str(case) for case in found[:4]] == [
        "a/m/fp32@x86",
        "a/m/qat@x86",
        "a/m/static@x86",
        "a/m/fp32@onednn",
    ]
