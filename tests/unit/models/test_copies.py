from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import weight_norm

from qreg.models import build_model
from qreg.models.copies import copied, made_copyable

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class ByFunction(nn.Module):
    """Runs its layers through a function made in the constructor, as published GPTs do."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"fc": nn.Linear(4, 8), "proj": nn.Linear(8, 4)})
        m = self.mlp
        self.run = lambda x: m["proj"](torch.relu(m["fc"](x)))
        self.scaled = lambda x, *, layer=m["proj"], by=2: by * layer.bias + x
        self.double = lambda x: 2 * x  # refers to nothing of the model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.double(self.scaled(self.run(x)))
        return found


def make_by_function() -> nn.Module:
    return ByFunction()


def _zeroed(model: nn.Module) -> torch.Tensor:
    """The output with every weight 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        found: torch.Tensor = model(X)
    return found


def test_plain_copies_run_the_layers_of_the_original() -> None:
    assert bool(_zeroed(copy.deepcopy(ByFunction())).any())


@pytest.mark.parametrize("make", [lambda m: copy.deepcopy(made_copyable(m)), copied])
def test_a_copy_runs_its_own_layers(make: object) -> None:
    assert callable(make)
    model = ByFunction()
    wanted = model(X)
    made = make(model)
    assert torch.equal(made(X), wanted)
    again = copy.deepcopy(made)
    assert not bool(_zeroed(made).any())
    assert torch.equal(again(X), wanted)
    assert torch.equal(model(X), wanted)


def test_a_users_own_object_is_left_as_it_is() -> None:
    model = ByFunction()
    before = dict(vars(model))
    copied(model)
    assert vars(model) == before


def test_every_model_of_a_factory_runs_its_own_layers() -> None:
    name = f"{__name__}:make_by_function"
    for _ in range(3):  # the second and third are copies of what the first call returned
        assert not bool(_zeroed(build_model(name)).any())


def test_what_dynamic_quantization_makes_of_it_computes_with_codes() -> None:
    model = build_model(f"{__name__}:make_by_function")
    made = quantize_dynamic(model, {nn.Linear})
    ran = []
    for module in made.modules():
        if "dynamic" in type(module).__module__:
            module.register_forward_hook(lambda module, *_: ran.append(module))
    made(X)
    assert len(ran) == 2


def test_a_weight_that_is_computed_can_be_copied() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2)).eval()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    wanted = model(X)
    assert torch.equal(copied(model)(X), wanted)
    assert torch.equal(copy.deepcopy(made_copyable(model))(X), wanted)
    model.train()
    model(X).sum().backward()  # it is trained as before
    assert model[0].weight_g.grad is not None
