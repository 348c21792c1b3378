"""torchvision's and timm's networks by name, and a project's definitions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from qreg.errors import CheckpointError, ContractError, UnavailableError, UnknownNameError
from qreg.models import MODELS, brought_weights, build_model, define_models
from qreg.models.source import ModelSource, source_name
from qreg.records.weights import WeightsSource


@pytest.fixture(autouse=True)
def _undefined() -> Iterator[None]:
    yield
    define_models(())


@pytest.mark.parametrize(
    ("name", "size"), [("torchvision:squeezenet1_1", 64), ("torchvision.quantization:resnet18", 32)]
)
@torch.no_grad()
def test_torchvisions_networks_by_name(name: str, size: int) -> None:
    assert build_model(name)(torch.zeros(1, 3, size, size)).shape == (1, 1000)


def test_timms_networks_by_name() -> None:
    pytest.importorskip("timm")
    assert sum(p.numel() for p in build_model("timm:resnet10t").parameters()) > 5_000_000


def test_without_timm_a_network_of_its_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UnavailableError, match="timm") as caught:
        build_model("timm:resnet10t")
    assert "qreg[timm]" in caught.value.hint


def test_an_unknown_network_of_a_library_gets_the_near_ones_only() -> None:
    with pytest.raises(UnknownNameError, match="torchvision:resnet19") as caught:
        build_model("torchvision:resnet19")
    assert "torchvision:resnet18" in caught.value.hint
    assert caught.value.hint.count(",") < 10


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("torchvision:resnet18", True),
        ("timm:resnet50.a1_in1k", True),
        ("nets.net", False),
        ("huggingface:x-y", False),
        ("timm:", False),
    ],
)
def test_which_names_are_known_without_importing_anything(name: str, known: bool) -> None:
    assert MODELS.knows(name) is known


def test_a_definition_gives_the_factory_its_arguments() -> None:
    name = "resnet18-num_classes=3"
    define_models([ModelSource(name, "torchvision:resnet18", (("num_classes", 3),))])
    assert build_model(name).get_parameter("model.fc.bias").shape == (3,)
    define_models(())
    with pytest.raises(UnknownNameError):
        build_model(name)


def test_arguments_that_a_factory_does_not_take_are_one_line() -> None:
    define_models([ModelSource("odd", "simple_cnn", (("depth", 3),))])
    with pytest.raises(ContractError, match="unexpected keyword argument 'depth'"):
        build_model("odd")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "nets:net"),
        ({"width": 32}, "net-width=32"),
        ({"b": True, "a": [1, 2]}, "net-a=_1_2_-b=true"),
        ({"path": "../x y"}, "net-path=.._x_y"),
    ],
)
def test_the_name_of_a_definition_that_gives_none(arguments: dict[str, object], name: str) -> None:
    found = ModelSource(source_name("nets:net", arguments), "nets:net")
    assert found.name == name


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a,b", "a b", ".hidden", "a@b", "x" * 200])
def test_a_name_that_cannot_be_a_files_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name is of"):
        ModelSource(name, "nets:net")


def _saved(path: Path, wrap: str) -> Path:
    torch.manual_seed(9)
    state = build_model("linear_100").state_dict()
    if wrap == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    if wrap == "parallel":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({wrap: state} if wrap == "state_dict" else state, path)
    return path


@pytest.mark.parametrize("wrap", ["safetensors", "plain", "state_dict", "parallel"])
def test_weights_of_a_file(tmp_path: Path, wrap: str) -> None:
    path = _saved(tmp_path / "w.pt", wrap)
    define_models([ModelSource("mine", "linear_100", weights=path)])
    kept = build_model("linear_100").state_dict()
    loaded = build_model("mine", seed=5).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in kept.items())
    assert brought_weights("mine").source is WeightsSource.FILE


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"junk", "cannot be read"),
        ({"linear.weight": torch.zeros(3)}, "lacks linear.bias; other shape: linear.weight"),
        ([1, 2], "no state dict"),
        ({"x": _Evil()}, "weights_only=True"),
        (None, "no weights at"),
    ],
)
def test_a_file_that_is_no_weights_of_the_model_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    define_models([ModelSource("mine", "linear_100", weights=path)])
    with pytest.raises(CheckpointError, match=says) as caught:
        build_model("mine")
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert not (tmp_path / "executed").exists()


def _own_weights() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(2, 2)


def _random_head() -> nn.Module:
    return nn.Sequential(_own_weights(), nn.BatchNorm1d(2), nn.Linear(2, 2))


def _other_weights() -> nn.Module:
    model = _own_weights()
    nn.init.zeros_(model.weight)  # type: ignore[arg-type]
    return model


def test_whose_the_weights_are_and_their_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "user_nets", sys.modules[__name__])
    own = brought_weights("user_nets:_own_weights")
    assert own == brought_weights("user_nets:_own_weights")
    assert own.source is WeightsSource.FACTORY
    assert own.sha256 != brought_weights("user_nets:_other_weights").sha256
    for random in ("torchvision.quantization:shufflenet_v2_x0_5", "linear_100"):
        assert brought_weights(random).source is WeightsSource.RANDOM


def test_weights_of_which_some_are_random_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "user_nets", sys.modules[__name__])

    def head() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    monkeypatch.setattr(sys.modules[__name__], "_random_head", head)
    assert brought_weights("user_nets:_random_head").source is WeightsSource.RANDOM
