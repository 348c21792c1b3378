"""[tool.qreg]: what it says is taken, what it should not say is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.errors import QregError, UnknownNameError
from qreg.quantization import DEFAULT_METHODS
from qreg.settings import read_settings


def write(folder: Path, table: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(table)
    return path


def test_without_a_file_or_a_table_there_are_none(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "pyproject.toml") is None
    assert read_settings(write(tmp_path, "[project]\nname = 'x'\n")) is None


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    found = read_settings(write(tmp_path, "[tool.qreg]\nmodels = ['simple_cnn']\n"))
    assert found is not None
    assert (found.datasets, found.methods, found.engines) == (
        ("shapes10",),
        DEFAULT_METHODS,
        (),
    )
    assert found.baselines == tmp_path.resolve() / "baselines"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    table = "[tool.qreg]\nmodels = ['simple_cnn']\nbaselines = 'approved'\ndata-dir = '/data'\n"
    found = read_settings(write(tmp_path, table))
    assert found is not None
    assert found.baselines == tmp_path.resolve() / "approved"
    assert found.data_dir == Path("/data")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("methods = ['static']", "names no models"),
        ("models = 'simple_cnn'", "models = 'simple_cnn'"),
        ("models = []", r"models = \[\]"),
        ("models = [1]", r"models = \[1\]"),
        ("models = ['a']\nbaselines = 3", "baselines = 3"),
        ("models = [", "pyproject.toml"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(QregError, match=says) as caught:
        read_settings(write(tmp_path, f"[tool.qreg]\n{table}\n"))
    assert caught.value.hint


def test_a_misspelt_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="metods") as caught:
        read_settings(write(tmp_path, "[tool.qreg]\nmodels = ['a']\nmetods = ['static']\n"))
    assert "did you mean 'methods'" in caught.value.hint
