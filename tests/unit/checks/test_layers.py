from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from qreg.checks.layers import first_moved, judge_layers, judge_parameters
from qreg.checks.tolerances import EXACT, OTHER_FLOAT, SAME_FLOAT, STORED_SCALE, Tolerances
from qreg.records.numerics import Layer, Quantizer
from qreg.records.verdict import Check, Finding, Outcome
from tests.unit.baselines import build

BEFORE = build.snapshot().numerics.layers
TIERS = {"exact": EXACT, "same": SAME_FLOAT, "other": OTHER_FLOAT}
ANY = pytest.mark.parametrize("allowed", TIERS.values(), ids=TIERS)
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


def _quantizer() -> Quantizer:
    output = BEFORE[2].output
    assert output is not None
    return output


def _output(**changes: Any) -> tuple[Layer, ...]:
    return _with(2, output=replace(_quantizer(), **changes))


@LOOSE
@pytest.mark.parametrize("sign", [1, -1])
def test_elsewhere_scales_have_their_tolerance(sign: int, allowed: Tolerances) -> None:
    step = sign * STORED_SCALE
    other_codes = {"weight_digest": "0" * 16, "bias_digest": "0" * 16}
    within = _with(1, weight=_scaled(1 + 0.99 * step), **other_codes)
    assert _parameters(within, allowed) is None
    beyond = _with(1, weight=_scaled(1 + 1.01 * step))
    assert _where(beyond, allowed) == "conv2: weight of channel 2"
    (scale,) = _quantizer().scales
    assert (
        _parameters(_output(scales=(scale * (1 + 0.99 * sign * allowed.scale),)), allowed) is None
    )
    beyond = _output(scales=(scale * (1 + 1.01 * sign * allowed.scale),))
    assert _where(beyond, allowed) == "conv3: output"


@LOOSE
@pytest.mark.parametrize("sign", [1, -1])
def test_elsewhere_only_observed_zero_points_may_move(sign: int, allowed: Tolerances) -> None:
    within = _output(zero_points=(64 + sign * allowed.zero_point,))
    assert _parameters(within, allowed) is None
    found = _parameters(_output(zero_points=(64 + sign * (allowed.zero_point + 1),)), allowed)
    assert found is not None
    assert found.where == "conv3: output"
    assert found.expected == "scale 0.0123456789, zero point 64"
    weight = _weight(zero_points=(0, 0, sign, 0))
    assert _where(_with(1, weight=weight), allowed) == "conv2: weight of channel 2"


def test_exactly_no_zero_point_moves() -> None:
    assert _where(_output(zero_points=(65,)), EXACT) == "conv3: output"


@ANY
def test_what_is_allowed_is_reported(allowed: Tolerances) -> None:
    found = _parameters(_output(zero_points=(99,)), allowed)
    assert found is not None
    figures = {
        EXACT: [],
        SAME_FLOAT: ["1e-06", "1e-06", "0"],
        OTHER_FLOAT: ["1e-06", "0.09", "4"],
    }
    assert re.findall(r"within ([\d.e-]*\d)", found.allowed) == figures[allowed]
    assert (found.allowed == "equal") == allowed.exact


@ANY
@pytest.mark.parametrize("factor", [-1.0, 0.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_never_within(factor: float, allowed: Tolerances) -> None:
    assert _where(_with(1, weight=_scaled(factor)), allowed) == "conv2: weight of channel 2"


def test_scales_of_zero_on_both_sides_are_equal() -> None:
    before = _with(1, weight=_scaled(0.0))
    scales = list(_scaled(0.0).scales)
    scales[0] *= 1 + STORED_SCALE / 2
    now = _with(1, weight=_weight(scales=tuple(scales)))
    assert list(judge_parameters(now, before, SAME_FLOAT)) == []


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
def test_another_scheme_is_named(
    changes: dict[str, Any], observed: str, allowed: Tolerances
) -> None:
    found = _parameters(_with(1, **changes), allowed)
    assert found is not None
    assert found.observed == observed
    back = next(judge_parameters(BEFORE, _with(1, **changes), allowed))
    assert back.expected == observed


@ANY
def test_other_numbers_of_channels(allowed: Tolerances) -> None:
    less = _weight(scales=_weight().scales[:2], zero_points=(0, 0))
    found = _parameters(_with(1, weight=less), allowed)
    assert found is not None
    assert (found.where, found.expected) == ("conv2: weight", "4 channels")


@ANY
@pytest.mark.parametrize(
    ("field", "what"), [("weight_digest", "weight values"), ("bias_digest", "bias")]
)
def test_stored_values_are_equal_where_scales_are(
    field: str, what: str, allowed: Tolerances
) -> None:
    found = _parameters(_with(0, **{field: ""}), allowed)
    assert found is not None
    assert (found.where, found.observed) == (f"conv1: {what}", "none")
    assert found.expected == getattr(BEFORE[0], field)


def test_float_weights_are_compared_exactly_only() -> None:
    now = _with(3, weight_digest="0" * 16)
    assert _where(now, EXACT) == "fc: weight values"
    assert _parameters(now, SAME_FLOAT) is None


@ANY
def test_the_first_layer_is_named_and_the_others_counted(allowed: Tolerances) -> None:
    now = tuple(replace(layer, bias_digest="0" * 16) for layer in BEFORE)
    count = 4 if allowed.exact else 3
    assert _where(now, allowed) == f"conv1: bias, the first of {count}"


def test_exactly_an_output_counts_in_every_bit() -> None:
    now = _with(1, output_digest="0" * 16)
    (found,) = judge_layers(now, BEFORE, EXACT)
    assert (found.check, found.outcome, found.where) == (Check.LAYERS, Outcome.REGRESSED, "conv2")
    assert found.observed == "output 0000000000000000, SQNR 31.25 dB"
    assert first_moved(now, BEFORE, EXACT) == "conv2"


@pytest.mark.parametrize("sqnr", [31.2501, 31.2499, 40.0, None])
def test_exactly_a_moved_sqnr_is_never_an_improvement(sqnr: float | None) -> None:
    (found,) = judge_layers(_with(1, sqnr_db=sqnr), BEFORE, EXACT)
    assert (found.outcome, found.where) == (Outcome.REGRESSED, "conv2")
    assert first_moved(_with(1, sqnr_db=sqnr), BEFORE, EXACT) == "conv2"


@LOOSE
def test_elsewhere_bits_do_not_count_and_the_sqnr_has_its_tolerance(allowed: Tolerances) -> None:
    room = allowed.sqnr_db
    for within in (
        _with(1, output_digest="0" * 16),
        _with(1, sqnr_db=31.25 - room + 0.01),
        _with(1, sqnr_db=31.25 + room - 0.01),
        _with(1, sqnr_db=None),
    ):
        assert list(judge_layers(within, BEFORE, allowed)) == []
        assert first_moved(within, BEFORE, allowed) == ""
    beyond = _with(1, sqnr_db=31.25 - room - 0.01)
    (found,) = judge_layers(beyond, BEFORE, allowed)
    assert (found.check, found.outcome, found.where) == (Check.LAYERS, Outcome.REGRESSED, "conv2")
    assert found.expected == "SQNR 31.25 dB"
    assert first_moved(beyond, BEFORE, allowed) == "conv2"


@LOOSE
def test_a_better_sqnr_improves_and_hides_no_worse_one(allowed: Tolerances) -> None:
    better = _with(0, sqnr_db=40.0)
    (found,) = judge_layers(better, BEFORE, allowed)
    assert (found.outcome, found.where) == (Outcome.IMPROVED, "conv1")
    mixed = (*better[:2], replace(better[2], sqnr_db=20.0), *better[3:])
    (found,) = judge_layers(mixed, BEFORE, allowed)
    assert (found.outcome, found.where) == (Outcome.REGRESSED, "conv3")
    assert first_moved(mixed, BEFORE, allowed) == "conv1"


@ANY
def test_layers_of_one_side_only_are_left_to_their_kinds(allowed: Tolerances) -> None:
    now = (build.layer("extra"), *BEFORE[1:])
    assert _parameters(now, allowed) is None
    assert list(judge_layers(now, BEFORE, allowed)) == []
