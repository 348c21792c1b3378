"""Each fault really enters, and leaves everything as it was."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.ao.nn.quantized import dynamic as nnqd
from torch.ao.quantization import fake_quantize, observer

from qreg.errors import UnknownNameError
from qreg.faults import all_faults, get_faults
from qreg.faults.fault import (
    LIKE_STATIC,
    NO_CHECKPOINT,
    NO_PLACE,
    QUANTIZED,
    Fault,
    Target,
    second_checkpoint,
)
from qreg.measure import subject
from qreg.measure.options import Options
from qreg.quantization import METHODS, static
from qreg.records.case import Case

#: What the issue of the gate asks for.
ASKED = (
    "zero-point+1",
    "zero-point-1",
    "scale-x1.01",
    "swapped-scales",
    "channels-zeroed-1",
    "bias-dropped",
    "calibration-64",
    "calibration-unnormalised",
    "batchnorm-not-folded",
    "per-tensor",
    "layer-left-float",
    "all-left-float",
    "fake-quant-off",
    "observer-left-on",
    "relu-lost",
    "labels-shuffled-1.0%",
    "wrong-engine",
    "reduce-range-off",
    "weights-half-away",
    "weights-saturate-126",
    "float-weights-kept",
    "warning-more",
    "operator-more",
)
_USED = (
    "qreg.measure.subject:get_method",
    "qreg.measure.options:get_dataset",
    "qreg.measure.subject:drawn",
    "qreg.quantization.static:fuse",
    "qreg.quantization.static:static_qconfig",
    "torch.ao.nn.quantized.modules.conv:_quantize_weight",
    "torch.ao.nn.quantized.modules.linear:_quantize_weight",
    "torch.ao.nn.quantized.dynamic.modules.linear:_quantize_weight",
)
EVERY = pytest.mark.parametrize("fault", all_faults().values(), ids=lambda fault: fault.name)


def _state() -> list[Any]:
    names = [name.split(":") for name in _USED]
    found = [getattr(import_module(module), name) for module, name in names]
    fakes = (fake_quantize.FakeQuantize, fake_quantize.FusedMovingAvgObsFakeQuantize)
    own = [observer.HistogramObserver.calculate_qparams, nnqd.Linear.forward]
    return [*found, *own, *(kind.forward for kind in fakes)]


@EVERY
def test_a_fault_enters_and_leaves(fault: Fault) -> None:
    before = _state()
    target = Target(Case("shapes10", "simple_cnn", fault.methods[0], "x86"), Options())
    with fault.inject(target):
        assert _differs(_state(), before)
    assert not _differs(_state(), before)


@EVERY
def test_a_fault_leaves_when_something_raises(fault: Fault) -> None:
    before = _state()
    target = Target(Case("shapes10", "simple_cnn", fault.methods[0], "x86"), Options())
    with pytest.raises(KeyError), fault.inject(target):
        raise KeyError
    assert not _differs(_state(), before)


def _differs(here: list[Any], there: list[Any]) -> bool:
    return any(a is not b for a, b in zip(here, there, strict=True))


@EVERY
def test_a_fault_says_what_it_is(fault: Fault) -> None:
    assert re.fullmatch(r"[a-z0-9.+%-]+", fault.name)
    assert fault.family
    assert fault.description == fault.description.strip(". ")
    assert set(fault.methods) <= set(METHODS.names())


def test_all_that_was_asked_for_is_there_and_as_many_again() -> None:
    assert set(ASKED) <= set(all_faults())
    assert len(all_faults()) >= 2 * len(ASKED)
    assert len({fault.description for fault in all_faults().values()}) == len(all_faults())


def test_faults_are_chosen_by_name() -> None:
    names = ("bias-dropped", "zero-point+1")
    assert tuple(fault.name for fault in get_faults(names)) == names
    assert len(get_faults(())) == len(all_faults())
    with pytest.raises(UnknownNameError, match="'bias-droped'"):
        get_faults(("bias-droped",))


def test_a_fault_applies_where_its_needs_are_met() -> None:
    fault = all_faults()["batchnorm-eps"]
    static, dynamic = (Case("shapes10", "resnet20", m, "x86") for m in ("static", "dynamic"))
    assert fault.applies(static, frozenset({"BatchNorm2d", "Conv2d"}))
    assert not fault.applies(static, frozenset({"Conv2d"}))
    assert not fault.applies(dynamic, frozenset({"BatchNorm2d"}))


def test_a_fault_applies_on_its_engines() -> None:
    fault = all_faults()["reduce-range-off"]
    cases = {e: Case("shapes10", "simple_cnn", "static", e) for e in ("x86", "onednn")}
    assert fault.applies(cases["x86"], frozenset())
    assert not fault.applies(cases["onednn"], frozenset())


def test_every_quantized_method_has_faults() -> None:
    for method in QUANTIZED:
        assert sum(method in fault.methods for fault in all_faults().values()) > 40


@pytest.mark.parametrize("method", LIKE_STATIC)
def test_faults_of_converted_modules_fit_the_methods_that_have_them(method: str) -> None:
    case = Case("shapes10", "simple_cnn", method, "x86")
    faults = all_faults()
    fitting = {name for name, fault in faults.items() if fault.applies(case, frozenset())}
    assert len(fitting) > 40
    assert {"zero-point+1", "calibration-8", "saved-bias-lost", "images-missing"} <= fitting
    # those of eager mode's own functions would change nothing there
    assert not fitting & {"observer-min-max", "per-tensor", "other-checkpoint", "weights-truncated"}
    assert not any("static" not in faults[name].methods for name in fitting)


@pytest.mark.parametrize("name", ["relu-not-fused", "batchnorm-not-folded"])
def test_what_eager_mode_does_not_fuse_has_no_place_for_a_fault_of_fusing(name: str) -> None:
    plain = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU())
    fused = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    target = Target(Case("shapes10", "simple_cnn", "static", "x86"), Options())
    with all_faults()[name].inject(target):
        with pytest.raises(RuntimeError, match=NO_PLACE):
            static.fuse(plain)
        kinds = {type(module) for module in static.fuse(fused).modules()}
    assert (nn.ReLU in kinds) or (nn.BatchNorm2d in kinds)


def test_a_model_without_a_second_checkpoint_has_no_place_for_another(tmp_path: Path) -> None:
    options = Options(checkpoints=tmp_path)
    target = Target(Case("shapes10", "mine:net", "static", "x86"), options)
    with (
        all_faults()["other-checkpoint"].inject(target),
        pytest.raises(RuntimeError, match=NO_CHECKPOINT),
    ):
        subject.get_method("static")
    with pytest.raises(RuntimeError, match=NO_CHECKPOINT):
        second_checkpoint(target)
