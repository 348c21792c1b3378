"""The model and the dataset of commands for one of each, where the command line names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.cli import build_parser
from qreg.cli.options import choose_the_projects
from qreg.errors import QregError


def _chosen(folder: Path, table: str, *words: str) -> tuple[str, str]:
    (folder / "pyproject.toml").write_text(f"[tool.qreg]\n{table}\n")
    args = build_parser().parse_args(words)
    choose_the_projects(args)
    return args.model, args.dataset


ONE = 'models = [{ factory = "nets:net", name = "wide" }]\ndatasets = ["sub/photos.npz"]'
TWO = 'models = ["nets:a", "nets:b"]\ndatasets = ["photos.npz", "nets:data"]'


@pytest.mark.parametrize(
    "words", [("compare",), ("train", "--method", "qat"), ("sensitivity",), ("audit", "saturation")]
)
def test_the_tables_only_ones(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = str(tmp_path / "sub" / "photos.npz")
    assert _chosen(tmp_path, ONE, *words) == ("wide", photos)
    # a file by the name that its cases have
    assert _chosen(tmp_path, ONE, *words, "--dataset", "photos") == ("wide", photos)
    assert _chosen(tmp_path, ONE, *words, "--dataset", "cifar10") == ("wide", "cifar10")
    assert _chosen(tmp_path, ONE, *words, "--model", "nets:other") == ("nets:other", photos)
    # a shipped model that the table does not have goes with its own data
    assert _chosen(tmp_path, ONE, *words, "--model", "resnet20") == ("resnet20", "shapes10")


def test_of_several_one_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QregError, match="has 2 models") as caught:
        _chosen(tmp_path, TWO, "compare")
    assert "--model nets:a, --model nets:b" in caught.value.hint
    with pytest.raises(QregError, match="has 2 datasets"):
        _chosen(tmp_path, TWO, "compare", "--model", "nets:b")
    words = ("compare", "--model", "nets:b", "--dataset", "nets:data")
    assert _chosen(tmp_path, TWO, *words) == ("nets:b", "nets:data")
    assert _chosen(tmp_path, TWO, "train", "--list")[0] == "simple_cnn"
    shipped = 'models = ["resnet20", "simple_cnn"]\ndatasets = ["cifar10", "shapes10"]'
    assert _chosen(tmp_path, shipped, "compare") == ("simple_cnn", "shapes10")


def test_without_a_table_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = build_parser().parse_args(["compare"])
    choose_the_projects(args)
    assert (args.model, args.dataset) == ("simple_cnn", "shapes10")
