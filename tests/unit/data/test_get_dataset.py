from __future__ import annotations

import pytest

from qreg.data import get_dataset
from qreg.errors import ContractError, DataError, UnknownNameError


@pytest.mark.parametrize("name", ["nothing.npz", "no/such/folder"])
def test_nothing_there(name: str) -> None:
    with pytest.raises(DataError, match="no dataset at"):
        get_dataset(name)


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_dataset("cifar")
    assert "did you mean 'cifar10'" in caught.value.hint


@pytest.mark.parametrize("name", ["json:dumps", "os:sep", "math:pi"])
def test_an_object_that_is_no_dataset(name: str) -> None:
    with pytest.raises(ContractError, match="dataset"):
        get_dataset(name)
