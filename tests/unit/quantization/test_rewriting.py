"""Networks as published, rewritten for eager static quantization."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao
from torch.ao.nn import quantized as nnq
from torch.ao.nn.intrinsic import quantized as nniq
from torch.ao.nn.quantized import FloatFunctional
from torch.nn import functional

from qreg.diagnosis.run import diagnosis_of
from qreg.metrics.layers import layer_numerics
from qreg.models import build_model
from qreg.models.stubs import with_stubs
from qreg.quantization import Context, get_method
from qreg.quantization.eager import fuse
from qreg.quantization.engines import available_engines, use_engine
from qreg.quantization.rewriting import ready_for_training, rewritten

ENGINE = available_engines()[0]
IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
# 8 bits give over 30 dB a layer, and these networks have a few layers
LEAST_DB = 20.0


class Block(nn.Module):
    """A residual block as it is published: functional ReLU, `+=`, a shortcut of zeros."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        more = width - channels
        self.shortcut: Any = lambda x: functional.pad(
            x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more), "constant", 0
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu(out)


def _pools_by_size(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(x, x.size(3))


def _are_traced() -> bool:
    try:
        torch.fx.symbolic_trace(_pools_by_size)
    except TypeError:
        return False
    return True


#: torch.fx of PyTorch 2.6 passes a size of the input to no function of C++
SIZES_ARE_TRACED = _are_traced()


class Published(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(3, 8, stride=1), Block(8, 16, stride=2)
        self.linear = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x))
        x = functional.avg_pool2d(x, x.size(3) if SIZES_ARE_TRACED else 8)
        return self.linear(x.view(x.size(0), -1))


class Mixed(nn.Module):
    """Everything between sums that has a quantized kernel, and some that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.norm = nn.GroupNorm(2, 8)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 0.7))
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, two = self.relu(self.one(x)), self.relu(self.two(x))
        both = torch.cat([one * 2 + 1, functional.silu(two)], dim=1)
        both = self.norm(both) * self.scale
        gate = both.mean((2, 3), keepdim=True).sigmoid()
        pooled = (both * gate).mean((2, 3))
        return self.head(torch.softmax(pooled, 1) * pooled.shape[1])


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(10, 6), nn.Linear(6, 5)

    def forward(self, ids: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        return self.linear(self.embedding(ids + 1).mean(1) + offset)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x


@torch.no_grad()
def _ready(net: nn.Module) -> nn.Module:
    """Between stubs, in evaluation mode, its BatchNorm having seen data."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    if not isinstance(net, (Named, Masked)):
        net.train()(IMAGES)
    return with_stubs(net).eval()


@torch.no_grad()
def _quantized(method: str, model: nn.Module, batches: list[Any]) -> nn.Module:
    chosen = get_method(method)
    made = chosen.skeleton(copy.deepcopy(model)).eval()
    with use_engine(ENGINE):
        return chosen.quantize(made, Context(ENGINE, lambda: iter(batches))).eval()


def _db(expected: torch.Tensor, found: torch.Tensor) -> float:
    noise = (expected - found).pow(2).sum().clamp_min(1e-30)
    return float(10 * torch.log10(expected.pow(2).sum() / noise))


@pytest.mark.parametrize("kind", [Published, Mixed])
@torch.no_grad()
def test_what_blocks_eager_static_is_quantized(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = _ready(kind())
    expected = model(IMAGES)
    assert torch.equal(rewritten(copy.deepcopy(model))(IMAGES), expected)
    with pytest.raises((NotImplementedError, RuntimeError)), use_engine(ENGINE):
        _quantized("static", model, [IMAGES])(IMAGES)
    made = _quantized("static-auto", model, [IMAGES])
    with use_engine(ENGINE):
        assert _db(expected, made(IMAGES)) > LEAST_DB
        assert len(made(IMAGES[:1])) == 1


@torch.no_grad()
def test_a_published_block_is_fused_and_named_as_its_author_did() -> None:
    torch.manual_seed(0)
    model = _ready(Published())
    made = _quantized("static-auto", model, [IMAGES])
    kinds = {name: type(module) for name, module in made.named_modules()}
    assert kinds["model.first.conv1"] is nniq.ConvReLU2d
    assert kinds["model.first.conv2"] is nnq.Conv2d
    assert kinds["model.second.add"] is nnq.QFunctional
    assert kinds["model.linear"] is nnq.Linear
    source = rewritten(copy.deepcopy(model))
    with use_engine(ENGINE):
        layers = layer_numerics(made, made, source, IMAGES)
    # the float network is fused likewise, or a layer's output would be compared with another's
    assert min(layer.sqnr_db for layer in layers if layer.sqnr_db is not None) > LEAST_DB


@pytest.mark.parametrize("name", ["simple_cnn", "resnet20"])
@torch.no_grad()
def test_numbers_are_those_of_eager_static_where_it_works(name: str) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = build_model(name)
    one, other = (_quantized(method, model, [images]) for method in ("static", "static-auto"))
    with use_engine(ENGINE):
        assert torch.equal(one(images), other(images))


@torch.no_grad()
def test_named_inputs_and_integers() -> None:
    torch.manual_seed(0)
    model = _ready(Named())
    given = {"ids": torch.arange(8).view(2, 4), "offset": torch.randn(2, 6)}
    made = _quantized("static-auto", model, [given])
    with use_engine(ENGINE):
        assert _db(model(**given), made(**given)) > LEAST_DB


class Masked(nn.Module):
    """The mean of looked-up rows where ids are, in plain arithmetic of floats with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(8, 6, padding_idx=0), nn.Linear(6, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = (ids > 0).unsqueeze(-1)
        return self.fc((self.table(ids) * mask).sum(1) / mask.sum(1).clamp(min=1))


@torch.no_grad()
def test_no_observer_is_left_where_nothing_passes() -> None:
    torch.manual_seed(0)
    made = _quantized("static-auto", _ready(Masked()), [torch.arange(8).view(2, 4)])
    kinds = (ao.QuantStub, nnq.Quantize, nnq.QFunctional, FloatFunctional)
    found = [name for name, one in made.named_modules() if isinstance(one, kinds)]
    assert len(found) == 1  # of the linear layer's input
    assert float(made.get_submodule(found[0]).scale) != 1.0


@torch.no_grad()
def test_a_saved_state_is_loaded_again() -> None:
    model = _ready(Published())
    one, other = (_quantized("static-auto", model, [IMAGES * scale]) for scale in (1, 3))
    with use_engine(ENGINE):
        assert not torch.equal(one(IMAGES), other(IMAGES))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(IMAGES), other(IMAGES))


class Functional(nn.Module):
    """What eager QAT converts as it is: existing checkpoints have these names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.conv(x))
        return self.fc(torch.cat([x, x], 1).mean((2, 3)))


@pytest.mark.parametrize("make", [Functional, partial(build_model, "resnet20")])
def test_training_leaves_alone_what_eager_mode_converts(make: Callable[[], nn.Module]) -> None:
    model = with_stubs(make()).eval()
    expected = fuse(copy.deepcopy(model)).state_dict().keys()
    ready = ready_for_training(model)
    assert type(ready) is type(model)
    assert ready.state_dict().keys() == expected


@torch.no_grad()
def test_training_gives_each_plain_sum_a_range() -> None:
    torch.manual_seed(0)
    model = _ready(Mixed())
    expected = model(IMAGES)
    ready = ready_for_training(model)
    assert (ready(IMAGES) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert not isinstance(ready, torch.fx.GraphModule)  # torch.export would read old notes
    names = {name for name, module in ready.named_modules() if type(module) is FloatFunctional}
    assert names == {"model.add", "model.cat", *(f"model.mul{n}" for n in ("", "_1", "_2", "_3"))}


def test_layers_that_never_run_keep_their_weights() -> None:
    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.aux = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    model = with_stubs(Aux()).eval()
    expected = set(model.state_dict())
    assert set(rewritten(model).state_dict()) == expected


def test_a_network_that_cannot_be_traced_is_diagnosed() -> None:
    with pytest.raises(torch.fx.proxy.TraceError) as caught:
        rewritten(with_stubs(Branching()))
    found = diagnosis_of(caught.value)
    assert found.operator == "if"
    assert "test_rewriting.py" in found.where
    assert "pt2e-static" in found.advice
