from __future__ import annotations

from dataclasses import replace

import pytest

from qreg.checks.tolerances import EXACT, OTHER_FLOAT, SAME_FLOAT, Tolerances, tolerances
from qreg.records.baseline import Snapshot
from tests.unit.baselines import build
from tests.unit.checks import given
from tests.unit.checks.given import NEWER

BEFORE = given.snapshot()
AVX2 = replace(build.ENVIRONMENT, cpu_capability="AVX2")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (replace(BEFORE, environment=NEWER), SAME_FLOAT),
        (given.with_numerics(BEFORE, reference="other"), OTHER_FLOAT),
        (replace(BEFORE, environment=AVX2), OTHER_FLOAT),
        (replace(given.with_numerics(BEFORE, reference=""), calibration=(1,)), OTHER_FLOAT),
    ],
)
def test_how_much_room_there_is_follows_from_what_differs(
    now: Snapshot, expected: Tolerances
) -> None:
    assert tolerances(now, BEFORE, given.LOOSE) is expected
    assert tolerances(BEFORE, now, given.LOOSE) is expected
    assert tolerances(now, BEFORE, given.EXACT) is EXACT
    nothing_observed = replace(now, calibration=()), replace(BEFORE, calibration=())
    assert tolerances(*nothing_observed, given.LOOSE) is SAME_FLOAT
