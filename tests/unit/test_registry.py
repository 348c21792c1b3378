from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreg.errors import ContractError, UnknownNameError
from qreg.registry import Registry, is_object_path, let_import, module_folders


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
    with pytest.raises(ValueError, match="already registered"):
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with modules at its root, in ``src`` and in a folder of its own."""
    for name in ("pyproject.toml", "at_root.py", "src/in_src.py", "work/here.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"WHERE = {name!r}\n" if path.suffix == ".py" else "")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path
    for name in ("at_root", "in_src", "here"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", ["at_root", "in_src", "here"])
def test_a_users_module_is_found_from_a_folder_of_the_project(
    project: Path, registry: Registry[object], module: str
) -> None:
    assert Path(str(registry.get(f"{module}:WHERE"))).stem == module


def test_a_users_module_does_not_replace_the_standard_librarys(project: Path) -> None:
    let_import(*module_folders(Path.cwd()))
    found = importlib.util.find_spec("statistics")
    assert found is not None
    (project / "src" / "statistics.py").write_text("")
    again = importlib.util.find_spec("statistics")
    assert again is not None
    assert again.origin == found.origin


def test_a_missing_module_is_reported_with_the_folders_that_were_searched(
    project: Path, registry: Registry[object]
) -> None:
    with pytest.raises(ContractError, match="no module named 'elsewhere'") as caught:
        registry.get("elsewhere:net")
    assert all(str(folder) in str(caught.value) for folder in (project / "src", project / "work"))


def test_what_a_users_module_lacks_itself_is_not_blamed_on_its_name(
    project: Path, registry: Registry[object]
) -> None:
    (project / "broken.py").write_text("import no_such_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        registry.get("broken:net")
