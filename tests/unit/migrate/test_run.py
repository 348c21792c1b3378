"""Deprecated methods beside their successors, on a trained network and real test images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from qreg.errors import QregError, UnavailableError
from qreg.measure.options import Options
from qreg.migrate.records import FIT, Fate, Migration, Replacement
from qreg.migrate.run import migrate, successor_pairs
from qreg.quantization import METHODS
from qreg.quantization.engines import available_engines
from qreg.quantization.needs import check_needs
from qreg.records.case import Case

pytestmark = pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine")
OPTIONS = Options(limit=100)
HOME = Case("shapes10", "simple_cnn", "fp32", "x86")


def _case(method: str, *, model: str = "simple_cnn", engine: str = "x86") -> Case:
    return Case("shapes10", model, method, engine)


@cache
def _found() -> Migration:
    return migrate(HOME, successor_pairs(HOME, ("static", "qat", "dynamic"), ("x86",)), OPTIONS)


def _of(found: Migration, method: str) -> Replacement:
    return next(one for one in found.replacements if one.case.method == method)


def _measured(method: str) -> Replacement:
    try:
        check_needs(METHODS.info(method), HOME.engine)
    except UnavailableError as error:
        pytest.skip(str(error))
    return _of(_found(), method)


@pytest.mark.slow
def test_every_successor_is_paired_with_what_it_replaces() -> None:
    pairs = [(one.replaced.method, one.case.method) for one in _found().replacements]
    assert pairs == [
        ("static", "fx-static"),
        ("static", "pt2e-static"),
        ("qat", "fx-qat"),
        ("qat", "pt2e-qat"),
        ("dynamic", "torchao-int8-dynamic"),
        ("dynamic", "torchao-int8-weight-only"),
    ]
    assert _found().fit


def test_compiled_ones_are_asked_for() -> None:
    names = {new.method for _, new in successor_pairs(HOME, ("static",), ("x86",), compiled=True)}
    assert names == {"fx-static", "pt2e-static", "pt2e-static-compiled"}


@pytest.mark.slow
def test_fx_qat_is_qat_bit_for_bit() -> None:
    found = _measured("fx-qat")
    assert found.fate is Fate.SAME
    assert found.beside
    assert (found.beside.reference, found.beside.flips) == ("qat", ())
    assert found.moved == ""


@pytest.mark.slow
def test_fx_observes_other_ranges_where_a_pooling_follows() -> None:
    found = _measured("fx-static")
    assert found.fate in FIT
    assert found.fate is not Fate.SAME
    assert found.moved.startswith("conv1: output, scale")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "old"), [("fx-static", "static"), ("pt2e-qat", "qat")])
def test_flips_are_those_between_the_two(method: str, old: str) -> None:
    found = _measured(method)
    assert found.beside
    both = [
        next(c.measurement for c in _found().candidates if c.measurement.case.method == name)
        for name in (method, old)
    ]
    mine, others = (one.accuracy.predictions for one in both)
    assert len(found.beside.flips) == sum(a != b for a, b in zip(mine, others, strict=True))
    net = both[0].accuracy.correct - both[1].accuracy.correct
    assert found.beside.won - found.beside.lost == net
    assert found.detectable > 0


@pytest.mark.slow
def test_a_graph_that_is_not_compiled_computes_in_float() -> None:
    _measured("pt2e-static")
    work = {one.measurement.case.method: one.work for one in _found().candidates}
    assert work["pt2e-static"].simulated
    assert not work["static"].simulated
    assert work["static"].floating == ()
    assert sum(each.count for each in work["static"].int8) == 6
    assert not work["fp32"].quantized


@pytest.mark.slow
def test_times_are_relative_to_the_deprecated_method() -> None:
    # quantizing and dequantizing in operators of their own cost many times the int8 kernels
    assert _measured("pt2e-static").latencies[0].speed_up < 0.8
    assert [time.batch_size for time in _measured("fx-static").latencies] == [1, 100]


_BROKEN = '''
import torch
from qreg.quantization import get_method

def halved(model, context):
    """Static, of half its weights."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.view(-1)[::2] = 0
    return get_method("static").quantize(model, context)

def float_only(model, context):
    return model

def raising(model, context):
    raise RuntimeError("no such kernel")

def make_convolutions():
    """Without a linear layer."""
    return torch.nn.Sequential(torch.nn.Conv2d(3, 10, 32), torch.nn.Flatten())
'''


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of successors that are none."""
    import sys

    (tmp_path / "broken_methods.py").write_text(_BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "broken_methods"
    sys.modules.pop("broken_methods", None)


@pytest.mark.slow
def test_what_is_wrong_with_a_successor_is_named(broken: str) -> None:
    names = ("halved", "float_only", "raising")
    pairs = [(_case("static"), _case(f"{broken}:{name}")) for name in names]
    found = migrate(HOME, pairs, OPTIONS)
    halved, floating, raising = found.replacements
    assert halved.fate is Fate.LOST
    assert floating.fate is Fate.NOTHING
    assert raising.fate is Fate.FAILED
    assert "no such kernel" in raising.reason
    assert [failure.case for failure in found.failures] == [raising.case]
    assert not found.fit


@pytest.mark.slow
def test_without_a_linear_layer_nothing_of_torchao_is_quantized(broken: str) -> None:
    _measured("torchao-int8-dynamic")
    home = _case("fp32", model=f"{broken}:make_convolutions")
    found = migrate(home, successor_pairs(home, ("dynamic",), ("x86",)), OPTIONS)
    assert {one.fate for one in found.replacements} == {Fate.NOTHING}
    assert not found.fit


def test_a_deprecated_method_that_is_not_there_leaves_the_others(broken: str) -> None:
    home = _case("fp32", model=f"{broken}:make_convolutions")
    found = migrate(home, successor_pairs(home, ("static", "qat"), ("x86",)), OPTIONS)
    assert _of(found, "fx-static").fate in FIT
    without = _of(found, "fx-qat")
    assert without.fate is Fate.UNAVAILABLE
    assert "checkpoint" in without.reason


@pytest.mark.slow
def test_an_engine_that_a_successor_does_not_run_on_is_reported() -> None:
    if "qnnpack" not in available_engines():
        pytest.skip("this PyTorch has no engine qnnpack")
    pairs = successor_pairs(HOME, ("static",), ("qnnpack",))
    found = migrate(HOME, pairs, OPTIONS)
    assert _of(found, "fx-static").fate in FIT
    other = _of(found, "pt2e-static")
    assert other.fate is Fate.UNAVAILABLE
    assert other.beside is None
    assert "qnnpack" in other.reason


def test_without_its_reference_nothing_is_found(colours: Path) -> None:
    untrained = Case("colours", "simple_cnn", "fp32", "x86")
    pair = tuple(replace(untrained, method=method) for method in ("static", "fx-static"))
    with pytest.raises(QregError, match=r"reference .* cannot be measured"):
        migrate(untrained, [pair], Options(sources=(("colours", str(colours)),), limit=9))
