from __future__ import annotations

import re
from dataclasses import replace

import pytest

from qreg.checks.operators import layers_work
from qreg.migrate.records import Fate
from qreg.migrate.rule import detectable_change, judge_replacement, moved_layer, pair_level
from qreg.records.measurement import Agreement, Flip
from qreg.records.numerics import Layer, OperatorCount, Quantizer
from qreg.stats.mcnemar import mcnemar
from tests.unit.baselines import build

INT8 = layers_work([OperatorCount("quantized::linear", 2)], ())
FLOAT = layers_work([OperatorCount("aten::addmm", 2)], ())


def _agreement(won: int, lost: int) -> Agreement:
    flips = [Flip(i, 1, 0, 1) for i in range(won)] + [Flip(i, 1, 1, 0) for i in range(lost)]
    change = (won - lost) / 1000
    return Agreement("static", change, -1.0, 1.0, mcnemar(won, lost), 0.1, tuple(flips))


@pytest.mark.parametrize(
    ("won", "lost", "fate"),
    [
        (0, 0, Fate.NOISE),
        (20, 30, Fate.NOISE),
        (20, 60, Fate.LOST),
        (60, 20, Fate.GAINED),
    ],
)
def test_a_drop_beyond_chance_is_a_loss(won: int, lost: int, fate: Fate) -> None:
    found = judge_replacement(_agreement(won, lost), INT8, same_bits=False, level=0.01)
    assert found is fate


def test_equal_bits_are_reported() -> None:
    assert judge_replacement(_agreement(0, 0), INT8, same_bits=True, level=0.01) is Fate.SAME


def test_a_successor_that_quantizes_nothing_is_named_however_accurate() -> None:
    for won, lost, same in ((0, 0, True), (60, 20, False)):
        found = judge_replacement(_agreement(won, lost), FLOAT, same_bits=same, level=0.01)
        assert found is Fate.NOTHING


def test_the_level_is_shared_out() -> None:
    assert pair_level(1) == 0.05
    assert pair_level(10) == pytest.approx(0.005)
    with pytest.raises(ValueError, match="0 pairs"):
        pair_level(0)


def test_the_detectable_drop_is_that_of_the_test_that_judges() -> None:
    beside = _agreement(20, 25)
    drops = [detectable_change(beside, 1000, level=level) for level in (0.05, 0.005)]
    assert 0 < drops[0] < drops[1]
    # that many losses more, half of the flips being wins: found
    more = round(drops[0] * 1000)
    assert (
        judge_replacement(_agreement(22, 22 + more), INT8, same_bits=False, level=0.05) is Fate.LOST
    )


def test_work_is_recognized_by_what_computes_it() -> None:
    compiled = [
        OperatorCount("onednn::qconv_pointwise", 3),
        OperatorCount("quantized::max_pool2d", 3),
    ]
    work = layers_work(compiled, ())
    assert [one.count for one in work.int8] == [3]
    assert (work.quantized, work.simulated) == (True, False)
    graph = ("aten::convolution", "quantized_decomposed::quantize_per_tensor")
    work = layers_work([OperatorCount(name, 2) for name in graph], ())
    assert (work.quantized, work.simulated, work.converting) == (True, True, 2)
    assert not FLOAT.quantized
    assert not FLOAT.simulated


def test_int8_weights_that_are_computed_with_in_float_are_quantized() -> None:
    weighted = build.layer("fc")
    assert weighted.weight
    work = layers_work([OperatorCount("aten::mm", 1)], (weighted,))
    assert work.quantized
    assert work.int8 == ()


def _layer(name: str, *, scale: float = 0.5, zero_point: int = 3) -> Layer:
    output = Quantizer("per_tensor_affine", "quint8", (scale,), (zero_point,))
    return replace(build.layer(name), output=output)


def test_the_first_layer_that_is_quantized_differently_is_named() -> None:
    before = (_layer("a"), _layer("b"), _layer("c"))
    now = (_layer("a"), _layer("b", scale=0.25), _layer("c", zero_point=4))
    assert moved_layer(now, before) == "b: output, scale 0.5 -> 0.25, zero point 3 -> 3"
    assert moved_layer(now[2:], before).startswith("c: output")
    assert moved_layer(before, before) == ""


def test_a_scale_that_was_stored_as_float32_is_the_same_one() -> None:
    assert moved_layer((_layer("a", scale=0.1),), (_layer("a", scale=0.10000000149011612),)) == ""


def test_one_scale_a_channel_is_another_than_one_for_all() -> None:
    weight = Quantizer("per_tensor_affine", "qint8", (0.5,), (0,))
    before = replace(_layer("a"), weight=weight)
    channels = replace(weight, scales=(0.5, 0.5), zero_points=(0, 0))
    found = moved_layer((replace(before, weight=channels),), (before,))
    assert found.startswith("a: weights, ")
    assert re.search(r"\b2\b.*\b1\b", found)


def test_layers_that_only_one_of_both_quantizes_are_not_compared() -> None:
    assert moved_layer((replace(_layer("a"), output=None),), (_layer("a"),)) == ""
