from __future__ import annotations

import dataclasses

import pytest

from qreg.records import case as records
from qreg.records import measurement as observations
from qreg.records.case import Case
from qreg.records.measurement import Accuracy, Agreement, Flip


def _accuracy(**changes: object) -> Accuracy:
    fields: dict[str, object] = {
        "correct": 1,
        "total": 2,
        "low": 0.1,
        "high": 0.9,
        "classes": (),
        "index": (0, 1),
        "predictions": (3, 3),
    }
    return Accuracy(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_case_reads_as_the_name_of_its_file() -> None:
    assert str(Case("shapes10", "simple_cnn", "static", "x86")) == "shapes10/simple_cnn/static@x86"


@pytest.mark.parametrize(
    "changes", [{"correct": 3}, {"correct": -1}, {"total": 0}, {"index": (0,)}]
)
def test_an_impossible_accuracy_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"correct of|predictions for"):
        _accuracy(**changes)


def test_share() -> None:
    assert _accuracy().share == 0.5


def test_flips_are_counted_by_what_they_did_to_accuracy() -> None:
    flips = (Flip(0, 1, 1, 2), Flip(1, 1, 2, 1), Flip(2, 1, 2, 3), Flip(3, 0, 0, 1))
    found = Agreement("fp32", 0.0, 0.0, 0.0, 1.0, 0.1, flips)
    assert (found.lost, found.won) == (2, 1)


def test_every_record_is_frozen_and_of_immutable_parts() -> None:
    named = {**vars(records), **vars(observations)}.values()
    made = [record for record in named if dataclasses.is_dataclass(record)]
    assert len(made) >= 10
    for record in made:
        assert record.__dataclass_params__.frozen, record
        types = [field.type for field in dataclasses.fields(record)]
        assert not any("list" in t or "dict" in t for t in types), record
