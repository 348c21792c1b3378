"""Small networks, each with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from qreg.check.contract import Labelled, observe_contract, observe_tracing
from qreg.check.records import ObservedModel
from qreg.models.stubs import with_stubs

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)
        self.run_as = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run_as(self, x)


def _pooled(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return net.relu(net.conv(x)).mean((2, 3))


def _observed(
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor], **given: object
) -> ObservedModel:
    torch.manual_seed(0)
    batches = Labelled((IMAGES,), **given)  # type: ignore[arg-type]
    return observe_contract(with_stubs(Net(forward)).eval(), batches)


def test_a_fine_model() -> None:
    found = _observed(lambda net, x: net.fc(_pooled(net, x)))
    assert (found.outputs, found.alone, found.constant) == (3, "", False)
    assert (found.random, found.not_finite, found.repeated) == (None, None, ())
    assert found.neighbours < 1e-6


def test_a_layer_that_runs_twice() -> None:
    found = _observed(lambda net, x: net.fc(net.relu(_pooled(net, x))))
    assert found.repeated == (("relu", 2),)


def test_randomness_in_evaluation_mode() -> None:
    found = _observed(lambda net, x: net.fc(functional.dropout(_pooled(net, x))))
    assert found.random == "fc"


def test_nan_is_put_down_to_its_layer() -> None:
    found = _observed(lambda net, x: net.fc(net.relu(net.conv(x * float("inf"))).mean((2, 3))))
    assert found.not_finite == "conv"


def test_a_batch_of_one() -> None:
    found = _observed(lambda net, x: net.fc(_pooled(net, x)).squeeze())
    assert "(3,)" in found.alone
    fails = _observed(lambda net, x: net.fc(_pooled(net, x[1:])).repeat(2, 1)[: len(x)])
    assert fails.alone


def test_an_output_whose_samples_come_second() -> None:
    """As a recurrent network's, (time, N, classes)."""
    found = _observed(lambda net, x: net.fc(_pooled(net, x)).expand(26, -1, -1))
    assert (found.shape, found.samples) == ((26, len(IMAGES), 3), len(IMAGES))
    assert _observed(lambda net, x: net.fc(_pooled(net, x))).shape == ()


def test_an_output_that_depends_on_the_batch() -> None:
    found = _observed(lambda net, x: net.fc(_pooled(net, x) - _pooled(net, x).mean(0)))
    assert found.neighbours > 0.01


def test_an_output_that_does_not_depend_on_the_input() -> None:
    found = _observed(lambda net, x: net.fc(_pooled(net, x) * 0))
    assert found.constant


def test_accuracy_compared_with_chance() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    found = _observed(lambda net, x: net.fc(_pooled(net, x)), labels=labels, classes=3)
    assert (found.total, found.chance, found.classes) == (6, 3, 3)
    assert 0 <= found.correct <= 6
    # of a dataset that does not say how many classes it has
    unsaid = _observed(lambda net, x: net.fc(_pooled(net, x)), labels=labels)
    assert (unsaid.total, unsaid.chance, unsaid.classes) == (6, 3, 0)


def test_a_model_that_is_quantized_already() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    made = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    assert observe_contract(with_stubs(made).eval(), Labelled((IMAGES,))).quantized == ("1",)


def test_several_named_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.fc = nn.Embedding(5, 4), nn.Linear(4, 2)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
            assert mask is not None
            return self.fc((self.words(ids) * mask.unsqueeze(-1)).mean(1))

    batch = {"ids": torch.ones(4, 3, dtype=torch.int64), "mask": torch.ones(4, 3)}
    assert observe_contract(with_stubs(Two()).eval(), Labelled((batch,))).outputs == 2


@pytest.mark.parametrize(
    ("forward", "fx", "export"),
    [
        (lambda net, x: net.fc(_pooled(net, x)), False, False),
        (lambda net, x: net.fc(torch.stack([*_pooled(net, x).chunk(2, 1)]).sum(0)), True, True),
        (lambda net, x: net.fc(torch.cat([*_pooled(net, x).chunk(2, 1)], 1)), True, False),
    ],
)
def test_tracing(
    forward: Callable[[nn.Module, torch.Tensor], torch.Tensor], fx: bool, export: bool
) -> None:
    found = observe_tracing(with_stubs(Net(forward)).eval(), IMAGES[:2])
    assert (bool(found["fx"]), bool(found["export"])) == (fx, export)
    if fx:
        assert "test_contract.py" in found["fx"]
