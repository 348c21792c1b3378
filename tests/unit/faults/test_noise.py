from __future__ import annotations

import math
from dataclasses import replace

from qreg.faults.noise import EnvironmentNoise, noise
from tests.unit.baselines import build

BEFORE = build.snapshot()


def test_a_measurement_lies_at_no_distance_from_itself() -> None:
    assert noise(BEFORE, BEFORE) == EnvironmentNoise()


def test_the_largest_difference_of_any_layer_counts() -> None:
    layers = list(BEFORE.numerics.layers)
    which = next(n for n, x in enumerate(layers) if x.output and x.sqnr_db is not None)
    there = layers[which]
    assert there.output
    assert there.sqnr_db is not None
    output = replace(
        there.output,
        scales=tuple(1.5 * scale for scale in there.output.scales),
        zero_points=tuple(zero + 2 for zero in there.output.zero_points),
    )
    layers[which] = replace(there, output=output, sqnr_db=there.sqnr_db - 1.25)
    now = replace(BEFORE, numerics=replace(BEFORE.numerics, layers=tuple(layers)))
    found = noise(now, BEFORE)
    assert (found.sqnr_fall_db, found.zero_point) == (1.25, 2)
    assert math.isclose(found.scale, 0.5)
    assert noise(BEFORE, now).sqnr_fall_db == 0.0


def test_the_worst_of_two_is_the_worst_in_everything() -> None:
    one = EnvironmentNoise(sqnr_fall_db=1.0, logits_closer_db=20.0, flips=3)
    other = EnvironmentNoise(
        logits_closer_db=12.0, float_logits_db=90.0, scale=0.1, zero_point=1, flips=2
    )
    assert one.worst(other) == EnvironmentNoise(1.0, 12.0, 90.0, 0.1, 1, 3)
