"""The model and the dataset of commands for one of each, where the command line names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.cli import build_parser
from qreg.cli.check import given_model
from qreg.cli.options import choose_the_folders, choose_the_projects
from qreg.errors import QregError


def _chosen(folder: Path, table: str, *words: str) -> tuple[str, str]:
    (folder / "pyproject.toml").write_text(f"[tool.qreg]\n{table}\n")
    args = build_parser(words).parse_args(words)  # of this command alone, which is faster
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


def test_folders_of_the_table_are_those_of_commands_for_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QREG_CHECKPOINTS", raising=False)
    monkeypatch.chdir(tmp_path)
    folders = 'checkpoints = "weights"\ndata-dir = "sets"'
    (tmp_path / "pyproject.toml").write_text(f"[tool.qreg]\n{ONE}\n{folders}\n")
    for words in (["compare"], ["train"], ["sensitivity"], ["audit", "calibration"]):
        args = build_parser(words).parse_args(words)
        choose_the_folders(args)
        assert (args.checkpoints, args.data_dir) == (tmp_path / "weights", tmp_path / "sets")
    words = ["compare", "--checkpoints", "x", "--data-dir", "y"]
    args = build_parser(words).parse_args(words)
    choose_the_folders(args)
    assert (args.checkpoints, args.data_dir) == (Path("x"), Path("y"))


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


def _methods(folder: Path, methods: str, *words: str) -> tuple[str, ...]:
    table = f'models = ["nets:net"]\ndatasets = ["nets:data"]\nmethods = {methods}'
    (folder / "pyproject.toml").write_text(f"[tool.qreg]\n{table}\n")
    args = build_parser(words).parse_args(words)  # of this command alone, which is faster
    choose_the_projects(args)
    return args.methods if hasattr(args, "methods") else (args.method,)


def test_the_methods_that_work_for_the_tables_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    works = '["fp32", "bfloat16", "dynamic", "fx-static"]'
    more = '["fp32", "dynamic", "static", "fp32-finetuned", "qat", "fx-static"]'
    assert _methods(tmp_path, works, "compare") == ("fp32", "bfloat16", "dynamic", "fx-static")
    assert "fx-static" not in _methods(tmp_path, more, "compare")
    assert _methods(tmp_path, works, "compare", "--methods", "static") == ("static",)
    assert "static" in _methods(tmp_path, works, "compare", "--model", "simple_cnn")
    for command in (("sensitivity",), ("audit", "saturation"), ("audit", "calibration")):
        assert _methods(tmp_path, works, *command) == ("dynamic",)
        assert _methods(tmp_path, more, *command) == ("static",)
        assert _methods(tmp_path, works, *command, "--method", "static") == ("static",)
    assert _methods(tmp_path, works, "train") == ("fp32",)


def test_what_a_command_does_not_know_is_answered_by_that_command() -> None:
    words = ["compare", "--modle", "nets:net"]
    with pytest.raises(QregError, match="did you mean --model") as caught:
        build_parser(words).parse_args(words)
    assert caught.value.hint == "see: qreg compare --help"
    words = ["baseline", "show", "--epochs", "3"]
    with pytest.raises(QregError, match="unrecognized arguments: --epochs") as caught:
        build_parser(words).parse_args(words)
    assert caught.value.hint == "see: qreg baseline show --help"


@pytest.mark.parametrize("command", ["check", "init"])
def test_a_model_may_be_given_by_its_option_everywhere(command: str) -> None:
    for words in ((command, "nets:net"), (command, "--model", "nets:net")):
        assert given_model(build_parser(words).parse_args(words)) == "nets:net"
    words = (command, "nets:net", "--model", "nets:net")
    with pytest.raises(QregError, match="given twice"):
        given_model(build_parser(words).parse_args(words))
