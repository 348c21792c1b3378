"""Eager QAT of networks that are given ids and masks, and of transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from qreg.data import inputs
from qreg.metrics.parameters import weights
from qreg.models.stubs import integer_inputs, with_stubs
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.rewriting import rewritten

pytestmark = pytest.mark.filterwarnings("ignore")


class Words(nn.Module):
    """The mean of what is made of the words that a mask leaves."""

    def __init__(self, *, recurrent: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.body: Any = nn.LSTM(8, 8, batch_first=True) if recurrent else nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.body(self.embedding(ids))
        x = x[0] if isinstance(self.body, nn.LSTM) else torch.relu(x)
        x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(x)  # type: ignore[no-any-return]


class Weighted(nn.Module):
    """The mask comes first, and floats after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(rows))
        return self.last(x * (~mask).float()[:, None])  # type: ignore[no-any-return]


def _words() -> dict[str, torch.Tensor]:
    ids = torch.randint(0, 10, (6, 5), generator=torch.Generator().manual_seed(0))
    return {"ids": ids, "mask": torch.arange(5) < torch.arange(1, 7)[:, None]}


def _up() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1), nn.Conv2d(2, 2, 1)
    )


CASES: dict[str, tuple[Callable[[], nn.Module], Any, tuple[str, ...]]] = {
    "ids, linear": (lambda: Words(recurrent=False), _words(), ("model.body", "model.head")),
    "ids, LSTM": (lambda: Words(recurrent=True), _words(), ("model.head",)),
    "mask before floats": (
        Weighted,
        (torch.arange(6) % 2 == 0, torch.randn(6, 4, generator=torch.Generator().manual_seed(0))),
        ("model.last",),
    ),
    "transposed": (_up, torch.ones(2, 1, 8, 8), ("model.0", "model.2", "model.3")),
}


@pytest.mark.parametrize("case", CASES)
def test_trained_converted_and_run(case: str) -> None:
    make, given, quantized = CASES[case]
    torch.manual_seed(0)
    model, sample = with_stubs(make().eval()), inputs.as_inputs(given)
    before = inputs.call(model, sample).detach()
    method, engine = get_method("qat"), default_engine()
    with use_engine(engine):
        prepared = method.skeleton(model)
        prepared.apply(torch.ao.quantization.enable_observer)
        inputs.call(prepared.train(), sample).square().mean().backward()
        assert all(p.grad is not None for p in prepared.parameters())
        made = method.quantize(prepared.eval(), Context(engine, lambda: iter((sample,)), sample))
        with torch.no_grad():
            after = inputs.call(made, sample)
    assert torch.allclose(after, before, atol=0.2), "as close as int8 is"
    for name in quantized:
        (weight, *_) = weights(made.get_submodule(name)).values()
        assert weight.dtype is torch.qint8, name


def test_which_inputs_are_integers_is_seen_when_it_runs() -> None:
    model = with_stubs(Words(recurrent=False).eval())
    assert integer_inputs(model) == frozenset()
    inputs.call(model, _words())
    assert integer_inputs(model) == {0, 1}
    targets = {str(node.target) for node in rewritten(model).graph.nodes}
    assert not targets & {"quant", "quant_mask"}, "a tracer sees no stubs for ids"
    other = with_stubs(Weighted().eval())
    inputs.call(other, CASES["mask before floats"][1])
    assert integer_inputs(other) == {0}
    assert integer_inputs(nn.Linear(1, 1)) == frozenset()
