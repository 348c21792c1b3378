from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qreg.baselines.applicable import SAME, choose, same_environment
from qreg.records.baseline import Baseline
from qreg.records.method import MethodInfo, Need
from tests.unit.baselines import build

NOW = build.ENVIRONMENT
STATIC = MethodInfo("static")
OTHER: dict[str, Any] = {
    "torch": "2.15.0",
    "system": "Darwin",
    "arch": "arm64",
    "cpu": "Another CPU",
    "cpu_capability": "AVX2",
    "vnni": False,
    "limits": ("ATEN_CPU_CAPABILITY=avx2",),
    "onnxruntime": "1.20.1",
    "provider": "CUDAExecutionProvider",
    "graph_level": "basic",
    "threads": 4,
}


def _recorded(date: str = "2026-01-01", **changes: Any) -> Baseline:
    found = build.snapshot(environment=replace(NOW, **changes))
    return build.baseline(found, build.approval(date=date))


def test_nothing_is_chosen_from_nothing() -> None:
    assert choose((), NOW, STATIC) is None


def test_the_same_environment_is_judged_bit_by_bit() -> None:
    same = _recorded(torch="2.14.1+cu130", python="3.12.0", numpy="2.0.0")
    chosen = choose((_recorded(vnni=False), same), NOW, STATIC)
    assert chosen is not None
    assert chosen[0] == same
    assert chosen[1].exact
    assert chosen[1].reason == "same environment: judged bit by bit"


@pytest.mark.parametrize("field", SAME)
def test_each_field_alone_makes_another_environment(field: str) -> None:
    assert set(OTHER) == set(SAME)
    other = replace(NOW, **{field: OTHER[field]})
    assert not same_environment(other, NOW)
    chosen = choose((_recorded(**{field: OTHER[field]}),), NOW, STATIC)
    assert chosen is not None
    assert not chosen[1].exact
    assert chosen[1].reason.endswith(": judged statistically")


def test_the_reason_says_what_differs_and_no_more() -> None:
    chosen = choose(
        (_recorded(),), replace(NOW, torch="2.15.0", cpu_capability="AVX2", vnni=False), STATIC
    )
    assert chosen is not None
    assert chosen[1].reason == (
        "recorded on torch 2.14.1, AVX512 with VNNI, now 2.15.0, AVX2 without VNNI: "
        "judged statistically"
    )
    chosen = choose((_recorded(),), replace(NOW, threads=2, limits=("A=b",)), STATIC)
    assert chosen is not None
    assert chosen[1].reason == (
        "recorded on no limits, 1 thread, now A=b, 2 threads: judged statistically"
    )


@pytest.mark.parametrize(
    ("closer", "farther"),
    [
        ({"torch": "1.9.0", "arch": "arm64", "cpu": "x"}, {"vnni": False}),
        ({"cpu_capability": "AVX2"}, {"cpu_capability": "AVX2", "vnni": False}),
        ({"torch": "2.14.0"}, {"torch": "2.13.1"}),
        ({"torch": "2.13.0"}, {"torch": "3.0.0"}),
        ({"torch": "2.15.0.dev20260101"}, {"torch": "2.16.0"}),
        ({"system": "Darwin", "arch": "arm64", "cpu": "x", "threads": 9}, {"torch": "2.14.0"}),
        ({"arch": "arm64", "cpu": "x", "threads": 9}, {"system": "Darwin"}),
        ({"cpu": "x", "threads": 9}, {"arch": "arm64"}),
        ({"threads": 9}, {"cpu": "x"}),
        ({"threads": 9, "date": "2026-02-01"}, {"threads": 8, "date": "2026-01-01"}),
    ],
)
def test_the_closest_is_chosen_whatever_the_order(
    closer: dict[str, Any], farther: dict[str, Any]
) -> None:
    one, other = _recorded(**closer), _recorded(**farther)
    for order in ((one, other), (other, one)):
        chosen = choose(order, NOW, STATIC)
        assert chosen is not None
        assert chosen[0] == one


def test_what_torchao_brings_is_bit_equal_only_under_the_same_torchao() -> None:
    then, now = _recorded(torchao="0.17.0"), replace(NOW, torchao="0.18.0")
    exact = {}
    for method in (STATIC, MethodInfo("mine", requires=(Need.TORCHAO,))):
        chosen = choose((then,), now, method)
        assert chosen is not None
        exact[method.name] = chosen[1].exact
    assert exact == {"static": True, "mine": False}
