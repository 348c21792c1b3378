"""QAT's conversion and training path, observed and judged: clean, and with what breaks them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.checks.conversion import judge_qat
from qreg.faults import get_faults
from qreg.faults.fault import Target
from qreg.gate.qat import (
    is_prepared,
    observe_conversion,
    observe_training,
    range_differences,
)
from qreg.measure.options import Options
from qreg.measure.subject import Subject
from qreg.metrics.layers import layer_numerics
from qreg.quantization import get_method
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.qat import convert_eager_qat, qat_skeleton
from qreg.records.case import Case
from qreg.records.qat import QatObservation, TrainingSteps
from qreg.records.verdict import Check, Outcome
from qreg.records.weights import Weights, WeightsSource

CASE = Case("photos", "net", "qat", default_engine())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU()
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(6 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.relu(self.conv(self.quant(x))))
        return self.dequant(self.last(x.flatten(1)))


def images(count: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def prepared() -> nn.Module:
    """A fake-quantized network whose ranges were observed on some batches."""
    torch.manual_seed(0)
    model = qat_skeleton(Net(), weights="per_channel")
    model.apply(ao.enable_observer)
    model.train()
    for _ in range(3):
        model(images())
    model.apply(ao.disable_observer)
    return model.eval()


def observed(
    prepared: nn.Module, convert: Callable[[nn.Module], nn.Module] = convert_eager_qat
) -> QatObservation:
    with use_engine(CASE.engine), torch.no_grad():
        converted = convert(copy.deepcopy(prepared))
        weights = Weights(WeightsSource.CHECKPOINT, "0" * 64)
        subject = Subject(
            CASE, get_method("qat"), converted, copy.deepcopy(prepared), weights, (), ()
        )
        conversion = observe_conversion(subject, prepared, images())
        layers = layer_numerics(subject.run, converted, copy.deepcopy(prepared), images(4))
        ranges, sites = range_differences(prepared, layers)
        training = observe_training(prepared, images())
    assert isinstance(training, TrainingSteps)
    return QatObservation(replace(conversion, ranges=ranges, sites=sites), training)


def test_a_clean_network_trains_as_the_plain_one_and_converts(prepared: nn.Module) -> None:
    before = copy.deepcopy(prepared.state_dict())
    found = observed(prepared)
    assert list(judge_qat(found)) == []
    assert found.training is not None
    assert found.training.losses == found.training.expected
    assert found.training.updates_apart == found.training.ranges_apart == 0
    assert len(set(found.training.losses)) == 3  # the steps do something
    assert found.training.modules == 5
    assert found.conversion is not None
    assert found.conversion.sites == 5
    assert found.conversion.sqnr_db < 100  # other kernels
    after = prepared.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not prepared.training


@contextmanager
def injected(name: str) -> Iterator[None]:
    (fault,) = get_faults([name])
    with fault.inject(Target(CASE, Options())):
        yield


@pytest.mark.parametrize(
    ("fault", "checks", "says"),
    [
        ("fake-quant-passes-through", {Check.TRAINING, Check.CONVERSION}, "output"),
        ("gradient-outside-range", {Check.TRAINING}, "gradient outside the range"),
        ("gradient-zero", {Check.TRAINING}, "gradient inside the range"),
        ("gradient-x0.99", {Check.TRAINING}, "gradient inside the range"),
        ("moving-average-halved", {Check.TRAINING}, "the ranges observed in training"),
    ],
)
def test_a_broken_fake_quantizer_is_found_without_a_baseline(
    prepared: nn.Module, fault: str, checks: set[Check], says: str
) -> None:
    with injected(fault):
        findings = list(judge_qat(observed(prepared)))
    assert {one.check for one in findings} == checks
    assert all(one.outcome is Outcome.REGRESSED for one in findings)
    assert any(says in one.expected for one in findings)


def _dropped(model: nn.Module) -> nn.Module:
    converted = convert_eager_qat(model)
    layer: Any = converted.conv
    layer.scale, layer.zero_point = 1.0, 0
    return converted


def test_a_conversion_that_drops_a_range_is_found_with_its_site(prepared: nn.Module) -> None:
    findings = list(judge_qat(observed(prepared, _dropped)))
    assert {one.check for one in findings} == {Check.CONVERSION}
    assert findings[0].where == "conv: output"
    assert "scale 1, zero point 0" in findings[0].observed


def test_an_exception_in_training_mode_is_no_finding(prepared: nn.Module) -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = prepared

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("only for evaluation")
            found: torch.Tensor = self.inner(x)
            return found

    said = observe_training(Picky(), images())
    assert isinstance(said, str)
    assert "only for evaluation" in said


def test_a_kind_that_is_not_known_is_left_as_it_is_and_named(prepared: nn.Module) -> None:
    class Own(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.fake_quant_enabled = torch.ones(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = x.round()
            return found

    model: Any = copy.deepcopy(prepared)
    model.quant.activation_post_process = Own(nn.Identity())
    found = observe_training(model, images())
    assert isinstance(found, TrainingSteps)
    assert found.unknown == ("Own",)
    assert found.modules == 4
    assert list(judge_qat(QatObservation(None, found))) == []


def test_a_float_network_is_not_prepared(prepared: nn.Module) -> None:
    assert is_prepared(prepared)
    assert not is_prepared(Net())
    off = copy.deepcopy(prepared)
    off.apply(ao.disable_fake_quant)
    assert not is_prepared(off)
