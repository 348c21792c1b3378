from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qreg.checks.size import judge_size
from qreg.records.measurement import Role, Size, TensorSize
from qreg.records.verdict import Check, Finding, Outcome
from tests.unit.baselines import build

BEFORE = build.size()


def _found(now: Size, *, same_version: bool = True) -> list[Finding]:
    return list(judge_size(now, BEFORE, same_version=same_version))


def _with_tensor(position: int, **changes: Any) -> Size:
    tensors = list(BEFORE.tensors)
    tensors[position] = replace(tensors[position], **changes)
    return replace(BEFORE, tensors=tuple(tensors))


@pytest.mark.parametrize("same_version", [True, False])
def test_the_same_is_no_finding(same_version: bool) -> None:
    assert _found(build.size(), same_version=same_version) == []


@pytest.mark.parametrize("same_version", [True, False])
@pytest.mark.parametrize(
    ("after", "outcome", "where"),
    [
        (433, Outcome.REGRESSED, "conv2 weight qint8: 432 -> 433"),
        (431, Outcome.IMPROVED, "conv2 weight qint8: 432 -> 431"),
    ],
)
def test_a_byte_of_a_tensor(after: int, outcome: Outcome, where: str, same_version: bool) -> None:
    (found,) = _found(_with_tensor(1, bytes=after), same_version=same_version)
    assert (found.check, found.outcome, found.where) == (Check.SIZE, outcome, where)
    assert found.expected == "4,048 bytes"


def test_a_layer_that_stayed_float_is_named() -> None:
    (found,) = _found(_with_tensor(0, dtype="float32", bytes=1728))
    assert found.outcome is Outcome.REGRESSED
    assert found.where == "conv1 weight float32: 0 -> 1,728; conv1 weight qint8: 432 -> 0"


def test_growing_here_and_shrinking_there_is_no_improvement() -> None:
    tensors = list(BEFORE.tensors)
    tensors[0], tensors[1] = replace(tensors[0], bytes=400), replace(tensors[1], bytes=464)
    (found,) = _found(replace(BEFORE, tensors=tuple(tensors)))
    assert found.outcome is Outcome.REGRESSED


def test_tensors_of_one_layer_and_role_are_added_up() -> None:
    one, *rest = BEFORE.tensors
    halves = (replace(one, bytes=216), replace(one, bytes=216))
    assert _found(replace(BEFORE, tensors=(*halves, *rest)), same_version=False) == []


def test_many_changes_are_counted() -> None:
    (found,) = _found(replace(BEFORE, tensors=()))
    assert found.outcome is Outcome.IMPROVED
    assert found.where.endswith(" and 4 more")


def test_three_changes_are_all_named() -> None:
    (found,) = _found(replace(BEFORE, tensors=BEFORE.tensors[3:-1]))
    assert found.where.endswith(" and 1 more")
    (found,) = _found(replace(BEFORE, tensors=BEFORE.tensors[3:]))
    assert found.where.endswith("; conv3 weight qint8: 432 -> 0")


def test_an_empty_tensor_more_is_seen() -> None:
    empty = TensorSize("", Role.OTHER, "float32", 0, 0)
    (found,) = _found(replace(BEFORE, tensors=(*BEFORE.tensors, empty)))
    assert (found.outcome, found.where) == (Outcome.REGRESSED, "model other float32: 0 -> 0")


@pytest.mark.parametrize(("more", "outcome"), [(64, Outcome.REGRESSED), (-64, Outcome.IMPROVED)])
def test_the_container_counts_under_one_version_only(more: int, outcome: Outcome) -> None:
    now = replace(BEFORE, file_bytes=BEFORE.file_bytes + more)
    (found,) = _found(now)
    assert (found.outcome, found.where) == (outcome, "the file's container")
    assert _found(now, same_version=False) == []


def test_what_the_bytes_do_not_show_is_seen() -> None:
    for now in (_with_tensor(0, elements=108), replace(BEFORE, float_layers=())):
        (found,) = _found(now)
        assert (found.outcome, found.where) == (Outcome.REGRESSED, "order or kinds of the tensors")
