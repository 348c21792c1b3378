"""Recovery of networks with one layer that int8 ruins."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from qreg.data import DATASETS
from qreg.errors import ContractError
from qreg.measure.options import Options
from qreg.models import MODELS
from qreg.quantization.engines import default_engine
from qreg.records.budget import BudgetOutcome
from qreg.records.case import Case
from qreg.records.method import Form
from qreg.sensitivity.keeping import keepable_layers, quantized_sites, readers
from qreg.sensitivity.measuring import prepared
from qreg.sensitivity.records import Recovery, SitePart
from qreg.sensitivity.recovery import recover
from qreg.sensitivity.report import other_form_line, recovery_lines
from qreg.sensitivity.run import Extent, measure_sensitivity

_LAYERS = ("0", "2", "4", "6")


def _net(damaged: str = "") -> nn.Module:
    """Four layers; one channel of one of them is so large that int8 has no codes for the others.

    The next layer takes it back, so that the float network is the same function.
    """
    torch.manual_seed(0)
    sizes = (16, 32, 32, 32, 5)
    layers: list[nn.Module] = []
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(wide, narrow)] + [nn.ReLU()] * (number < 3)
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3)
        if damaged:
            layer, after = net[int(damaged)], net[int(damaged) + 2]
            layer.weight[0] *= 2000
            layer.bias[0] *= 2000
            after.weight[:, 0] /= 2000
    return net.eval()


@contextmanager
def _named(damaged: str, count: int = 1200) -> Iterator[None]:
    """The network as model "damaged", and inputs with its own predictions as labels."""
    torch.manual_seed(1)
    inputs = torch.randn(count, 16)
    with torch.no_grad():
        labels = _net()(inputs).argmax(1)
    data = TensorDataset(inputs, labels)
    with (
        MODELS.meaning({"damaged": partial(_net, damaged)}),
        DATASETS.meaning({"own": {"train": data, "test": data}}),
    ):
        yield


def _case(method: str) -> Case:
    return Case("own", "damaged", method, default_engine())


def _recovered(damaged: str, method: str, max_drop: float) -> Recovery:
    with _named(damaged):
        return recover(_case(method), Options(calibration=64), max_drop)


@pytest.mark.parametrize(
    "method", ["static-per-tensor", pytest.param("fx-static", marks=pytest.mark.slow)]
)
def test_few_layers_recover_the_score_on_samples_that_did_not_choose(method: str) -> None:
    found = _recovered("2", method, 4.0)
    assert found.before.outcome is BudgetOutcome.BROKEN
    assert found.found
    # the damaged layer and those that its activations come from and go to
    assert set(found.keep) & {"2", "4"}
    assert "6" not in found.keep
    assert found.verified.outcome is BudgetOutcome.KEPT
    assert found.verified.total == found.chosen.total == 600
    assert found.method == f"{method}-keep:{'+'.join(found.keep)}"
    names = [point.name for point in found.front]
    assert names[0] == "everything"
    assert names[-1] == "nothing"
    sizes = {point.name: point.bytes for point in found.front}
    assert sizes["nothing"] < sizes["chosen"]
    assert f"layers = {found.keep!r}" in found.code
    assert found.other is not None
    assert found.other.method == f"{method}-keep-bfloat16:{'+'.join(found.keep)}"
    (point,) = (one for one in found.front if one.name == "chosen, in bfloat16")
    assert (point.drop, point.keep) == (found.other.verified.drop, found.keep)
    assert point.ms is not None
    assert point.bytes < sizes["chosen"]
    assert found.other.method in other_form_line(found)


def test_layers_are_kept_at_16_bits_where_that_is_asked_for() -> None:
    with _named("2"):
        found = recover(
            _case("static-per-tensor"), Options(calibration=64), 4.0, keep_as=Form.FLOAT16
        )
    assert found.form is Form.FLOAT16
    assert found.method == f"static-per-tensor-keep-float16:{'+'.join(found.keep)}"
    assert found.other is not None
    assert found.other.form is Form.FLOAT32
    assert found.code.endswith("dtype = torch.float16\n")
    assert "keep_at_16_bits(quantized, layers, dtype)" in found.calls
    assert "layers in float16 for a drop" in next(recovery_lines(found))


def test_an_exported_graph_keeps_no_layers_at_16_bits() -> None:
    with _named("2"), pytest.raises(ContractError, match="exported graph"):
        recover(_case("pt2e-static"), Options(calibration=64), 4.0, keep_as=Form.BFLOAT16)


def test_where_nothing_is_lost_nothing_is_kept() -> None:
    found = _recovered("", "static", 8.0)
    assert found.found
    assert found.keep == ()
    assert found.method == "static"
    assert found.code == ""


class _Hidden(nn.Module):
    """A network that no tracer understands: its activations are quantized whatever is left."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _net("2")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x if torch.any(x > -1e9) else -x)


@pytest.mark.slow
def test_nothing_within_the_budget_is_said_with_the_nearest() -> None:
    with _named("2"), MODELS.meaning({"damaged": _Hidden}):
        found = recover(_case("static-per-tensor"), Options(calibration=64), 1.0)
    assert not found.found
    assert len(found.keep) == found.layers == 4
    assert found.verified.outcome is BudgetOutcome.BROKEN
    first, *more = recovery_lines(found)
    assert "nothing found within a drop of at most 1.00 points" in first
    assert "the nearest leaves 4 of 4 layers in float" in more[0]


def test_the_layers_that_can_be_left_in_float_have_kernels() -> None:
    with _named("2"):
        made = prepared(_case("static-per-tensor"), Options(calibration=64))
    assert keepable_layers(made.simulation) == tuple(f"model.{name}" for name in _LAYERS)


def test_a_method_that_can_leave_nothing_is_refused() -> None:
    with _named(""), pytest.raises(ContractError, match="can leave no layer in float"):
        recover(_case("fp32"), Options(), 0.5)


def test_an_activation_is_float_where_writer_and_readers_are() -> None:
    with _named(""):
        found = prepared(_case("static"), Options(calibration=64)).simulation
    read = readers(found)

    def off(*keep: str) -> set[str]:
        on = quantized_sites(found, read, [f"model.{name}" for name in keep])
        return {str(one.site) for n, one in enumerate(found.switches) if n not in on}

    assert off() == set()
    assert off("2") == {"model.2 weight"}
    assert off("0") == {"quant output", "model.0 weight"}
    assert off("2", "4") == {"model.2 weight", "model.2 output", "model.4 weight"}
    assert off("6") == {"model.6 weight", "model.6 output"}
    assert off(*_LAYERS) == {str(one.site) for one in found.switches}


@pytest.mark.parametrize("damaged", ["2", *(pytest.param(n, marks=pytest.mark.slow) for n in "04")])
def test_the_damaged_layer_ranks_first(damaged: str) -> None:
    with _named(damaged):
        found = measure_sensitivity(
            _case("static-per-tensor"), Options(calibration=64), Extent(everything=True)
        )
    first = found.effects[0]
    assert first.site.layer == damaged
    assert first.significant
    assert not first.tied
    assert found.agreement.same is not None
    assert found.agreement.same > 0.95 * found.agreement.total
    assert found.effects[-1].only is not None


def test_a_time_limit_says_what_was_not_measured() -> None:
    with _named("2"):
        found = measure_sensitivity(
            _case("static"), Options(calibration=64), Extent(everything=True, seconds=1e-6)
        )
    assert "sites were not screened" in found.stopped
    assert "of 1200 samples were measured" in found.stopped
    assert found.measured == 100
    assert sum(effect.rank == 0 for effect in found.effects) == 8
    assert any(effect.site.part is SitePart.WEIGHT for effect in found.effects)
