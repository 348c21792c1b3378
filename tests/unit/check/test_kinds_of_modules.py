"""Modules as people write them, each of a kind that once stopped a method or was misread."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.nn.quantized import DeQuantize
from torch.nn import functional
from torch.nn.utils import parametrizations

from qreg.check.attempt import attempt
from qreg.check.contract import Labelled, observe_contract, observe_tracing
from qreg.check.records import Attempt, AttemptOutcome, ObservedModel
from qreg.check.rule import contract_remarks
from qreg.errors import ContractError
from qreg.models.contract import refuse_script, takes
from qreg.models.stubs import with_stubs
from qreg.quantization.engines import default_engine

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Forward = Callable[[Any, torch.Tensor], Any]
WORKS, BLOCKED = AttemptOutcome.WORKS, AttemptOutcome.BLOCKED


class Net(nn.Module):
    """A convolution and a head, with one thing of its own in between."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(4))
        self.as_written = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.as_written(self, x)


def _pooled(net: Any, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.relu(net.conv(x)).mean((2, 3))
    return found


def _tried(method: str, make: Callable[[], nn.Module], batch: Any = IMAGES) -> Attempt:
    def build(of: Any) -> nn.Module:
        torch.manual_seed(0)
        made: nn.Module = of.skeleton(takes(with_stubs(make()).eval(), batch))
        return made

    return attempt(method, build, default_engine(), (batch,))


def _blocked(method: str, make: Callable[[], nn.Module]) -> Attempt:
    found = _tried(method, make)
    assert found.outcome is BLOCKED
    assert "--traceback" not in found.remedy
    return found


def _observed(forward: Forward) -> ObservedModel:
    return observe_contract(with_stubs(Net(forward)).eval(), Labelled((IMAGES,)))


def _counted(net: Any, x: torch.Tensor) -> Any:
    net.seen += 1
    return net.head(_pooled(net, x))


def _averaged(net: Any, x: torch.Tensor) -> Any:
    pooled = _pooled(net, x)
    net.seen = 0.9 * net.seen + 0.1 * pooled.mean(0)
    return net.head(pooled - net.seen)


def test_a_buffer_that_evaluation_changes_is_named() -> None:
    (note,) = contract_remarks(_observed(_counted))
    assert (note.level.value, note.where) == ("note", "seen")
    (broken,) = contract_remarks(_observed(_averaged))
    assert broken.level.value == "broken"
    assert broken.text.endswith("each run changes seen")
    assert "self.training" in broken.advice


def test_a_tracer_leaves_no_proxy_in_a_buffer() -> None:
    net = with_stubs(Net(_averaged)).eval()
    assert observe_tracing(net, IMAGES[:2])["export"] == ""
    assert type(net.get_buffer("model.seen")) is torch.Tensor
    found = _tried("static", lambda: Net(_averaged))
    assert "torch.fx" not in found.reason


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrized_layer_is_named_with_its_way_out(norm: Callable[..., nn.Module]) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), norm(nn.Linear(144, 3)))

    found = _blocked("dynamic", make)
    assert (found.where, found.operator) == ("3", "parametrization")
    assert "remove_parametrizations" in found.remedy
    assert _tried("static", make).outcome is WORKS


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(192, 9), nn.Linear(9, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(_attend(x.flatten(1), self.qkv.weight, self.qkv.bias))


def _attend(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    own = bias.clone()
    return functional.linear(x, weight, own)


def test_a_bias_that_the_networks_own_code_reads() -> None:
    found = _blocked("dynamic", Attending)
    assert found.reason.startswith("the code reads the bias of qkv as a tensor")
    assert found.operator == "clone"
    assert "test_kinds_of_modules.py" in found.where
    assert "torchao-int8-dynamic" in found.instead


class Spectral(nn.Module):
    """Complex numbers, and a complex layer, between float ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(6, 3)
        self.mix = nn.Linear(6, 6, dtype=torch.cfloat)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.conv(x).relu().mean((1, 2))
        return self.head(self.mix(torch.fft.fft(x)).abs())


@pytest.mark.filterwarnings("ignore:.*omplex")  # PyTorch's, of what it makes real
def test_complex_numbers_are_computed_in_float_by_static_auto() -> None:
    assert _tried("static-auto", Spectral).outcome is WORKS
    found = _blocked("dynamic", Spectral)
    assert found.where.startswith("mix")
    assert "complex numbers have no quantized kernel" in found.reason
    found = _blocked("static", lambda: Net(lambda net, x: torch.fft.fft(net.conv(x))))
    assert "fft has no kernel for quantized tensors" in found.reason


def test_layers_of_another_float_type() -> None:
    def make() -> nn.Module:
        return Net(lambda net, x: net.head(_pooled(net, x.double()))).double()

    found = _blocked("dynamic", make)
    assert found.where.startswith("head")
    assert "float64" in found.reason
    assert "model.float()" in found.remedy


@dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


Pair = namedtuple("Pair", ["logits", "hidden"])


@pytest.mark.parametrize("kind", [Output, lambda y: Pair(y, y), lambda y: {"a": [y], "b": None}])
def test_outputs_of_other_kinds_are_dequantized(kind: Callable[[Any], Any]) -> None:
    model: Any = with_stubs(Net(lambda net, x: kind(net.head(_pooled(net, x))))).eval()
    model.dequant = DeQuantize()
    left = model.leave(kind(torch.quantize_per_tensor(IMAGES, 0.1, 0, torch.qint8)))
    tensor = left["a"][0] if isinstance(left, dict) else left.logits
    assert not tensor.is_quantized
    assert isinstance(left, type(kind(IMAGES)))


class Owner(nn.Module):
    """A module whose child is called weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(192, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.weight(x.flatten(1))


def test_a_child_called_weight_is_no_weight() -> None:
    assert _tried("dynamic", Owner).outcome is WORKS


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(192, 4)
            self.body = torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4))  # type: ignore[no-untyped-call]

        def forward(self, x: torch.Tensor) -> Any:
            return self.body(self.head(x.flatten(1)))

    assert _tried("dynamic", Whole).outcome is WORKS
    assert observe_contract(with_stubs(Whole()).eval(), Labelled((IMAGES,))).outputs == 3
    with pytest.raises(ContractError, match="nets:net' is TorchScript"):
        refuse_script(Whole().body, name="nets:net")


class Keeping(nn.Module):
    """A hook keeps what the head then reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.kept: list[torch.Tensor] = []
        self.conv.register_forward_hook(lambda _, __, output: self.kept.append(output))

    def forward(self, x: torch.Tensor) -> Any:
        self.conv(x)
        return self.head(self.kept[-1].mean((2, 3)))


def test_a_graph_without_its_input_is_no_success() -> None:
    found = _tried("fx-static", Keeping)
    assert found.outcome is BLOCKED
    assert "does not depend on its input" in found.reason


def _written(net: Any, x: torch.Tensor) -> Any:
    x.mul_(2.0)
    return net.head(_pooled(net, x))


def test_a_model_that_writes_to_its_inputs_is_given_copies() -> None:
    model = takes(with_stubs(Net(_written)).eval(), IMAGES)
    before = IMAGES.clone()
    assert torch.equal(model(IMAGES), model(IMAGES))
    assert torch.equal(IMAGES, before)
    assert _tried("static-auto", lambda: Net(_written)).outcome is WORKS


def _item_written(net: Any, x: torch.Tensor) -> Any:
    x[:, 0] = 0.0
    return net.head(_pooled(net, x))


def test_what_torch_fx_cannot_trace_is_said() -> None:
    found = _blocked("fx-static", lambda: Net(_item_written))
    assert found.operator == "[]="
    assert "torch.where" in found.remedy
    found = _blocked("fx-static", lambda: Net(lambda net, x: net.head(_pooled(net, x)) / len(x)))
    assert (found.operator, found.remedy) == ("len", "write x.shape[0]")


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, *, ids: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
        found = self.embed(ids)
        if mask is not None:
            found = found * mask.unsqueeze(-1)
        return self.head(found.mean(1))


class Named(Optional):
    def forward(self, **given: torch.Tensor) -> Any:
        return super().forward(ids=given["ids"])


@pytest.mark.parametrize(
    ("kind", "method"), [(Optional, "fx-static"), (Optional, "static-auto"), (Named, "dynamic")]
)
def test_inputs_by_name_only(kind: Callable[[], nn.Module], method: str) -> None:
    ids = torch.arange(8).reshape(4, 2)
    assert _tried(method, kind, {"ids": ids}).outcome is WORKS


def test_a_model_of_no_layers_is_said_to_have_none() -> None:
    found = _blocked("dynamic", lambda: nn.AdaptiveAvgPool2d(1))
    assert found.reason == "no layer of this model is quantized"
    assert observe_contract(with_stubs(nn.ReLU()).eval(), Labelled((IMAGES,))).repeated == ()


def _as_the_weight(net: Any, x: torch.Tensor) -> torch.Tensor:
    like = net.head.weight
    grid = torch.ones((1, 4)).to(device=like.device, dtype=like.dtype)
    found: torch.Tensor = net.head(_pooled(net, x) + grid)
    return found


def test_a_weight_that_is_asked_for_its_dtype_is_a_method_then() -> None:
    for method in ("fx-static", "static-auto"):
        found = _blocked(method, lambda: Net(_as_the_weight))
        assert "as a tensor; in a quantized layer it is a method" in found.reason
        assert "from the input, not from a layer's weight" in found.advice


def test_a_number_beside_a_layer_stops_torchaos_quantizer() -> None:
    pytest.importorskip("torchao")
    found = _blocked("pt2e-static", lambda: Net(_pooled_plus))
    assert found.operator == "+"
    assert "a layer's output and a number" in found.reason
    assert "make the number a tensor" in found.advice


def _pooled_plus(net: Any, x: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = net.head((net.conv(x) + 1.0).mean((2, 3)))
    return found
