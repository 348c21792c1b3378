from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from qreg.compare.layers import first_moved, judge_layers, judge_parameters
from qreg.compare.tolerances import EXACT, OTHER_FLOAT, SAME_FLOAT, STORED_SCALE, Tolerances
from qreg.judgements import Check, Finding, Outcome
from qreg.numerics import Layer, Quantizer
from tests.unit.baselines import build

BEFORE = build.snapshot().numerics.layers
ANY = pytest.mark.parametrize("allowed", [EXACT, SAME_FLOAT, OTHER_FLOAT], ids=["exact", "same", "other"])
LOOSE = pytest.mark.parametrize("allowed", [SAME_FLOAT, OTHER_FLOAT], ids=["same", "other"])


def _with(position: int, **changes: Any) -> tuple[Layer, ...]:
    layers = list(BEFORE)
    layers[position] = replace(layers[position], **changes)
    return tuple(layers)


def _weight(position: int = 1, **changes: Any) -> Quantizer:
    weight = BEFORE[position].weight
    assert weight is not None
    return replace(weight, **changes)


def _scaled(factor: float, *, channel: int = 2) -> Quantizer:
    scales = list(_weight().scales)
    scales[channel] *= factor
    return _weight(scales=tuple(scales))


def _parameters(now: tuple[Layer, ...], allowed: Tolerances) -> Finding | None:
    found = list(judge_parameters(now, BEFORE, allowed))
    assert len(found) <= 1
    return found[0] if found else None


def _where(now: tuple[Layer, ...], allowed: Tolerances) -> str:
    found = _parameters(now, allowed)
    assert found is not None
    assert (found.check, found.outcome) == (Check.PARAMETERS, Outcome.REGRESSED)
    assert first_moved(now, BEFORE, allowed) == found.where.partition(":")[0]
    return found.where


@ANY
def test_the_same_is_no_finding(allowed: Tolerances) -> None:
    assert _parameters(BEFORE, allowed) is None
    assert list(judge_layers(BEFORE, BEFORE, allowed)) == []
    assert first_moved(BEFORE, BEFORE, allowed) == ""


def test_exactly_a_scale_counts_to_its_last_bit() -> None:
    scales = _weight().scales
    up = _weight(scales=(*scales[:3], math.nextafter(scales[3], 1)))
    assert _where(_with(1, weight=up), EXACT) == "conv2: weight of channel 3"
    assert _parameters(_with(1, weight=up), SAME_FLOAT) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_elsewhere_a_scale_has_its_tolerance(sign: int) -> None:
    within, beyond = _scaled(1 + sign * 0.99 * SCALE), _scaled(1 + sign * 1.01 * SCALE)
    other_codes = {"weight_digest": "0" * 16, "bias_digest": "0" * 16}
    assert _parameters(_with(1, weight=within, **other_codes), SAME_FLOAT) is None
    assert _where(_with(1, weight=beyond), SAME_FLOAT) == "conv2: weight of channel 2"


@ANY
@pytest.mark.parametrize("factor", [-1.0, 0.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_never_within(factor: float, allowed: Tolerances) -> None:
    assert _where(_with(1, weight=_scaled(factor)), allowed) == "conv2: weight of channel 2"


def test_scales_of_zero_on_both_sides_are_equal() -> None:
    before = _with(1, weight=_scaled(0.0))
    scales = list(_scaled(0.0).scales)
    scales[0] *= 1 + SCALE / 2
    now = _with(1, weight=_weight(scales=tuple(scales)))
    assert list(judge_parameters(now, before, SAME_FLOAT)) == []


@ANY
@pytest.mark.parametrize("step", [1, -1])
def test_a_zero_point_moves_nowhere(step: int, allowed: Tolerances) -> None:
    output = BEFORE[2].output
    assert output is not None
    now = _with(2, output=replace(output, zero_points=(64 + step,)))
    found = _parameters(now, allowed)
    assert found is not None
    assert (found.where, found.expected) == (
        "conv3: output",
        "scale 0.0123456789, zero point 64",
    )
    assert found.observed == f"scale 0.0123456789, zero point {64 + step}"


@ANY
@pytest.mark.parametrize(
    ("changes", "observed"),
    [
        ({"weight": None}, "float"),
        ({"weight": _weight(dtype="quint8")}, "per_channel_affine quint8"),
        ({"weight": _weight(qscheme="per_tensor_affine")}, "per_tensor_affine qint8"),
        ({"output": None}, "float"),
    ],
)
def test_another_scheme_is_named(changes: dict[str, Any], observed: str, allowed: Tolerances) -> None:
    found = _parameters(_with(1, **changes), allowed)
    assert found is not None
    assert found.observed == observed
    back = next(judge_parameters(BEFORE, _with(1, **changes), allowed))
    assert back.expected == observed


@ANY
def test_other_numbers_of_channels(allowed: Tolerances) -> None:
    less = _weight(scales=_weight().scales[:2], zero_points=(0, 0))
    assert _where(_with(1, weight=less), allowed) == "conv2: weight"


@ANY
@pytest.mark.parametrize(
    ("field", "what"), [("weight_digest", "weight values"), ("bias_digest", "bias")]
)
def test_stored_values_are_equal_where_scales_are(field: str, what: str, allowed: Tolerances) -> None:
    found = _parameters(_with(0, **{field: ""}), allowed)
    assert found is not None
    assert (found.where, found.observed) == (f"conv1: {what}", "none")


def test_float_weights_are_compared_exactly_only() -> None:
    now = _with(3, weight_digest="0" * 16)
    assert _where(now, EXACT) == "fc: weight values"
    assert _parameters(now, SAME_FLOAT) is None


@ANY
def test_the_first_layer_is_named_and_the_others_counted(allowed: Tolerances) -> None:
    now = tuple(replace(layer, bias_digest="0" * 16) for layer in BEFORE)
    count = 4 if exact else 3
    assert _where(now, allowed) == f"conv1: bias, the first of {count}"


def test_exactly_an_output_counts_in_every_bit() -> None:
    now = _with(1, output_digest="0" * 16)
    (found,) = judge_layers(now, BEFORE, EXACT)
    assert (found.check, found.outcome, found.where) == (Check.LAYERS, Outcome.REGRESSED, "conv2")
    assert found.observed == "output 0000000000000000, SQNR 31.25 dB"
    assert first_moved(now, BEFORE, EXACT) == "conv2"
    assert list(judge_layers(now, BEFORE, SAME_FLOAT)) == []
    assert first_moved(now, BEFORE, SAME_FLOAT) == ""


def test_elsewhere_the_sqnr_has_its_tolerance() -> None:
    within, beyond = _with(1, sqnr_db=31.25 - SQNR_DB), _with(1, sqnr_db=31.24 - SQNR_DB)
    assert list(judge_layers(within, BEFORE, SAME_FLOAT)) == []
    (found,) = judge_layers(beyond, BEFORE, SAME_FLOAT)
    assert (found.check, found.where) == (Check.LAYERS, "conv2")
    assert first_moved(beyond, BEFORE, SAME_FLOAT) == "conv2"


def test_a_better_sqnr_moved_but_is_no_finding() -> None:
    better = _with(1, sqnr_db=40.0)
    assert list(judge_layers(better, BEFORE, SAME_FLOAT)) == []
    assert first_moved(better, BEFORE, SAME_FLOAT) == "conv2"


def test_an_unknown_sqnr_is_not_compared() -> None:
    assert list(judge_layers(_with(1, sqnr_db=None), BEFORE, SAME_FLOAT)) == []
    (found,) = judge_layers(_with(3, output_digest="0" * 16), BEFORE, EXACT)
    assert found.observed.endswith("SQNR unknown")


@ANY
def test_layers_of_one_side_only_are_left_to_their_kinds(allowed: Tolerances) -> None:
    now = (build.layer("extra"), *BEFORE[1:])
    assert _parameters(now, allowed) is None
    assert list(judge_layers(now, BEFORE, allowed)) == []
