from __future__ import annotations

import pytest

from qreg.check.records import Attempt, CheckReport, InputShape, Level, Outcome, Remark
from qreg.errors import QregError


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3x224x224", InputShape((3, 224, 224))),
        ("128", InputShape((128,))),
        ("ids=128:int64", InputShape((128,), "ids", "int64")),
        ("flag=-:bool", InputShape((), "flag", "bool")),
    ],
)
def test_inputs_are_read_as_they_are_written(text: str, shape: InputShape) -> None:
    assert InputShape.parse(text) == shape
    assert str(shape) == text


@pytest.mark.parametrize("text", ["", "3x", "axb", "ids=", "3x8:complex64", "1=3x8"])
def test_other_inputs_are_refused(text: str) -> None:
    with pytest.raises(QregError) as caught:
        InputShape.parse(text)
    assert "3x224x224" in caught.value.hint


def test_the_exit_status() -> None:
    works, blocked = (
        Attempt("a", Outcome.WORKS),
        Attempt("b", Outcome.BLOCKED, reason="no kernel"),
    )
    note = Remark("fx", Level.NOTE, "it cannot be traced")
    broken = Remark("finite", Level.BROKEN, "NaN")

    def status(contract: tuple[Remark, ...], *attempts: Attempt) -> int:
        return CheckReport("m", "x86", "3x8x8", contract, attempts).status

    assert status((note,), works) == 0
    assert status((note,), works, blocked) == 1
    assert status((broken,), works) == 2
