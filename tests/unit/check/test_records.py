from __future__ import annotations

import pytest

from qreg.check.records import Attempt, AttemptOutcome, CheckReport, InputShape, Remark, RemarkLevel
from qreg.errors import QregError


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3x224x224", InputShape((3, 224, 224))),
        ("128", InputShape((128,))),
        ("ids=128:int64", InputShape((128,), "ids", "int64")),
        ("flag=-:bool", InputShape((), "flag", "bool")),
        ("ids=128:int64:0..30000", InputShape((128,), "ids", "int64", 0, 30000)),
        ("3x8x8:-1..0.5", InputShape((3, 8, 8), low=-1.0, high=0.5)),
    ],
)
def test_inputs_are_read_as_they_are_written(text: str, shape: InputShape) -> None:
    assert InputShape.parse(text) == shape
    assert str(shape) == text


def test_a_range_is_also_read_with_a_dash() -> None:
    assert InputShape.parse("128:int64:0-30000") == InputShape.parse("128:int64:0..30000")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8:int64:9..0", "the smaller first"),
        ("8:uint8:0..256", "integers of uint8"),
        ("8:int64:0..0.5", "integers of int64"),
        ("8:bool:0..1", "bools are all true"),
    ],
)
def test_ranges_that_are_none_are_refused(text: str, hint: str) -> None:
    with pytest.raises(QregError) as caught:
        InputShape.parse(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "3x", "8:int64:0..", "8:int64:a..b", "axb", "ids=", "3x8:complex64", "1=3x8"]
)
def test_other_inputs_are_refused(text: str) -> None:
    with pytest.raises(QregError) as caught:
        InputShape.parse(text)
    assert "3x224x224" in caught.value.hint


def test_the_exit_status() -> None:
    works, blocked = (
        Attempt("a", AttemptOutcome.WORKS),
        Attempt("b", AttemptOutcome.BLOCKED, reason="no kernel"),
    )
    note = Remark("fx", RemarkLevel.NOTE, "it cannot be traced")
    broken = Remark("finite", RemarkLevel.BROKEN, "NaN")

    def status(contract: tuple[Remark, ...], *attempts: Attempt) -> int:
        return CheckReport("m", "x86", "3x8x8", contract, attempts).status

    assert status((note,), works) == 0
    assert status((note,), works, blocked) == 1
    assert status((broken,), works) == 2
