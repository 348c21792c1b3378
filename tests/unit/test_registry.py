from __future__ import annotations

import pytest

from qreg.errors import ContractError, UnknownNameError
from qreg.registry import Registry, is_object_path


@pytest.fixture
def registry() -> Registry[object]:
    made: Registry[object] = Registry("thing")
    made.register("simple", "json:dumps")
    made.register("other", "json:loads")
    return made


def test_names_are_listed_in_order_without_importing(registry: Registry[object]) -> None:
    registry.register("missing", "no_such_package.module:thing")
    assert registry.names() == ("simple", "other", "missing")


def test_get_imports_what_the_name_stands_for(registry: Registry[object]) -> None:
    import json

    assert registry.get("simple") is json.dumps
    assert registry.get("json:JSONDecoder") is json.JSONDecoder


def test_a_name_cannot_be_taken_twice(registry: Registry[object]) -> None:
    with pytest.raises(ValueError, match="registered already"):
        registry.register("simple", "json:dumps")


def test_a_path_must_name_module_and_object(registry: Registry[object]) -> None:
    with pytest.raises(ValueError, match=r"not package\.module:object"):
        registry.register("third", "json.dumps")


def test_an_unknown_name_lists_the_choices_and_the_nearest(registry: Registry[object]) -> None:
    with pytest.raises(UnknownNameError, match="unknown thing 'simpel'") as caught:
        registry.get("simpel")
    assert caught.value.hint == "did you mean 'simple'? choices: other, simple"


def test_a_name_near_to_nothing_gets_no_guess(registry: Registry[object]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry.check("zzz")
    assert "did you mean" not in caught.value.hint


@pytest.mark.parametrize("path", ["no_such_module:x", "json.no_such:x", "json:no_such"])
def test_an_object_path_to_nothing_is_a_contract_error(
    registry: Registry[object], path: str
) -> None:
    with pytest.raises(ContractError, match=r"no module named|has no"):
        registry.get(path)


@pytest.mark.parametrize(
    ("text", "expected"), [("a:b", True), ("a.b:c", True), ("a", False), (":b", False)]
)
def test_is_object_path(text: str, expected: bool) -> None:
    assert is_object_path(text) is expected
