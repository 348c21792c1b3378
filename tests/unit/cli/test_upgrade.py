"""The command: what it prints and writes, and how it ends; the comparison itself is elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qreg.cli import main
from qreg.errors import QregError
from qreg.upgrade.records import Cause, UpgradeLevel, UpgradeReport
from tests.unit.upgrade.report.upgrade_report import REPORT, case

ARGUMENTS = ["upgrade", "--from", "1.0.0", "--to", "2.0.0"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the comparison was asked, and under "report" what it answers."""
    found: dict[str, Any] = {"report": REPORT}

    def check_upgrade(request: Any) -> UpgradeReport:
        found["request"] = request
        return found["report"]

    monkeypatch.setattr("qreg.upgrade.check.check_upgrade", check_upgrade)
    monkeypatch.chdir(tmp_path)
    return found


def test_the_verdict_is_the_first_line(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ARGUMENTS) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "safe: bits equal in 1 case"
    assert second == "PyTorch 2.14.1 -> 2.15.0, shapes10 on x86"
    assert (asked["request"].baseline, asked["request"].candidate) == ("1.0.0", "2.0.0")


def test_cases_are_of_the_first_dataset_and_one_engine(asked: dict[str, Any]) -> None:
    Path("pyproject.toml").write_text(
        '[tool.qreg]\nmodels = ["simple_cnn"]\ndatasets = ["shapes10", "cifar10"]\n'
        'engines = ["x86"]\nmethods = ["fp32", "static"]\n'
    )
    assert main(ARGUMENTS) == 0
    names = [str(one) for one in asked["request"].cases]
    assert names == ["shapes10/simple_cnn/fp32@x86", "shapes10/simple_cnn/static@x86"]
    assert main([*ARGUMENTS, "--cases", "cifar10/*/static@x86"]) == 0
    assert [str(one) for one in asked["request"].cases] == ["cifar10/simple_cnn/static@x86"]
    assert main([*ARGUMENTS, "--dataset", "cifar10", "--methods", "fp32"]) == 0
    assert [str(one) for one in asked["request"].cases] == ["cifar10/simple_cnn/fp32@x86"]


@pytest.mark.parametrize(
    ("level", "more", "status"),
    [
        (UpgradeLevel.SAFE, (), 0),
        (UpgradeLevel.DIFFERENT, (), 0),
        (UpgradeLevel.DIFFERENT, ("--strict",), 1),
        (UpgradeLevel.UNSAFE, (), 1),
        (None, (), 1),
    ],
)
def test_exit_statuses(
    level: UpgradeLevel | None, more: tuple[str, ...], status: int, asked: dict[str, Any]
) -> None:
    cases = (case(level, causes=(Cause.KERNELS,), findings=("why",)),)
    worst = level or UpgradeLevel.SAFE
    asked["report"] = replace(REPORT, level=worst, cases=cases, reasons=("kernels: why",))
    assert main([*ARGUMENTS, *more]) == status


def test_files(asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "markdown", "html")}
    assert main([*ARGUMENTS, *(f"--{kind}={path}" for kind, path in files.items())]) == 0
    content = json.loads(files["json"].read_text())
    assert content["level"] == "safe: bits equal"
    assert content["cases"][0]["cells"][0]["quantized_by"] == "2.14.1"
    assert files["markdown"].read_text().startswith("## PyTorch 2.14.1 -&gt; 2.15.0")
    assert files["html"].read_text().lower().startswith("<!doctype html>")
    assert capsys.readouterr().out.count("wrote ") == 3


def test_bad_input(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--timeout", "0"]) == 2
    assert main([*ARGUMENTS, "--model", "no_such_model"]) == 2
    assert "choices" in capsys.readouterr().err
    assert main(["upgrade", "--from", "1.0.0"]) == 2
    assert "--to" in capsys.readouterr().err


def test_the_help_tells_examples_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upgrade", "--help"])
    said = capsys.readouterr().out
    assert "qreg upgrade --from 2.14.1 --to 2.15.0" in said
    assert "exit status: 0 safe" in said


@pytest.fixture
def pairs(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Any]:
    """What is answered for a pair of a matrix, REPORT by default; each is there once asked."""
    found: dict[tuple[str, str], Any] = {}

    def check_upgrade(request: Any, kept: Any) -> UpgradeReport:
        answer = found.setdefault((request.baseline, request.candidate), REPORT)
        if isinstance(answer, QregError):
            raise answer
        return answer

    monkeypatch.setattr("qreg.upgrade.matrix.run.check_upgrade", check_upgrade)
    return found


MATRIX = ["upgrade", "--matrix", "1.0.0,2.0.0,3.0.0"]


def test_a_matrix_compares_each_version_with_the_next(
    pairs: dict[tuple[str, str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / f"matrix.{kind}" for kind in ("json", "markdown", "html")}
    assert main([*MATRIX, *(f"--{kind}={path}" for kind, path in files.items())]) == 0
    assert list(pairs) == [("1.0.0", "2.0.0"), ("2.0.0", "3.0.0")]
    said = capsys.readouterr().out
    assert "PyTorch 1.0.0 -> 2.0.0 -> 3.0.0" in said
    assert said.count("wrote ") == 3
    assert json.loads(files["json"].read_text())["versions"] == ["1.0.0", "2.0.0", "3.0.0"]


def test_the_status_of_a_matrix_is_its_worst_pair_s(pairs: dict[tuple[str, str], Any]) -> None:
    pairs["2.0.0", "3.0.0"] = replace(REPORT, level=UpgradeLevel.DIFFERENT)
    assert main(MATRIX) == 0
    assert main([*MATRIX, "--strict"]) == 1
    pairs["1.0.0", "2.0.0"] = replace(REPORT, level=UpgradeLevel.UNSAFE, reasons=("kernels",))
    assert main(MATRIX) == 1
    pairs["2.0.0", "3.0.0"] = QregError("pip cannot install torch==3.0.0")
    assert main(MATRIX) == 2


def test_a_matrix_is_bisected_among_named_releases(
    pairs: dict[tuple[str, str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    worse = replace(
        REPORT,
        level=UpgradeLevel.DIFFERENT,
        cases=(case(UpgradeLevel.DIFFERENT, causes=(Cause.KERNELS,), findings=("why",)),),
    )
    pairs["1.0.0", "2.0.0"] = pairs["1.0.0", "1.2.0"] = worse
    words = ["upgrade", "--matrix", "1.0.0,2.0.0", "--bisect", "--releases", "1.1.0,1.2.0"]
    assert main(words) == 0
    assert "kernels: from 1.2.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*MATRIX, "--from", "1.0.0"], "--matrix with --from"),
        ([*MATRIX, "--to", "1.0.0"], "--matrix with --to"),
        ([*ARGUMENTS, "--bisect"], "--bisect without --matrix"),
        ([*MATRIX, "--releases", "1.5.0"], "--releases without --bisect"),
        (["upgrade", "--matrix", "1.0.0"], "one version"),
        (["upgrade", "--matrix", " , "], "--matrix: ' , ' names no version"),
        (["upgrade", "--matrix", "1.0.0,1.0.0"], "twice"),
        (["upgrade", "--matrix", "1.0.0,no-such-python"], "not an interpreter"),
        (["upgrade"], "--from, --to"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    words: list[str],
    said: str,
    pairs: dict[tuple[str, str], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err.splitlines()[0]
    assert not pairs
