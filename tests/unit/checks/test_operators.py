from __future__ import annotations

from dataclasses import replace

import pytest

from qreg.checks.operators import judge_kinds, judge_operators, judge_quantized
from qreg.quantization import METHODS
from qreg.records.method import MethodInfo
from qreg.records.numerics import Layer, OperatorCount
from qreg.records.verdict import Check, Finding, Outcome
from tests.unit.baselines import build

COUNTS = {"aten::addmm": 1, "aten::clone": 2, "aten::relu": 1, "quantized::conv2d_relu": 3}
LAYERS = build.snapshot().numerics.layers


def _found(changes: dict[str, int], *, same_version: bool) -> list[Finding]:
    def operators(counts: dict[str, int]) -> list[OperatorCount]:
        return [OperatorCount(name, count) for name, count in counts.items() if count]

    now, before = operators(COUNTS | changes), operators(COUNTS)
    return list(judge_operators(now, before, same_version=same_version))


@pytest.mark.parametrize("same_version", [True, False])
def test_the_same_is_no_finding(same_version: bool) -> None:
    assert _found({}, same_version=same_version) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("quantized::conv2d_relu", 2),
        ("quantized::conv2d", 1),
        ("aten::addmm", 2),
        ("aten::addmm", 0),
        ("aten::convolution", 1),
        ("onednn::qlinear_pointwise", 1),
        ("torchao::int8_mm", 1),
        ("quantized_decomposed::add", 1),
    ],
)
@pytest.mark.parametrize("same_version", [True, False])
def test_a_layers_work_must_be_done_by_the_same_operators(
    name: str, count: int, same_version: bool
) -> None:
    (found,) = _found({name: count}, same_version=same_version)
    assert (found.check, found.outcome) == (Check.OPERATORS, Outcome.REGRESSED)
    assert found.expected == f"{COUNTS.get(name, 0)} x {name}"
    assert found.observed == f"{count} x {name}"


@pytest.mark.parametrize("changes", [{"aten::clone": 3}, {"aten::relu": 0}, {"aten::t": 1}])
def test_what_stands_around_it_may_differ_between_versions(changes: dict[str, int]) -> None:
    assert len(_found(changes, same_version=True)) == 1
    assert _found(changes, same_version=False) == []


@pytest.mark.parametrize(("many", "end"), [(4, "1 x quantized::3"), (7, " and 3 more")])
def test_of_many_changes_four_are_named(many: int, end: str) -> None:
    (found,) = _found({f"quantized::{n}": 1 for n in range(many)}, same_version=True)
    assert found.observed.endswith(end)
    assert found.observed.startswith("1 x quantized::0, 1 x quantized::1")


def _kinds(*layers: Layer) -> list[Finding]:
    return list(judge_kinds(layers, LAYERS))


def test_a_layer_that_stayed_float_is_named() -> None:
    assert _kinds(*LAYERS) == []
    first, second, *rest = LAYERS
    (found,) = _kinds(first, replace(second, kind="Conv2d"), *rest)
    assert (found.check, found.outcome, found.where) == (
        Check.OPERATORS,
        Outcome.REGRESSED,
        "conv2",
    )
    assert (found.expected, found.observed) == ("quantized.ConvReLU2d", "Conv2d")


def test_layers_that_came_and_went_are_named() -> None:
    (found,) = _kinds(*LAYERS[1:], build.layer("extra"))
    assert found.where == "conv1, extra"
    assert (found.expected, found.observed) == (
        "quantized.ConvReLU2d, none",
        "none, quantized.ConvReLU2d",
    )


def test_of_many_layers_the_first_four_are_named() -> None:
    (found,) = _kinds()
    assert found.where == "conv1, conv2, conv3, fc"
    (found,) = _kinds(*(build.layer(f"new{n}") for n in range(3)))
    assert found.where == "conv1, conv2, conv3, fc ..."
    assert found.observed == "none, none, none, none"


def test_the_order_of_layers_counts() -> None:
    first, second, *rest = LAYERS
    (found,) = _kinds(second, first, *rest)
    assert (found.expected, found.observed, found.where) == ("conv1 first", "conv2 first", "conv2")


FLOAT = OperatorCount("aten::convolution", 3)
READ = OperatorCount("quantized_decomposed::dequantize_per_channel", 3)


def _left(
    method: str, operators: tuple[OperatorCount, ...], layers: tuple[Layer, ...] = ()
) -> list[Finding]:
    info, numerics = METHODS.info(method), build.snapshot().numerics
    return list(judge_quantized(info, replace(numerics, operators=operators, layers=layers)))


@pytest.mark.parametrize("method", ["pt2e-static", "static", "torchao-int8-weight-only"])
def test_nothing_quantized_is_left(method: str) -> None:
    (found,) = _left(method, (FLOAT,))
    assert (found.check, found.outcome) == (Check.OPERATORS, Outcome.REGRESSED)


@pytest.mark.parametrize("name", ["quantized_decomposed::quantize_per_tensor", "aten::_int_mm"])
def test_one_quantized_operator_is_enough(name: str) -> None:
    assert _left("pt2e-static", (FLOAT, OperatorCount(name, 1))) == []


def test_int8_weights_that_a_layer_computes_with_are_enough() -> None:
    weighted = tuple(layer for layer in LAYERS if layer.weight)
    assert weighted
    assert _left("torchao-int8-weight-only", (FLOAT,), weighted) == []


def test_codes_that_are_only_read_are_not() -> None:
    weighted = tuple(replace(layer, output=None) for layer in LAYERS)
    assert len(_left("pt2e-static", (FLOAT, READ), weighted)) == 1


@pytest.mark.parametrize("method", ["fp32", "fp32-finetuned", "my.methods:half_precision"])
def test_float_methods_and_the_users_own_may_be_float(method: str) -> None:
    assert _left(method, (FLOAT,)) == []


def test_a_users_own_quantizing_method_must_quantize() -> None:
    own = MethodInfo("my.methods:INT4", float_only=False)
    numerics = replace(build.snapshot().numerics, operators=(FLOAT,), layers=())
    assert [found.check for found in judge_quantized(own, numerics)] == [Check.OPERATORS]
