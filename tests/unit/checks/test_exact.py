"""The exact tier sees everything: every field of a snapshot, changed alone, by the least it can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from qreg.records.baseline import Snapshot
from qreg.records.codes import Codes
from qreg.records.model_file import ModelFile
from qreg.records.numerics import Images, Quantizer
from qreg.records.verdict import Basis, Outcome
from tests.unit.baselines import build
from tests.unit.checks import given
from tests.unit.checks.given import EXACT, LOOSE

STATIC = given.snapshot()
FP32 = given.with_numerics(STATIC, reference="", disagreements=())
FEW = build.images(12)
SCORED = given.snapshot(seen=FEW, score=build.score(FEW))
UNLOADABLE = given.with_numerics(STATIC, reloaded="")

# What a baseline is chosen by is not judged.
EXEMPT = ("case", "environment")
# Of a delivered file what it holds and computes is judged; its bytes by themselves are a note.
NOTED = ("sha256", "total_bytes", "producer")
# A record refuses any other count of logits or of right predictions than it holds.
COUNTS = {"correct", "numerics.logits.count", "numerics.logits.classes"}
# Scores are of the images, and 0 or 1 where they say so: one field alone cannot change.
TIED = {"score.index", "score.binary", "numerics.images.index"}
_ONE = Quantizer("per_tensor_affine", "qint8", (0.5,), (0,))
_FILE = ModelFile("ONNX", "0" * 64, 1000, "pytorch 2.14", ("ai.onnx 17",), ("net.data",))
_NOTHING = {"weight": _ONE, "output": _ONE, "sqnr_db": 0.0, "score": build.score(), "file": _FILE}
Change = tuple[str, Any]


def _changes(value: Any, path: str) -> Iterator[Change]:
    """Every least change of a value, with the path of the field that it is in."""
    name = path.rpartition(".")[2]
    if value is None:
        yield path, _NOTHING[name]
    elif is_dataclass(value):
        yield from _of_record(value, path)
        if name in _NOTHING:
            yield path, None
    elif isinstance(value, tuple | Codes):
        yield from _of_tuple(tuple(value), path)
    else:
        yield from ((path, other) for other in _of_leaf(value))


def _of_record(record: Any, path: str) -> Iterator[Change]:
    for field in fields(record):
        if field.name not in (*EXEMPT, *NOTED):
            here = f"{path}.{field.name}".lstrip(".")
            for where, other in _changes(getattr(record, field.name), here):
                yield where, _replaced(record, field.name, other)


def _replaced(record: Any, name: str, other: Any) -> Any:
    """The record with one field changed; a `ValueError` where it refuses."""
    if isinstance(other, ValueError):
        return other
    try:
        if isinstance(record, Snapshot) and name in ("predictions", "numerics"):
            kept = record.numerics if name == "predictions" else other
            seen = other if name == "predictions" else record.predictions
            right = sum(a == b for a, b in zip(seen, kept.images.labels, strict=True))
            return replace(record, **{name: other, "correct": right})
        return replace(record, **{name: other})
    except ValueError as error:
        return error


def _of_tuple(values: tuple[Any, ...], path: str) -> Iterator[Change]:
    for position, value in enumerate(values):
        for where, other in _changes(value, path):
            if isinstance(other, ValueError):
                yield where, other
            else:
                yield where, (*values[:position], other, *values[position + 1 :])
    if values:
        yield path, values[:-1]
    if len(set(values)) > 1:
        yield path, values[::-1]


def _of_leaf(value: Any) -> Iterator[Any]:
    if isinstance(value, Enum):
        yield from (one for one in type(value) if one is not value)
    elif isinstance(value, str):
        yield value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
        if value:
            yield ""
    elif isinstance(value, bytes):
        for bit in range(0, 8 * len(value), 37):  # all bits of a float in turn
            flipped = bytearray(value)
            flipped[bit // 8] ^= 1 << bit % 8
            yield bytes(flipped)
        yield value[:-4]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, Enum):
        yield from (other for other in type(value) if other is not value)
    elif isinstance(value, float):
        yield from (math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
    else:
        assert isinstance(value, int), type(value)
        yield from (value + 1, value - 1)


def _order_is_free(path: str, found: Snapshot, other: Snapshot) -> bool:
    """Two texts, operators or disagreements in another order are the same ones."""
    free = {
        "warnings": lambda one: one.warnings,
        "numerics.operators": lambda one: one.numerics.operators,
        "numerics.disagreements": lambda one: one.numerics.disagreements,
    }
    return path in free and set(free[path](found)) == set(free[path](other))


@pytest.mark.parametrize(
    "found", [STATIC, FP32, UNLOADABLE, SCORED], ids=["static", "fp32", "unloadable", "scored"]
)
def test_any_single_change_is_seen(found: Snapshot) -> None:
    passed, judged = set(), set()
    for path, other in _changes(found, ""):
        if isinstance(other, ValueError) or _order_is_free(path, found, other):
            continue
        judged.add(path)
        if given.verdict(other, found, EXACT).outcome is Outcome.PASS:
            passed.add(path)
    assert not passed
    assert judged >= _all_fields(found, "") - COUNTS - (TIED if found.score else set())


def _all_fields(value: Any, path: str) -> set[str]:
    """The paths of all fields that hold something, by another walk."""
    if is_dataclass(value):
        named = ((f.name, getattr(value, f.name)) for f in fields(value) if f.name not in EXEMPT)
        return set().union(*(_all_fields(v, f"{path}.{n}".lstrip(".")) for n, v in named))
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return set().union(*(_all_fields(one, path) for one in value))
    return set() if value in ((), None) else {path}


def test_the_exemptions_are_fields() -> None:
    assert set(EXEMPT) < {field.name for field in fields(Snapshot)}


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Two snapshots of the same images, often equal in much."""
    seen = build.images(draw(st.integers(1, 60)), seed=draw(st.integers(0, 3)))
    return draw(_snapshots(seen)), draw(_snapshots(seen))


@st.composite
def _snapshots(draw: st.DrawFn, seen: Images) -> Snapshot:
    found = build.snapshot(
        seen=seen,
        wrong=draw(st.integers(0, len(seen.index))),
        layers=draw(st.integers(0, 4)),
        channels=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 3)),
        warnings=tuple(sorted(draw(st.sets(st.sampled_from("abc"))))),
    )
    kept = draw(st.sampled_from(["", "other", found.numerics.single]))
    reference = draw(st.sampled_from(["", "other", found.numerics.logits.digest]))
    return given.with_numerics(found, reloaded=kept, reference=reference)


@hypothesis_given(_pairs(), st.sampled_from([EXACT, LOOSE]))
def test_equal_snapshots_always_pass(pair: tuple[Snapshot, Snapshot], basis: Basis) -> None:
    verdict = given.verdict(pair[0], pair[0], basis)
    assert verdict.outcome is Outcome.PASS
    assert (verdict.findings, verdict.moved, verdict.notes) == ((), (), ())
    assert verdict.basis is basis


@hypothesis_given(_pairs())
def test_exactly_only_equal_snapshots_pass(pair: tuple[Snapshot, Snapshot]) -> None:
    assert (given.verdict(*pair).outcome is Outcome.PASS) == (pair[0] == pair[1])
