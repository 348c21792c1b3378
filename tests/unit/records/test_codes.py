"""Codes: equal to a tuple of the same numbers in everything, and a byte each where they fit."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreg.records.codes import Codes, as_codes

NUMBERS = st.lists(st.integers(0, 255) | st.integers(-(2**63), 2**63 - 1)).map(tuple)


@given(NUMBERS, NUMBERS, st.slices(8))
def test_they_are_the_tuple(numbers: tuple[int, ...], others: tuple[int, ...], part: slice) -> None:
    codes = Codes(numbers)
    assert codes == numbers
    assert numbers == codes
    assert tuple(codes) == numbers
    assert len(codes) == len(numbers)
    assert hash(codes) == hash(numbers)
    assert codes[part] == numbers[part]
    assert [codes[at] for at in range(-len(codes), len(codes))] == [*numbers, *numbers]
    assert (codes == Codes(others)) == (codes == others) == (numbers == others)
    assert pickle.loads(pickle.dumps(codes)) == codes
    assert eval(repr(codes)) == codes


@pytest.mark.parametrize("numbers", [(), (0,), (0, 255, 7)])
def test_what_fits_is_a_byte_each(numbers: tuple[int, ...]) -> None:
    assert bytes(Codes(numbers)) == bytes(numbers)
    assert Codes(bytes(numbers)) == numbers


@pytest.mark.parametrize("numbers", [(-1,), (256,), (3, 2**40)])
def test_what_does_not_fit_is_no_bytes(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="range"):
        bytes(Codes(numbers))


def test_codes_are_not_made_twice() -> None:
    codes = Codes((1, 2))
    assert as_codes(codes) is codes
    assert as_codes([1, 2]) == codes


def test_they_do_not_change() -> None:
    with pytest.raises(TypeError):
        Codes((1, 2))[0] = 3  # type: ignore[index]
    assert Codes((1, 2)) != [1, 2]
