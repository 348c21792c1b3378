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


def test_a_method_that_works() -> None:
    found = _tried("dynamic", lambda net, x, y: x + y)
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


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_what_travels_is_the_same(method: str) -> None:
    found = _tried(method, lambda net, x, y: x + y)
    assert of_plain(plain(found)) == found
