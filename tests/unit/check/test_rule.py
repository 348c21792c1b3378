from __future__ import annotations

from dataclasses import replace

import pytest

from qreg.check.records import Attempt, AttemptOutcome, ObservedModel, Remark, RemarkLevel
from qreg.check.rule import (
    above_chance,
    contract_remarks,
    listed,
    mixed_scales,
    untried,
    with_what_works,
)

FINE = ObservedModel(outputs=3, classes=3, correct=90, total=100, chance=40)


def _only(seen: ObservedModel) -> Remark:
    (remark,) = contract_remarks(seen)
    return remark


def test_nothing_is_reported_for_a_fine_model() -> None:
    assert contract_remarks(FINE) == ()


@pytest.mark.parametrize(
    ("changes", "check", "level", "text"),
    [
        ({"quantized": ("fc",)}, "quantized", RemarkLevel.BROKEN, "quantized: fc"),
        ({"alone": "it fails"}, "batch of one", RemarkLevel.BROKEN, "it fails"),
        (
            {"shape": (26, 4, 37), "samples": 4, "alone": "(26, 1, 37)"},
            "samples first",
            RemarkLevel.BROKEN,
            "the output of 4 samples has shape (26, 4, 37)",
        ),
        ({"not_finite": "bn"}, "finite", RemarkLevel.BROKEN, "bn outputs NaN"),
        ({"random": "drop"}, "deterministic", RemarkLevel.BROKEN, "first in drop"),
        ({"outputs": 2}, "classes", RemarkLevel.BROKEN, "2 outputs for 3 classes"),
        (
            {"task": "classification", "misfit": "targets are a dict", "fitting": ("a", "b")},
            "task",
            RemarkLevel.BROKEN,
            "task 'classification' cannot score the outputs: targets are a dict",
        ),
        ({"outputs": 9}, "classes", RemarkLevel.WARNING, "9 outputs for 3 classes"),
        ({"neighbours": 0.25}, "batch", RemarkLevel.WARNING, "25.0%"),
        ({"constant": True}, "constant", RemarkLevel.WARNING, "does not depend on the input"),
        ({"correct": 40}, "accuracy", RemarkLevel.WARNING, "40 of 100"),
        ({"repeated": (("relu", 3),)}, "repeated layers", RemarkLevel.NOTE, "relu (3 times)"),
        ({"fx": "a branch"}, "fx", RemarkLevel.NOTE, "torch.fx cannot trace it: a branch"),
        ({"export": "a branch"}, "export", RemarkLevel.NOTE, "torch.export cannot export it"),
    ],
)
def test_each_finding(
    changes: dict[str, object], check: str, level: RemarkLevel, text: str
) -> None:
    found = _only(replace(FINE, **changes))  # type: ignore[arg-type]
    assert (found.check, found.level) == (check, level)
    assert text in found.text
    assert found.advice


def test_the_gravest_comes_first() -> None:
    seen = replace(FINE, repeated=(("relu", 2),), constant=True, alone="no")
    assert [r.level for r in contract_remarks(seen)] == [
        RemarkLevel.BROKEN,
        RemarkLevel.WARNING,
        RemarkLevel.NOTE,
    ]


def test_what_neither_tracer_can_is_no_remark_of_one() -> None:
    assert contract_remarks(replace(FINE, fx="no", export="no")) == ()


@pytest.mark.parametrize(
    ("correct", "total", "chance", "above"),
    [
        (40, 100, 40, False),
        (53, 100, 40, True),  # P(X >= 53), X ~ Bin(100, 0.4): 0.0058
        (51, 100, 40, False),  # 0.0168
        (0, 10, 5, False),
        (10, 10, 10, True),
        (3, 3, 1, False),  # 1 in 27
    ],
)
def test_chance(correct: int, total: int, chance: int, above: bool) -> None:
    assert above_chance(correct, total, chance) is above


def test_scales_that_meet() -> None:
    assert mixed_scales("+", [0.1, 0.2], where="a", own=True) is None
    assert mixed_scales("cat", [0.1, 0.1], where="a", own=False) is None
    assert mixed_scales("cat", [0.1, 0.1004], where="a", own=False) is None
    wide = mixed_scales("+", [0.1, 1.0], where="a", own=True)
    assert wide is not None
    assert (wide.level, wide.where) == (RemarkLevel.NOTE, "a")
    first = mixed_scales("cat", [0.1, 0.2], where="a", own=False)
    assert first is not None
    assert (first.level, "2.0 times" in first.text) == (RemarkLevel.WARNING, True)


def test_advice_names_what_was_found_to_work() -> None:
    blocked = Attempt(
        "static",
        AttemptOutcome.BLOCKED,
        reason="no kernel",
        remedy="change it",
        instead=("fx-static", "pt2e-static"),
    )
    works = Attempt("pt2e-static", AttemptOutcome.WORKS)
    found, same = with_what_works([blocked, works])
    assert found.advice == "change it; or use pt2e-static, which works for this model"
    assert same == works
    (alone,) = with_what_works([blocked])
    text = "change it; or try fx-static or pt2e-static (`qreg check` says which work)"
    assert alone.advice == text


def test_what_is_advised_was_tried() -> None:
    blocked = Attempt(
        "static",
        AttemptOutcome.BLOCKED,
        reason="no kernel",
        remedy="change it",
        instead=("static-auto", "fx-static"),
    )
    assert untried([blocked, Attempt("fx-static", AttemptOutcome.WORKS)]) == ("static-auto",)
    assert untried([Attempt("static", AttemptOutcome.WORKS)]) == ()
    lost = Attempt("fx-static", AttemptOutcome.BLOCKED, reason="no graph")
    (found,) = with_what_works([blocked], [Attempt("static-auto", AttemptOutcome.WORKS), lost])
    assert found.advice == "change it; or use static-auto, which works for this model"
    (found,) = with_what_works([replace(blocked, instead=("fx-static",))], [lost])
    assert found.advice == "change it"


def test_long_lists_are_cut() -> None:
    assert listed(list("abcdef")) == "a, b, c, d and 2 more"
    assert listed(["a"]) == "a"


def test_an_attempt_that_works_has_no_reason() -> None:
    with pytest.raises(ValueError, match="static"):
        Attempt("static", AttemptOutcome.WORKS, reason="why?")
    with pytest.raises(ValueError, match="static"):
        Attempt("static", AttemptOutcome.BLOCKED)


def test_a_label_that_is_no_output_names_no_other_task() -> None:
    seen = ObservedModel(task="sequence", misfit="labels go from -1 to 9", remedy="padding=-1")
    (remark,) = contract_remarks(seen)
    assert (remark.level, remark.advice) == (RemarkLevel.BROKEN, "padding=-1")


def test_floats_that_the_dataset_computes_are_told_of_a_digest() -> None:
    (remark,) = contract_remarks(ObservedModel(computed=True))
    assert (remark.level, "digest(index)" in remark.advice) == (RemarkLevel.NOTE, True)
