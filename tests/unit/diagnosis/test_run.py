"""What PyTorch really raises, and what is read from it: no exception here is made by hand."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from qreg.diagnosis.run import _is_authors, diagnosis_of, raised_failure
from qreg.models.stubs import with_stubs
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine
from qreg.records.case import Case

HERE = Path(__file__).name
Operation = Callable[[torch.Tensor, torch.Tensor], Any]


class Block(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(3, 4, 3, padding=1)
        self.operation = operation

    def forward(self, x: torch.Tensor) -> Any:
        one, two = self.one(x), self.two(x)
        return self.operation(one, two)


class Net(nn.Module):
    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.block = Block(operation)

    def forward(self, x: torch.Tensor) -> Any:
        return self.block(x)


def _raised_by(method: str, model: nn.Module) -> Exception:
    images = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    context = Context(default_engine(), lambda: iter((images,)), images)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind, that is the point
        get_method(method).quantize(with_stubs(model).eval(), context)(images)
    return caught.value


@pytest.mark.parametrize(
    ("operation", "operator", "advice"),
    [
        (lambda x, y: x + y, "+", "FloatFunctional"),
        (lambda x, y: x * y, "*", "FloatFunctional"),
        (lambda x, y: functional.silu(x), "silu", "fx-static"),
        (lambda x, y: functional.layer_norm(x, x.shape[1:]), "layer_norm", "nn.LayerNorm"),
        (lambda x, y: torch.roll(x, 1, 2), "roll", "fx-static"),
        (lambda x, y: x + 3, "+", "add_scalar"),
        (lambda x, y: x + torch.ones(1), "+", "QuantStub"),
        (lambda x, y: torch.cat([torch.ones_like(x.dequantize()), x], 1), "cat", "QuantStub"),
    ],
)
def test_eager_static(operation: Operation, operator: str, advice: str) -> None:
    found = diagnosis_of(_raised_by("static", Net(operation)))
    assert found.where.startswith(f"block ({HERE}:") or f"{HERE}:" in found.where
    assert found.where.startswith("block (")
    assert (found.operator, advice in found.advice) == (operator, True)


def test_a_module_of_pytorch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU())
    found = diagnosis_of(_raised_by("static", model))
    assert (found.where, found.operator) == ("1", "SiLU")
    assert "SiLU has no kernel" in found.reason


def test_prelu_has_no_right_kernel() -> None:
    found = diagnosis_of(_raised_by("static", nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU())))
    assert (found.where, found.operator) == ("1", "PReLU")


def test_the_line_of_a_graph() -> None:
    """torch.fx cuts its own lines off the traceback."""
    found = diagnosis_of(_raised_by("fx-static", Net(lambda x, y: x.view(2, -1, 1))))
    assert (found.operator, "reshape" in found.advice) == ("view", True)
    assert found.where.startswith("block")


class Plain(nn.Module):
    """A BatchNorm without weight and bias where it cannot be fused, as keyword spotters have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)
        self.norm = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: torch.Tensor) -> Any:
        y = self.pool(functional.relu(self.conv(x)))
        return self.norm(y)


@pytest.mark.parametrize("method", ["static", "static-auto", "fx-static"])
def test_a_batch_norm_without_weights(method: str) -> None:
    """Eager's kernel says so; FX fails before it has one, at a `None` that names no layer."""
    model = get_method(method).skeleton(with_stubs(Plain()).eval())
    images = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    context = Context(default_engine(), lambda: iter((images,)), images)
    with pytest.raises((RuntimeError, AttributeError)) as caught:
        get_method(method).quantize(model, context)(images)
    found = diagnosis_of(caught.value)
    assert (found.where.partition(" ")[0], found.operator) == ("norm", "batch_norm")
    assert "affine=False" in found.reason
    assert "affine=True" in found.remedy


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x if x.sum() > 0 else -x


def test_what_torch_fx_cannot_trace() -> None:
    with pytest.raises(fx.proxy.TraceError) as caught:
        fx.symbolic_trace(nn.Sequential(Branching()))
    found = diagnosis_of(caught.value)
    assert (found.where.startswith("0 ("), found.operator) == (True, "if")
    assert "pt2e-static" in found.advice


def test_what_torch_export_cannot_follow() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its class differs with PyTorch's
        torch.export.export(with_stubs(Branching()), (torch.randn(2, 3, 8, 8),))
    found = diagnosis_of(caught.value)
    assert f"{HERE}:" in found.where
    assert "depends on the input's values" in found.reason


def test_a_float_tensor_for_a_quantized_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quant = torch.ao.quantization.QuantStub()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    found = diagnosis_of(_raised_by("static", Twice()))
    assert found.where.startswith("conv (")
    assert "given a float tensor" in found.reason
    assert "QuantStub" in found.advice


def test_a_failure_keeps_its_traceback_apart() -> None:
    error = _raised_by("static", Net(lambda x, y: x + y))
    failure = raised_failure(Case("d", "m", "static", "x86"), error)
    assert "Traceback" in failure.details
    assert "\n" not in failure.text
    assert failure.text.startswith("block (")


def test_what_no_model_raised() -> None:
    try:
        raise ValueError("neither here\nnor there")
    except ValueError as error:
        found = diagnosis_of(error)
    assert (found.where, found.reason) == ("", "ValueError: neither here")


def test_code_of_pytorchs_requirements_is_no_authors() -> None:
    import typing_extensions

    @typing_extensions.deprecated("old")
    def wrapped() -> None:
        raise ValueError("inside")

    frames = []
    try:
        with pytest.warns(DeprecationWarning, match="old"):
            wrapped()
    except ValueError as error:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == __file__
    assert [file for file in frames if _is_authors(file)] == [__file__] * (len(frames) - 1)


def test_an_assert_is_quoted_as_one() -> None:
    class Asserting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 3, "three channels"
            return x

    try:
        fx.symbolic_trace(Asserting())
    except fx.proxy.TraceError as error:
        found = diagnosis_of(error)
    assert "an assert" in found.reason
    assert "three channels" in found.reason
