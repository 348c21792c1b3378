from __future__ import annotations

import pytest

from qreg.records.weights import Weights, WeightsSource, parse_weights

ONE, OTHER = "1" * 64, "2" * 64


@pytest.mark.parametrize("text", ["", ONE, f"factory:{ONE}", f"file:{ONE}", f"random:{ONE}"])
def test_what_a_baseline_says_of_weights_is_read_as_it_was_written(text: str) -> None:
    assert parse_weights(text).text == text


@pytest.mark.parametrize("text", ["x", "factory:", f"factory:{ONE}1", f"nobody:{ONE}", f":{ONE}"])
def test_what_are_no_weights_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sha256|WeightsSource"):
        parse_weights(text)


def test_where_they_are_from_and_which_they_are() -> None:
    assert str(Weights(WeightsSource.FACTORY, ONE)) == f"factory, sha256 {ONE[:16]}"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (ONE, ONE, True),
        (ONE, OTHER, False),
        (f"factory:{ONE}", f"factory:{OTHER}", False),
        (f"factory:{ONE}", f"random:{ONE}", True),
        (f"factory:{ONE}", ONE, True),
        ("", f"factory:{ONE}", True),
        ("", ONE, False),
    ],
)
def test_which_are_the_same(first: str, second: str, same: bool) -> None:
    assert parse_weights(first).same(parse_weights(second)) is same
    assert parse_weights(second).same(parse_weights(first)) is same
