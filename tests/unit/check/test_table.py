from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qreg.check.table import factories, table_text, with_table
from qreg.errors import QregError
from qreg.settings import read_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = table_text("nets:tiny", "good.npz", ("fp32", "dynamic"))


def test_what_is_written_is_what_the_gate_reads(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    assert (settings.models, settings.methods) == (("nets:tiny",), ("fp32", "dynamic"))
    assert settings.datasets == ("good.npz",)


def test_a_file_of_weights_is_part_of_the_models_definition(tmp_path: Path) -> None:
    text = table_text("nets:tiny", "good.npz", ("fp32",), weights=Path("w.pt"))
    (tmp_path / "pyproject.toml").write_text(text)
    settings = read_settings(tmp_path / "pyproject.toml")
    assert settings is not None
    assert settings.models == ("nets:tiny",)
    assert [one.weights for one in settings.definitions] == [tmp_path / "w.pt"]


def test_the_rest_of_the_file_stays_as_it_is() -> None:
    before = '[project]\nname = "x"  # mine\n'
    after = with_table(before, TABLE, force=False, path="pyproject.toml")
    assert after.startswith(before)
    assert after.endswith(TABLE)


def test_a_table_that_is_there_is_replaced_only_by_force() -> None:
    before = (
        '[tool.qreg]\nmodels = [\n  "a:b",\n]\n\n[tool.qreg.data.mine]\npath = "x"\n\n'
        "[tool.ruff]  # kept\nline-length = 90\n[[tool.x]]\na = 1\n"
    )
    with pytest.raises(QregError, match=r"has a table \[tool.qreg\]"):
        with_table(before, TABLE, force=False, path="pyproject.toml")
    after = with_table(before, TABLE, force=True, path="pyproject.toml")
    found = tomllib.loads(after)["tool"]
    assert found["qreg"]["models"] == ["nets:tiny"]
    assert found["ruff"] == {"line-length": 90}
    assert "# kept" in after
    assert "data" not in found["qreg"]


@pytest.mark.parametrize("before", ["[tool\nqreg", 'tool.qreg.models = ["a:b"]\n'])
def test_what_cannot_be_replaced_is_refused(before: str) -> None:
    with pytest.raises(QregError):
        with_table(before, TABLE, force=True, path="pyproject.toml")


def test_factories_are_found_without_importing(tmp_path: Path) -> None:
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "nets.py").write_text(
        "raise SystemExit\n"
        "def tiny(): return nn.Sequential()\n"
        "def said() -> nn.Module: ...\n"
        "def helper(): return 1\n"
        "def needs(width) -> nn.Module: ...\n"
        "class Net(nn.Module):\n    def __init__(self, width=3): ...\n"
        "class Block(nn.Module):\n    def __init__(self, width): ...\n"
    )
    (tmp_path / "src" / "pkg" / "deep.py").write_text("class Net(Module): ...\n")
    (tmp_path / "test_nets.py").write_text("class Net(Module): ...\n")
    (tmp_path / "broken.py").write_text("class Net(\n")
    (tmp_path / "zoo.py").write_text(
        "class Own(nn.Module): ...\n"
        "class Other(nn.Module): ...\n"
        "def own():\n    net = Own()\n    net.load()\n    return net\n"
        "def train():\n    Other()\n"
    )
    assert factories(tmp_path) == (
        "nets:tiny",
        "nets:said",
        "nets:Net",
        "zoo:own",
        "zoo:Other",
        "pkg.deep:Net",
    )


def test_a_table_that_cannot_be_cut_out_is_left_alone() -> None:
    before = f'[a]\nb = """\n[tool.qreg]\n"""\n{TABLE}'
    with pytest.raises(QregError, match="cannot be cut out"):
        with_table(before, TABLE, force=True, path="pyproject.toml")
