"""Settings to cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.errors import UnknownNameError
from qreg.selection import dataset_sources, gate_options, select_cases
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
        settings(tmp_path), models="resnet20", methods="qat, static", engines="qnnpack"
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
    named = select_cases(own, methods="static", models="resnet20")
    assert [f"{case.model}/{case.method}" for case in named] == ["resnet20/static"]


def test_all_engines_are_those_of_this_machine(tmp_path: Path) -> None:
    import torch

    found = select_cases(settings(tmp_path), models="resnet20", methods="fp32", engines="all")
    supported = set(torch.backends.quantized.supported_engines)
    assert {case.engine for case in found} == supported & {"x86", "fbgemm", "onednn", "qnnpack"}


@pytest.mark.parametrize("kind", ["datasets", "models", "methods", "engines"])
def test_unknown_names_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnknownNameError, match="nonsense"):
        select_cases(settings(tmp_path), **{kind: "nonsense"})


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
