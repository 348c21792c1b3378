from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from qreg.compare.layers import first_moved, judge_layers, judge_parameters
from qreg.compare.tolerances import SCALE, SQNR_DB
from qreg.judgements import Check, Finding, Outcome
from qreg.numerics import Layer, Quantizer
from tests.unit.baselines import build

BEFORE = build.snapshot().numerics.layers
BOTH = pytest.mark.parametrize("exact", [True, False])


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


def _parameters(now: tuple[Layer, ...], *, exact: bool) -> Finding | None:
    found = list(judge_parameters(now, BEFORE, exact=exact))
    assert len(found) <= 1
    return found[0] if found else None


def _where(now: tuple[Layer, ...], *, exact: bool) -> str:
    found = _parameters(now, exact=exact)
    assert found is not None
    assert (found.check, found.outcome) == (Check.PARAMETERS, Outcome.REGRESSED)
    assert first_moved(now, BEFORE, exact=exact) == found.where.partition(":")[0]
    return found.where


@BOTH
def test_the_same_is_no_finding(exact: bool) -> None:
    assert _parameters(BEFORE, exact=exact) is None
    assert list(judge_layers(BEFORE, BEFORE, exact=exact)) == []
    assert first_moved(BEFORE, BEFORE, exact=exact) == ""


def test_exactly_a_scale_counts_to_its_last_bit() -> None:
    scales = _weight().scales
    up = _weight(scales=(*scales[:3], math.nextafter(scales[3], 1)))
    assert _where(_with(1, weight=up), exact=True) == "conv2: weight of channel 3"
    assert _parameters(_with(1, weight=up), exact=False) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_elsewhere_a_scale_has_its_tolerance(sign: int) -> None:
    within, beyond = _scaled(1 + sign * 0.99 * SCALE), _scaled(1 + sign * 1.01 * SCALE)
    other_codes = {"weight_digest": "0" * 16, "bias_digest": "0" * 16}
    assert _parameters(_with(1, weight=within, **other_codes), exact=False) is None
    assert _where(_with(1, weight=beyond), exact=False) == "conv2: weight of channel 2"


@BOTH
@pytest.mark.parametrize("factor", [-1.0, 0.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_never_within(factor: float, exact: bool) -> None:
    assert _where(_with(1, weight=_scaled(factor)), exact=exact) == "conv2: weight of channel 2"


def test_scales_of_zero_on_both_sides_are_equal() -> None:
    before = _with(1, weight=_scaled(0.0))
    scales = list(_scaled(0.0).scales)
    scales[0] *= 1 + SCALE / 2
    now = _with(1, weight=_weight(scales=tuple(scales)))
    assert list(judge_parameters(now, before, exact=False)) == []


@BOTH
@pytest.mark.parametrize("step", [1, -1])
def test_a_zero_point_moves_nowhere(step: int, exact: bool) -> None:
    output = BEFORE[2].output
    assert output is not None
    now = _with(2, output=replace(output, zero_points=(64 + step,)))
    found = _parameters(now, exact=exact)
    assert found is not None
    assert (found.where, found.expected) == (
        "conv3: output",
        "scale 0.0123456789, zero point 64",
    )
    assert found.observed == f"scale 0.0123456789, zero point {64 + step}"


@BOTH
@pytest.mark.parametrize(
    ("changes", "observed"),
    [
        ({"weight": None}, "float"),
        ({"weight": _weight(dtype="quint8")}, "per_channel_affine quint8"),
        ({"weight": _weight(qscheme="per_tensor_affine")}, "per_tensor_affine qint8"),
        ({"output": None}, "float"),
    ],
)
def test_another_scheme_is_named(changes: dict[str, Any], observed: str, exact: bool) -> None:
    found = _parameters(_with(1, **changes), exact=exact)
    assert found is not None
    assert found.observed == observed
    back = next(judge_parameters(BEFORE, _with(1, **changes), exact=exact))
    assert back.expected == observed


@BOTH
def test_other_numbers_of_channels(exact: bool) -> None:
    less = _weight(scales=_weight().scales[:2], zero_points=(0, 0))
    assert _where(_with(1, weight=less), exact=exact) == "conv2: weight"


@BOTH
@pytest.mark.parametrize(
    ("field", "what"), [("weight_digest", "weight values"), ("bias_digest", "bias")]
)
def test_stored_values_are_equal_where_scales_are(field: str, what: str, exact: bool) -> None:
    found = _parameters(_with(0, **{field: ""}), exact=exact)
    assert found is not None
    assert (found.where, found.observed) == (f"conv1: {what}", "none")


def test_float_weights_are_compared_exactly_only() -> None:
    now = _with(3, weight_digest="0" * 16)
    assert _where(now, exact=True) == "fc: weight values"
    assert _parameters(now, exact=False) is None


@BOTH
def test_the_first_layer_is_named_and_the_others_counted(exact: bool) -> None:
    now = tuple(replace(layer, bias_digest="0" * 16) for layer in BEFORE)
    count = 4 if exact else 3
    assert _where(now, exact=exact) == f"conv1: bias, the first of {count}"


def test_exactly_an_output_counts_in_every_bit() -> None:
    now = _with(1, output_digest="0" * 16)
    (found,) = judge_layers(now, BEFORE, exact=True)
    assert (found.check, found.outcome, found.where) == (Check.LAYERS, Outcome.REGRESSED, "conv2")
    assert found.observed == "output 0000000000000000, SQNR 31.25 dB"
    assert first_moved(now, BEFORE, exact=True) == "conv2"
    assert list(judge_layers(now, BEFORE, exact=False)) == []
    assert first_moved(now, BEFORE, exact=False) == ""


def test_elsewhere_the_sqnr_has_its_tolerance() -> None:
    within, beyond = _with(1, sqnr_db=31.25 - SQNR_DB), _with(1, sqnr_db=31.24 - SQNR_DB)
    assert list(judge_layers(within, BEFORE, exact=False)) == []
    (found,) = judge_layers(beyond, BEFORE, exact=False)
    assert (found.check, found.where) == (Check.LAYERS, "conv2")
    assert first_moved(beyond, BEFORE, exact=False) == "conv2"


def test_a_better_sqnr_moved_but_is_no_finding() -> None:
    better = _with(1, sqnr_db=40.0)
    assert list(judge_layers(better, BEFORE, exact=False)) == []
    assert first_moved(better, BEFORE, exact=False) == "conv2"


def test_an_unknown_sqnr_is_not_compared() -> None:
    assert list(judge_layers(_with(1, sqnr_db=None), BEFORE, exact=False)) == []
    (found,) = judge_layers(_with(3, output_digest="0" * 16), BEFORE, exact=True)
    assert found.observed.endswith("SQNR unknown")


@BOTH
def test_layers_of_one_side_only_are_left_to_their_kinds(exact: bool) -> None:
    now = (build.layer("extra"), *BEFORE[1:])
    assert _parameters(now, exact=exact) is None
    assert list(judge_layers(now, BEFORE, exact=exact)) == []
