from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qreg.data import get_dataset, load_split
from qreg.data.batches import batches
from qreg.errors import MissingDataError, QregError
from qreg.gate.observe import Gate
from qreg.measure.options import Options
from qreg.measure.subject import Subject
from qreg.quantization.fp32 import FP32
from qreg.records.baseline import Snapshot
from qreg.records.case import Case, Failure
from qreg.records.numerics import EQUAL_DB
from tests.unit.checks import given

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])

METHODS = ("fp32", "dynamic", "static", "static-per-tensor")

_MORE_NETS = '''
import torch
from torch import nn

def make_raising():
    raise LookupError("no weights here\\nand more")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3072, 4)
    def forward(self, x):
        return self.fc(x.flatten(1))

class Alone(Net):
    """Fails on all images at once, which it is not given before it is observed."""
    def forward(self, x):
        if len(x) == 40:
            raise ArithmeticError("forty are too many")
        return super().forward(x)

class Restless(Net):
    def forward(self, x):
        return super().forward(x + torch.rand(()))

class Unloadable(Net):
    def _load_from_state_dict(self, *args):
        raise RuntimeError("cannot be loaded")

class Forgetful(Net):
    """Keeps something that is not in its state."""
    factor = 1.0
    def forward(self, x):
        return self.factor * super().forward(x)
    def _load_from_state_dict(self, *args):
        self.factor = 2.0

class HalfSaved(Net):
    """Saves its scale in half precision, which no output shows."""
    scale = 0.1
    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = torch.tensor(self.scale).half()
    def _load_from_state_dict(self, state, prefix, *args):
        self.scale = float(state.pop(prefix + "scale"))
        super()._load_from_state_dict(state, prefix, *args)

class Recurrent(nn.Module):
    """Packed weights of recurrent layers are not read with weights_only."""
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(96, 8, batch_first=True)
        self.head = nn.Linear(8, 4)
    def forward(self, x):
        return self.head(self.lstm(x.flatten(1).unflatten(1, (32, 96)))[0][:, -1])

class BiasLost(Recurrent):
    def _load_from_state_dict(self, state, prefix, *args):
        for name, value in state.items():
            if name.endswith("_packed_params._packed_params"):
                state[name] = (value[0], torch.zeros_like(value[1]))

class Undefined(Net):
    def forward(self, x):
        return super().forward(x) * float("nan")

class Wide(Net):
    """One class more than the dataset has."""
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3072, 5)
'''


@pytest.fixture
def more_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "more_nets.py").write_text(_MORE_NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "more_nets"
    sys.modules.pop("more_nets", None)


def _observed(gate: Gate, colours: Path, method: str, model: str = "tiny_nets:make_net") -> Any:
    return gate.observe(Case(str(colours), model, method, "x86"))


def _snapshot(gate: Gate, colours: Path, method: str, **which: str) -> Snapshot:
    found = _observed(gate, colours, method, **which)
    assert isinstance(found, Snapshot), found
    return found


@pytest.fixture
def gate(own_cache: Path, tmp_path: Path) -> Gate:
    return Gate(Options(checkpoints=tmp_path))


def _digest(found: Snapshot) -> str:
    return hashlib.sha256(repr(found).encode()).hexdigest()


def test_what_is_observed_is_what_plain_torch_gives(gate: Gate, nets: str, colours: Path) -> None:
    found = _snapshot(gate, colours, "static")
    dataset = get_dataset(str(colours))
    test = load_split(dataset, "test")
    subject = gate.samples(str(colours)).subject(found.case)
    assert isinstance(subject, Subject)
    torch.backends.quantized.engine = "x86"
    with torch.no_grad():
        logits = torch.cat([subject.model(x) for x in batches(test, dataset, size=40)]).numpy()
    assert found.numerics.logits.values == logits.astype("<f4").tobytes()
    assert found.predictions == tuple(logits.argmax(1).tolist())
    assert found.correct == int((logits.argmax(1) == test.labels).sum())
    assert found.numerics.images.index == tuple(range(40))
    assert found.numerics.images.labels == tuple(test.labels.tolist())
    assert found.calibration == tuple(range(96))
    assert found.checkpoint.startswith("random:")


def test_numerics_are_compared_with_fp32(gate: Gate, nets: str, colours: Path) -> None:
    fp32 = _snapshot(gate, colours, "fp32")
    assert (fp32.numerics.reference, fp32.numerics.disagreements) == ("", ())
    assert {layer.sqnr_db for layer in fp32.numerics.layers} == {EQUAL_DB}
    for method in METHODS[1:]:
        found = _snapshot(gate, colours, method)
        differ = np.array(found.predictions) != np.array(fp32.predictions)
        assert found.numerics.disagreements == tuple(np.flatnonzero(differ).tolist())
        assert found.numerics.reference == fp32.numerics.logits.digest
        assert found.numerics.logits.digest != fp32.numerics.logits.digest
        assert found.numerics.reloaded == found.numerics.single
        assert any(layer.weight for layer in found.numerics.layers)


def test_the_reference_does_not_depend_on_what_came_before(
    gate: Gate, nets: str, colours: Path, tmp_path: Path
) -> None:
    alone = _snapshot(Gate(Options(checkpoints=tmp_path)), colours, "static")
    _snapshot(gate, colours, "fp32")
    assert _snapshot(gate, colours, "static") == alone


@pytest.mark.parametrize("method", METHODS)
def test_the_same_case_again_passes_bit_by_bit(
    gate: Gate, nets: str, colours: Path, method: str
) -> None:
    first, again = (_snapshot(gate, colours, method) for _ in range(2))
    assert first == again
    assert given.verdict(again, first).findings == ()


_ELSEWHERE = """
import hashlib, sys
from pathlib import Path
from qreg.gate.observe import Gate
from qreg.records.case import Case
from qreg.measure.options import Options

gate = Gate(Options(checkpoints=Path(".")))
for method in sys.argv[2:]:
    found = gate.observe(Case(sys.argv[1], "tiny_nets:make_net", method, "x86"))
    print(hashlib.sha256(repr(found).encode()).hexdigest())
"""


@pytest.mark.slow
def test_a_fresh_process_in_another_order_sees_the_same_and_prints_nothing(
    gate: Gate, nets: str, colours: Path, tmp_path: Path
) -> None:
    """The same bits, and of the warnings those that PyTorch says once a process as well."""
    here = {method: _snapshot(gate, colours, method) for method in METHODS}
    assert here["fp32"].warnings == ()
    warned = len(here["dynamic"].warnings)
    assert len(here["static"].warnings) >= warned
    assert bool(warned) == (TORCH >= (2, 8))  # since when torch.ao says that it is deprecated
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[3])))
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(colours), *METHODS[::-1]],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.split() == [_digest(here[method]) for method in METHODS[::-1]]


def test_a_factory_that_raises_is_a_failure_of_its_own(
    gate: Gate, more_nets: str, colours: Path
) -> None:
    found = _observed(gate, colours, "fp32", model="more_nets:make_raising")
    assert isinstance(found, Failure)
    assert found.reason == "LookupError: no weights here"
    assert "more_nets.py" in found.details
    assert not found.unavailable


def test_a_model_that_raises_later_is_a_failure_too(
    gate: Gate, more_nets: str, colours: Path
) -> None:
    found = _observed(gate, colours, "fp32", model="more_nets:Alone")
    assert isinstance(found, Failure)
    assert found.reason == "ArithmeticError: forty are too many"
    assert "in forward" in found.details


def test_an_engine_that_is_not_here_is_unavailable(
    gate: Gate, nets: str, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qreg.quantization.engines.available_engines", lambda: ("fbgemm",))
    found = _observed(gate, colours, "dynamic")
    assert isinstance(found, Failure)
    assert found.unavailable


def test_without_its_reference_a_case_says_whose_fault_it_is(
    gate: Gate, nets: str, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LookupError("not this one")

    monkeypatch.setattr("qreg.quantization.fp32.FP32", replace(FP32, quantize=refuse))
    with pytest.raises(QregError, match=r"make_net/fp32@x86: .*LookupError: not this one"):
        _observed(gate, colours, "dynamic")


def test_a_model_that_forgets_when_it_is_saved(gate: Gate, more_nets: str, colours: Path) -> None:
    kept = _snapshot(gate, colours, "fp32", model="more_nets:Net").numerics
    lost = _snapshot(gate, colours, "fp32", model="more_nets:Forgetful").numerics
    refused = _snapshot(gate, colours, "fp32", model="more_nets:Unloadable").numerics
    half = _snapshot(gate, colours, "fp32", model="more_nets:HalfSaved").numerics
    assert kept.reloaded == kept.single == lost.single == refused.single == half.single
    assert len({"", kept.single, lost.reloaded, half.reloaded}) == 4
    assert refused.reloaded == ""


def test_what_a_recurrent_network_loses_when_it_is_saved_is_seen(
    gate: Gate, more_nets: str, colours: Path
) -> None:
    kept = _snapshot(gate, colours, "dynamic", model="more_nets:Recurrent").numerics
    lost = _snapshot(gate, colours, "dynamic", model="more_nets:BiasLost").numerics
    assert kept.reloaded == kept.single
    assert lost.reloaded not in ("", lost.single)


def test_logits_that_are_no_numbers_are_observed_and_never_pass(
    gate: Gate, more_nets: str, colours: Path
) -> None:
    found = _snapshot(gate, colours, "fp32", model="more_nets:Undefined")
    assert np.isnan(given.logits(found)).all()
    assert given.verdict(found, found).outcome.fails


def test_logits_beyond_the_classes_are_cut_off(gate: Gate, more_nets: str, colours: Path) -> None:
    assert _snapshot(gate, colours, "fp32", model="more_nets:Wide").numerics.logits.classes == 4


@pytest.mark.parametrize("dataset", ["cifar10", "nowhere/colours.npz"])
def test_data_that_is_not_here_is_missing_and_never_downloaded(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    monkeypatch.delenv("QREG_DATA_DIR", raising=False)
    monkeypatch.setattr("qreg.data.cifar10._download", lambda _: pytest.fail("it downloads"))
    gate = Gate(Options(checkpoints=tmp_path, download=False))
    with pytest.raises(MissingDataError) as caught:
        gate.observe(Case(dataset, "simple_cnn", "fp32", "x86"))
    assert caught.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_no_run_repeats_is_no_baseline(
    gate: Gate, nets: str, more_nets: str, colours: Path
) -> None:
    found = _observed(gate, colours, "fp32", model="more_nets:Restless")
    assert isinstance(found, Failure)
    assert found.reason == "two runs of the same samples differ, first in model.fc"
    assert not found.unavailable
