from __future__ import annotations

from dataclasses import replace

import pytest

from qreg.compare.operators import judge_kinds, judge_operators
from qreg.judgements import Check, Finding, Outcome
from qreg.numerics import Layer, OperatorCount
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
