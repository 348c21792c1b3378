from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from qreg.errors import ContractError, UnknownNameError
from qreg.measure.recorded_warnings import recorded_warnings
from qreg.models import MODELS, build_model, check_logits

PARAMETERS = {
    "simple_cnn": 651_978,
    "linear_100": 10_100,
    "resnet20": 272_474,
    "mobilenet_v2": 700_490,
}


@pytest.mark.parametrize("name", MODELS.names())
def test_parameters(name: str) -> None:
    assert sum(p.numel() for p in build_model(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_images_become_logits(name: str, batch: int) -> None:
    model = build_model(name)
    assert not model.training
    check_logits(name, model(torch.zeros(batch, 3, 32, 32)), batch=batch, classes=10)


def test_the_seed_draws_the_weights() -> None:
    first, again = build_model("simple_cnn", seed=3), build_model("simple_cnn", seed=3)
    other = build_model("simple_cnn", seed=4)
    key = "conv1.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_an_unknown_model_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError) as caught:
        build_model("resnet18")
    assert "did you mean 'resnet20'" in caught.value.hint
    assert "mobilenet_v2" in caught.value.hint


def needs_argument(width: int) -> nn.Module:
    return nn.Linear(width, width)


def returns_no_module() -> object:
    return object()


def raises_type_error() -> nn.Module:
    raise TypeError("of my own")


def works() -> nn.Module:
    return nn.Linear(2, 2)


def trains() -> nn.Module:
    model = nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    with torch.no_grad():
        model.weight -= model.weight.grad
    return model


CALLS: list[int] = []


def counts_its_calls() -> nn.Module:
    CALLS.append(1)
    return nn.Linear(2, 2)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "user_nets", sys.modules[__name__])


def test_a_users_factory_gets_stubs_around_it() -> None:
    model = build_model("user_nets:works")
    assert list(model.state_dict()) == ["model.weight", "model.bias"]
    assert [type(m).__name__ for m in model.children()] == ["QuantStub", "Linear", "DeQuantStub"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("needs_argument", "missing 1 required positional argument"),
        ("returns_no_module", r"returned object, not torch\.nn\.Module"),
        ("PARAMETERS", "is not callable"),
        ("nothing", "has no 'nothing'"),
    ],
)
def test_a_factory_that_breaks_the_contract(name: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        build_model(f"user_nets:{name}")


@torch.no_grad()
def test_a_factory_may_train_what_it_returns() -> None:
    assert build_model("user_nets:trains") is not None


def test_a_factory_is_called_once_and_its_models_are_fresh() -> None:
    first = build_model("user_nets:counts_its_calls")
    before = first.model.weight.clone()
    with torch.no_grad():
        first.model.weight += 1
    assert torch.equal(build_model("user_nets:counts_its_calls").model.weight, before)
    assert len(CALLS) == 1


_WARNING = """
import warnings
from torch import nn

warnings.warn("the module is old", DeprecationWarning)

class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("only one")

def copyable():
    warnings.warn("the factory is old")
    return nn.Linear(2, 2)

def uncopyable():
    warnings.warn("the factory is old")
    return Uncopyable(2, 2)
"""


@pytest.mark.parametrize(("name", "heard"), [("copyable", []), ("uncopyable", ["factory"])])
def test_every_case_of_a_model_hears_the_same_warnings(
    name: str, heard: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"warns_{name}.py").write_text(_WARNING)
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        with recorded_warnings() as texts:
            build_model(f"warns_{name}:{name}")
        assert texts == {f"the {one} is old" for one in heard}


def test_a_factorys_own_errors_are_not_renamed() -> None:
    with pytest.raises(TypeError, match="of my own"):
        build_model("user_nets:raises_type_error")


@pytest.mark.parametrize(
    "output", [torch.zeros(2, 3), torch.zeros(3, 10), torch.zeros(2, 10, 1), (1, 2)]
)
def test_what_is_not_logits_is_refused(output: object) -> None:
    with pytest.raises(ContractError, match="for 2 samples"):
        check_logits("mine", output, batch=2, classes=10)
