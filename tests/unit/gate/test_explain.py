from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from qreg.gate.explain import explain
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.metrics.graph_layers import layers_in
from qreg.quantization.engines import available_engines
from qreg.records.baseline import Snapshot
from qreg.records.case import Case
from qreg.records.verdict import Basis, Check, Outcome, Verdict
from tests.unit.checks import given
from tests.unit.checks.given import EXACT, LOOSE

# `change` is set by a test, and done to the model after it is quantized.
_FAULTY = """
import torch
from torch import nn
from torch.ao.nn.quantized import FloatFunctional
from qreg.quantization.dynamic import quantize_dynamic
from qreg.quantization.static import quantize_static

def change(model):
    pass

def static(model, context):
    made = quantize_static(model, context, weights="per_channel")
    change(made)
    return made

def dynamic(model, context):
    made = quantize_dynamic(model, context)
    change(made)
    return made

def fx_static(model, context):
    from qreg.quantization.fx_graph import FX_STATIC
    made = FX_STATIC.quantize(model, context)
    change(made)
    return made

def pt2e(model, context):
    from qreg.quantization.needs import need_torchao
    from qreg.quantization.pt2e import PT2E_STATIC
    need_torchao()
    made = PT2E_STATIC.quantize(model, context)
    change(made)
    return made

def float_only(model, context):
    change(model)
    return model

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.add = FloatFunctional()
        self.fc = nn.Linear(512, 4)
        self.factor = 1.0
        nn.init.constant_(self.conv.weight[0], 0.1)

    def forward(self, x):
        y = self.relu(self.bn(self.conv(x)))
        y = self.add.add(y, self.again(y)).flatten(1)
        return self.fc(y * self.factor if self.factor != 1 else y)

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.fc = nn.LSTM(96, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.rnn(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])

def many():
    from torch.utils.data import TensorDataset
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    rows = TensorDataset(x, torch.arange(64) * 3)
    return {"train": rows, "test": rows}

def pitches():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 200))
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Iterator[Any]:
    (tmp_path / "faulty_nets.py").write_text(_FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    yield importlib.import_module("faulty_nets")
    sys.modules.pop("faulty_nets", None)


def _case(colours: Path, method: str = "static", engine: str = "x86") -> Case:
    return Case(str(colours), "faulty_nets:Net", f"faulty_nets:{method}", engine)


def _observed(gate: Gate, case: Case) -> Snapshot:
    found = gate.observe(case)
    assert isinstance(found, Snapshot), found
    return found


def _pair(faulty: Any, case: Case, change: Any) -> tuple[Gate, Snapshot, Snapshot]:
    """The gate, what it sees with the change, and what it saw without."""
    gate = Gate(Options())
    before = _observed(gate, case)
    faulty.change = change
    return gate, _observed(gate, case), before


def _explained(
    gate: Gate, now: Snapshot, before: Snapshot, basis: Basis = EXACT
) -> tuple[Verdict, str]:
    verdict = given.verdict(now, before, basis)
    assert verdict.outcome is not Outcome.PASS
    found = explain(verdict, now, before, gate)
    (note,) = [note for note in found.notes if note.startswith("first diverging layer: ")]
    assert [n for n in found.notes if n != note] == list(verdict.notes)
    return found, note.removeprefix("first diverging layer: ")


def _share(note: str, name: str) -> int:
    found = re.fullmatch(
        rf"{name} \(restoring it removes (-?\d+) % of the difference.*",
        note,
    )
    assert found, note
    return int(found.group(1))


def _scaled(name: str) -> Any:
    def change(model: Any) -> None:
        module = model.get_submodule(name)
        module.scale = module.scale * 1.5

    return change


def _slow(value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


LAYERS = ["quant", "model.conv", "model.again", "model.add", "model.fc"]


@pytest.mark.parametrize("basis", [EXACT, LOOSE], ids=["exact", "loose"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_scale_at_fault_is_named_and_accounts_for_the_difference(
    faulty: Any, colours: Path, name: str, basis: Basis
) -> None:
    gate, now, before = _pair(faulty, _case(colours), _scaled(name))
    found, note = _explained(gate, now, before, basis)
    assert found.outcome is Outcome.REGRESSED
    assert (Check.PARAMETERS, Outcome.REGRESSED) in given.said(found)
    assert _share(note, name) >= 90


@pytest.mark.parametrize("name", ["model.conv", *map(_slow, ("model.again", "model.fc"))])
def test_a_scale_at_fault_in_an_fx_graph(faulty: Any, colours: Path, name: str) -> None:
    gate, now, before = _pair(faulty, _case(colours, "fx_static"), _scaled(name))
    assert _share(_explained(gate, now, before)[1], name) >= 90


def test_a_share_is_of_all_logits_of_a_classifier_with_many(faulty: Any) -> None:
    """More than the elements that are kept of large outputs."""
    case = Case("faulty_nets:many", "faulty_nets:pitches", "faulty_nets:static", "x86")
    gate, now, before = _pair(faulty, case, _scaled("model.0"))
    assert before.numerics.logits.classes == 200
    assert _share(_explained(gate, now, before)[1], "model.0") >= 90


def _quantizing(graph: Any, layer: str) -> Any:
    """The operators that quantize and dequantize the output of a layer of an exported graph."""
    shown = next(one for one in layers_in(graph) if one.name == layer).shown()
    return [shown.args[0], *shown.args[0].users]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torchao"), reason="torchao is not installed")
@pytest.mark.parametrize("layer", ["model.relu", "input"])
def test_a_scale_at_fault_in_an_exported_graph(faulty: Any, colours: Path, layer: str) -> None:
    def change(graph: Any) -> None:
        for node in _quantizing(graph, layer):
            node.args = (node.args[0], node.args[1] * 1.5, *node.args[2:])
        graph.recompile()

    gate, now, before = _pair(faulty, _case(colours, "pt2e"), change)
    assert _share(_explained(gate, now, before)[1], layer) >= 90


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torchao"), reason="torchao is not installed")
@pytest.mark.parametrize("layer", ["model.again", "model.conv", "model.fc"])
def test_a_weight_at_fault_in_an_exported_graph(faulty: Any, colours: Path, layer: str) -> None:
    """Restoring leaves the graph as it was: the next layer is tried on the same one."""

    def change(graph: Any) -> None:
        nodes = next(one for one in layers_in(graph) if one.name == layer).nodes
        scales = next(one for one in nodes if len(one.args) > 1).args[1].args[1]
        getattr(graph, scales.target).mul_(1.5)

    gate, now, before = _pair(faulty, _case(colours, "pt2e"), change)
    assert _share(_explained(gate, now, before)[1], layer) >= 90
    again = gate.observe(now.case)
    assert isinstance(again, Snapshot)
    assert again.numerics.logits == now.numerics.logits


def test_two_layers_at_fault_are_not_accounted_for_by_the_first(faulty: Any, colours: Path) -> None:
    def both(model: Any) -> None:
        model.quant.scale = model.quant.scale * 1.01
        fc = model.model.fc
        fc.set_weight_bias(fc.weight(), fc.bias() + 0.5)

    gate, now, before = _pair(faulty, _case(colours), both)
    assert _share(_explained(gate, now, before)[1], "quant") < 50


def test_the_weight_of_a_dynamic_layer_at_fault(faulty: Any, colours: Path) -> None:
    def change(model: Any) -> None:
        import torch

        weight, bias = model.model.fc.weight(), model.model.fc.bias()
        scaled = (weight.int_repr(), weight.q_scale() * 1.5, weight.q_zero_point())
        model.model.fc.set_weight_bias(torch._make_per_tensor_quantized_tensor(*scaled), bias)

    gate, now, before = _pair(faulty, _case(colours, "dynamic"), change)
    assert _share(_explained(gate, now, before)[1], "model.fc") >= 99


def test_a_float_layer_cannot_be_put_back(faulty: Any, colours: Path) -> None:
    def change(model: Any) -> None:
        model.model.again.weight.data.mul_(1.1)

    gate, now, before = _pair(faulty, _case(colours, "float_only"), change)
    _, note = _explained(gate, now, before)
    assert note == "model.again (a layer of this kind cannot be restored alone)"


def test_a_difference_that_is_none_is_not_shared_out(faulty: Any, colours: Path) -> None:
    gate, now, before = _pair(faulty, _case(colours), lambda _: None)
    now = given.with_layer(now, 2, output_digest="other")
    assert "share is unknown" in _explained(gate, now, before)[1]


def test_logits_that_are_no_numbers_are_not_shared_out(faulty: Any, colours: Path) -> None:
    def change(model: Any) -> None:
        fc = model.model.fc
        fc.set_weight_bias(fc.weight(), fc.bias() * float("nan"))

    gate, now, before = _pair(faulty, _case(colours, "dynamic"), change)
    assert "model.fc (its share is unknown" in _explained(gate, now, before)[1]


def test_what_no_layer_did_is_blamed_on_none(faulty: Any, colours: Path) -> None:
    """A functional operator: the layer after it only passes on what it is given."""

    def change(model: Any) -> None:
        model.model.factor = 1.02

    gate, now, before = _pair(faulty, _case(colours, "dynamic"), change)
    note = _explained(gate, now, before)[1]
    assert note.startswith("not found among the layers that can be restored (tried ")


@pytest.mark.parametrize("method", ["dynamic", "float_only"])
def test_a_recurrent_layer_is_named_and_no_innocent_one(
    faulty: Any, colours: Path, method: str
) -> None:
    def change(model: Any) -> None:
        rnn = model.model.rnn
        if isinstance(rnn, torch.nn.LSTM):
            rnn.weight_hh_l0.data.mul_(1.02)
        else:
            found = {**rnn.get_weight(), **rnn.get_bias()}
            found["bias_hh_l0"] = found["bias_hh_l0"] * 1.02
            rnn.set_weight_bias(found)

    case = replace(_case(colours, method), model="faulty_nets:Recurrent")
    gate, now, before = _pair(faulty, case, change)
    note = _explained(gate, now, before)[1]
    assert note.startswith("model.rnn (a layer of this kind cannot be restored alone")


def test_failures_of_restoring_are_reported(faulty: Any, colours: Path) -> None:
    gate, now, before = _pair(faulty, _case(colours), _scaled("model.conv"))
    layers = before.numerics.layers
    odd = [
        replace(layer, weight=replace(layer.weight, scales=(1.0,) * 7, zero_points=(0,) * 7))
        if layer.name == "model.conv" and layer.weight
        else layer
        for layer in layers
    ]
    before = given.with_numerics(before, layers=tuple(odd))
    _, note = _explained(gate, now, before)
    assert note.startswith("model.conv (restoring it failed: RuntimeError: ")


def test_what_passed_or_moved_in_no_layer_is_left_alone(faulty: Any, colours: Path) -> None:
    gate, now, before = _pair(faulty, _case(colours), lambda _: None)
    passed = given.verdict(now, before)
    assert explain(passed, now, before, gate) is passed
    now = replace(now, warnings=("new",))
    other = given.verdict(now, before)
    assert other.outcome is Outcome.REGRESSED
    assert explain(other, now, before, gate) is other


@pytest.mark.skipif("onednn" not in available_engines(), reason="no onednn in this PyTorch")
@pytest.mark.parametrize("simulated", [False, True])
def test_saturation_is_named_where_the_cpu_no_longer_adds_without_it(
    faulty: Any, colours: Path, simulated: bool
) -> None:
    """oneDNN's qconfig uses all eight bits, and one channel of the weight is all 127."""
    gate, now, before = _pair(faulty, _case(colours, engine="onednn"), _scaled("model.conv"))
    assert Check.SATURATION not in [c for c, _ in given.said(_explained(gate, now, before)[0])]
    limits = ("ONEDNN_MAX_CPU_ISA=AVX2",) if simulated else ()
    whole = replace(before.environment, vnni=True, limits=())
    before = replace(before, environment=whole)
    now = replace(now, environment=replace(whole, vnni=simulated, limits=limits))
    found, _ = _explained(gate, now, before, LOOSE)
    (saturation,) = [f for f in found.findings if f.check is Check.SATURATION]
    assert (saturation.outcome, saturation.where) == (Outcome.REGRESSED, "model.conv")
    assert re.match(r"\d+\.\d\d% of outputs", saturation.observed)
    assert saturation.observed.endswith("(ONEDNN_MAX_CPU_ISA=AVX2)") == simulated


def test_no_saturation_is_claimed_with_a_reduced_range(faulty: Any, colours: Path) -> None:
    gate, now, before = _pair(faulty, _case(colours), _scaled("model.fc"))
    elsewhere = replace(now.environment, vnni=not now.environment.vnni)
    now = replace(now, environment=elsewhere)
    found, _ = _explained(gate, now, before, LOOSE)
    assert Check.SATURATION not in [check for check, _ in given.said(found)]


def test_explaining_prints_nothing(
    faulty: Any, colours: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, now, before = _pair(faulty, _case(colours), _scaled("model.again"))
    _explained(gate, now, before)
    assert capfd.readouterr() == ("", "")
