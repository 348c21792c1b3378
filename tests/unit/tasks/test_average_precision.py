from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from qreg.stats.permutation import EXACT, permutation
from qreg.tasks.average_precision import IOUS, mean_average_precision

Array = npt.NDArray[np.float64]
Triple = tuple[float, float, float]


def _rows(samples: Sequence[Sequence[Triple]], width: int) -> Array:
    rows = [np.array(triples, dtype=np.float64).reshape(-1) for triples in samples]
    return np.stack([np.pad(r, (0, 3 * width - len(r)), constant_values=np.nan) for r in rows])


def _both(seed: int, count: int, *, classes: int, moved: int) -> tuple[Array, Array]:
    """Two models' rows: the same objects, scores with ties, classes that have no object."""
    rng = np.random.default_rng(seed)
    pairs: list[list[Sequence[Triple]]] = []
    for number in range(count):
        objects = [
            (float(label), 0.0, -float(rng.integers(1, 4)))
            for label in range(classes)
            if rng.random() < 0.5
        ]

        def detected(few: int = int(rng.integers(0, 5))) -> list[Triple]:
            return [
                (
                    float(rng.integers(0, classes + 1)),
                    round(rng.random(), 1),
                    float(rng.integers(0, 2 ** len(IOUS))) * float(rng.integers(0, 2)),
                )
                for _ in range(few)
            ]

        before = [*objects, *detected()]
        pairs.append([[*objects, *detected()] if number < moved else before, before])
    now, before_rows = zip(*pairs, strict=True)
    return _rows(now, classes + 5), _rows(before_rows, classes + 5)


@pytest.mark.parametrize(
    ("count", "classes", "moved"), [(6, 2, 6), (30, 3, EXACT), (40, 1, 25), (18, 4, 16)]
)
def test_many_exchanged_sets_at_once_give_the_same_bits(
    count: int, classes: int, moved: int
) -> None:
    for seed in range(2):
        now, before = _both(seed, count, classes=classes, moved=moved)
        at_once = permutation(now, before, mean_average_precision)
        one_by_one = permutation(now, before, lambda rows: mean_average_precision(rows))
        assert at_once == one_by_one
        assert 0 < at_once.changed <= moved


@pytest.mark.slow
def test_a_clear_fall_draws_the_same_sets_to_the_last() -> None:
    now, before = _both(5, 40, classes=2, moved=40)
    worse = now.reshape(40, -1, 3).copy()
    worse[..., 2] = np.where(worse[..., 2] > 0, 0.0, worse[..., 2])
    now = worse.reshape(40, -1)
    at_once = permutation(now, before, mean_average_precision)
    assert at_once == permutation(now, before, lambda rows: mean_average_precision(rows))
    assert at_once.p_value < 1e-3


def test_models_that_were_given_other_objects_are_exchanged_set_by_set() -> None:
    now, before = _both(1, 12, classes=2, moved=12)
    fewer = np.delete(before.reshape(12, -1, 3), 0, axis=1).reshape(12, -1)
    padded = np.pad(fewer, ((0, 0), (0, 3)), constant_values=np.nan)
    assert mean_average_precision.exchanging(now, padded, np.arange(12)) is None
    found = permutation(now, fewer, mean_average_precision)
    assert found == permutation(now, fewer, lambda rows: mean_average_precision(rows))


def test_sets_without_objects_or_detections() -> None:
    masks = np.array([[True, False], [False, False]])
    nothing = np.full((2, 3), np.nan)
    changes = mean_average_precision.exchanging(nothing, nothing, np.arange(2))
    assert changes is not None
    assert changes(masks).tolist() == [0.0, 0.0]
    objects = _rows([[(0, 0, -1)], [(0, 0, -1)]], 2)
    found = _rows([[(0, 0, -1), (0, 0.5, 1)], [(0, 0, -1)]], 2)
    changes = mean_average_precision.exchanging(found, objects, np.arange(2))
    assert changes is not None
    change = mean_average_precision(found)
    assert change > 0
    assert changes(masks).tolist() == [-change, change]


def test_times_turns_it() -> None:
    now, before = _both(2, 12, classes=2, moved=12)
    turned = mean_average_precision.times(-1.0)
    assert turned(now) == -mean_average_precision(now)
    one, other = (permutation(now, before, of) for of in (mean_average_precision, turned))
    assert one.change == -other.change
