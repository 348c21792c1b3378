"""Options of names and numbers, as every command and pytest take them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from qreg.names import Names, Once, output_file, positive, positive_or_zero, split_names


def _parsed(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--models", "--model", action=Names, default=("net",))
    parser.add_argument("--kinds", action=Names, nargs="+", among=("a", "b"))
    parser.add_argument("--one", action=Once, default="x")
    parser.add_argument("--count", type=positive, default=1)
    parser.add_argument("--limit", type=positive_or_zero, default=0)
    parser.add_argument("--json", type=output_file)
    return parser.parse_args(given)


@pytest.mark.parametrize(
    "given",
    [
        ("--model", "a", "--model", "b"),
        ("--model", "a,b"),
        ("--models", " a , b,", "--model", "b"),
    ],
)
def test_lists_and_repeats_are_the_same(given: tuple[str, ...]) -> None:
    assert _parsed(*given).models == ("a", "b")


def test_defaults_hold_where_nothing_is_given() -> None:
    found = _parsed()
    assert (found.models, found.kinds, found.one) == (("net",), (), "x")


def test_an_option_of_many_values_takes_lists_too() -> None:
    assert _parsed("--kinds", "b", "a,b").kinds == ("b", "a")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("--model", ","), "names nothing"),
        (("--kinds", "c"), "'c' is not of a, b"),
        (("--one", "y", "--one", "z"), "given twice"),
        (("--count", "0"), "0 is not a positive number"),
        (("--limit", "-1"), "-1 is not a positive number or 0"),
        (("--limit", "many"), "many is not"),
        (("--json", "/"), "it is a folder"),
    ],
)
def test_errors_are_reported(given: tuple[str, ...], reason: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=reason):
        _parsed(*given)


def test_names_of_lists() -> None:
    assert split_names("a, b,,a") == split_names(["a", "b,a"]) == ("a", "b")


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "--model", "simple_cnn", "--model", "resnet20"],
        ["audit", "saturation", "--method", "static", "--method", "qat"],
        ["train", "--dataset", "shapes10", "--dataset", "cifar10"],
    ],
)
def test_a_command_of_one_model_refuses_two(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from qreg.cli import main

    assert main(command) == 2
    assert "takes one" in capsys.readouterr().err


def test_every_command_of_several_takes_lists_and_repeats() -> None:
    from qreg.cli import build_parser

    commands = (
        (["speed", "check"], "models"),
        (["speed", "instructions"], "methods"),
        (["speed", "record", "--reference", "x"], "engines"),
        (["speed", "calibrate"], "cases"),
        (["upgrade", "--from", ".", "--to", "."], "models"),
        (["selftest"], "methods"),
        (["baseline", "diff"], "datasets"),
        (["baseline", "update"], "accept_regression"),
        (["compare"], "methods"),
        (["compare"], "engines"),
        (["migrate"], "methods"),
    )
    for command, name in commands:
        option = f"--{name.replace('_', '-')}"
        args = build_parser().parse_args([*command, option, "a,b", option, "c"])
        assert getattr(args, name) == ("a", "b", "c"), command


def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match="no folder"):
        output_file(str(tmp_path / "file" / "out.json"))
    assert output_file(str(tmp_path / "new" / "out.json")).parent.exists() is False
