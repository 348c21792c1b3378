from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional

from qreg.check.attempt import attempt, of_plain, plain
from qreg.check.records import Attempt, AttemptOutcome, RemarkLevel
from qreg.models.stubs import with_stubs
from qreg.quantization.engines import default_engine

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Joining(nn.Module):
    def __init__(self, join: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.idle = nn.Linear(4, 4)
        self.float_functional = FloatFunctional()
        self.join = join
        with torch.no_grad():
            self.two.weight.mul_(50)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.join(self, self.one(x), self.two(x)).flatten(1)


def _tried(method: str, join: Callable[..., torch.Tensor]) -> Attempt:
    return attempt(method, lambda _: with_stubs(Joining(join)).eval(), default_engine(), (IMAGES,))


def _texts(found: Attempt) -> dict[str, str]:
    return {remark.check: f"{remark.where} {remark.text}" for remark in found.remarks}


def _with_idle_run(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = net.idle((x + y).mean((2, 3)))
    return found


def test_a_method_that_works() -> None:
    found = _tried("dynamic", _with_idle_run)
    assert (found.outcome, found.reason) == (AttemptOutcome.WORKS, "")
    assert 0 < found.float_bytes < found.weight_bytes
    assert "one (432 bytes)" in _texts(found)["float layers"]


def test_a_method_that_is_blocked() -> None:
    found = _tried("static", lambda net, x, y: x + y)
    assert (found.outcome, found.operator) == (AttemptOutcome.BLOCKED, "+")
    assert "test_attempt.py:" in found.where
    assert "FloatFunctional" in found.advice
    assert "Traceback" in found.traceback


def test_a_method_that_this_machine_lacks() -> None:
    found = attempt("static", lambda _: nn.Identity(), "none", (IMAGES,))
    assert found.outcome is AttemptOutcome.UNAVAILABLE
    assert "none" in found.reason


def test_concatenation_by_the_first_tensors_scale() -> None:
    found = _tried("static", lambda net, x, y: torch.cat([x, y], 1))
    (scales,) = [remark for remark in found.remarks if remark.check == "scales"]
    assert scales.level is RemarkLevel.WARNING
    assert "test_attempt.py:" in scales.where


def test_a_sum_of_ranges_far_apart() -> None:
    found = _tried("static", lambda net, x, y: net.float_functional.add(x, y))
    (scales,) = [remark for remark in found.remarks if remark.check == "scales"]
    assert scales.level is RemarkLevel.NOTE


def test_an_observer_that_saw_nothing() -> None:
    found = _tried("static", lambda net, x, y: x)
    assert "idle" in _texts(found)["observers"]


@pytest.mark.parametrize("operation", ["mul_scalar", "add_scalar"])
def test_a_product_with_a_number_needs_no_observer(operation: str) -> None:
    found = _tried("static", lambda net, x, y: getattr(net.float_functional, operation)(x, 0.2))
    assert "idle" in _texts(found)["observers"]
    assert "float_functional" not in _texts(found)["observers"]


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_what_travels_is_the_same(method: str) -> None:
    found = _tried(method, lambda net, x, y: x + y)
    assert of_plain(plain(found)) == found


class Own(nn.Module):
    """A layer of one's own, whose weight is a parameter of any name."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) @ self.W


class Held(nn.Module):
    """Layers that the model calls past PyTorch's registry, which conversion does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 4), nn.Linear(4, 4)]
        for number, layer in enumerate(self.layers):
            self.add_module(f"layer{number}", layer)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mean((2, 3))
        for layer in self.layers:
            x = layer(x)
        found: torch.Tensor = self.head(x)
        return found


class TwoNames(nn.Module):
    """One layer, registered twice, as temporal blocks register theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 4)
        self.net = nn.Sequential(self.one, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(x.mean((2, 3)))
        return found


def _tried_on(make: Callable[[], nn.Module], method: str) -> Attempt:
    return attempt(method, lambda _: with_stubs(make()).eval(), default_engine(), (IMAGES,))


def test_a_method_that_quantizes_nothing_is_blocked_as_the_gate_would_fail_it() -> None:
    found = _tried_on(Own, "dynamic")
    assert found.outcome is AttemptOutcome.BLOCKED
    assert "1 Own" in found.reason
    assert "nn.Linear" in found.advice
    convolutions = _tried("dynamic", lambda net, x, y: x + y)
    assert convolutions.outcome is AttemptOutcome.BLOCKED
    assert "2 Conv2d" in convolutions.reason
    assert "static-auto" in convolutions.advice


def test_layers_that_are_quantized_and_never_called_are_named() -> None:
    found = _tried_on(Held, "dynamic")
    assert found.outcome is AttemptOutcome.WORKS
    assert "layer0, layer1" in _texts(found)["bypassed"]


def test_a_layer_of_two_names_is_one() -> None:
    found = _tried_on(TwoNames, "dynamic")
    assert "bypassed" not in _texts(found)
    assert found.float_bytes == 0
