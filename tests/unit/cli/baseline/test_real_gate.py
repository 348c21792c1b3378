"""What is proposed, refused and written, with the real gate on a small network and data set."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from qreg.baselines.store import Store
from qreg.cli import main
from qreg.quantization import Context
from qreg.quantization.engines import default_engine
from qreg.records.case import Case

_TABLE = """
[tool.qreg]
models = ["{nets}:make_net"]
datasets = ["{data}"]
methods = ["fp32", "{nets}:half_precision"]
"""


@pytest.fixture
def project(
    tmp_path: Path, colours: Path, nets: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """A project without baselines; returns where they will be."""
    (tmp_path / "pyproject.toml").write_text(_TABLE.format(nets=nets, data=colours))
    (tmp_path / "baselines").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "QREG_BASELINES"):
        monkeypatch.delenv(name, raising=False)
    return Store(tmp_path / "baselines")


@torch.no_grad()
def _without_its_weights(model: torch.nn.Module, context: Context) -> torch.nn.Module:
    for parameter in model.parameters():
        parameter.zero_()
    return model


def test_the_life_of_a_baseline(
    project: Store, nets: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("colours", f"{nets}:make_net", f"{nets}:half_precision", default_engine())
    why = ("--reason", "a test")

    assert main(["baseline", "update", *why, "--category", "create"]) == 0
    assert case in project.cases()
    assert len(project.cases()) == 2
    (first,) = project.read(case)
    capsys.readouterr()

    assert main(["baseline", "diff"]) == 0  # the same environment, bit by bit
    assert "no changes" in capsys.readouterr().out

    monkeypatch.setattr(sys.modules[nets], "half_precision", _without_its_weights)
    assert main(["baseline", "diff"]) == 1
    shown = capsys.readouterr().out
    assert "fix" in shown
    assert "REGRESSED" in shown

    assert main(["baseline", "update", *why, "--category", "fix"]) == 1  # refused: not by name
    assert str(case) in capsys.readouterr().err
    assert project.read(case) == (first,)

    assert main(["baseline", "update", *why, "--accept-regression", str(case)]) == 0
    (second,) = project.read(case)
    assert second.snapshot.predictions != first.snapshot.predictions
    assert [one.reason for one in second.history] == ["a test", "a test"]
    replaced = second.history[-1].replaced
    assert replaced is not None
    assert replaced.correct == first.snapshot.correct
    capsys.readouterr()

    assert len(project.orphans()) == 1  # the arrays of the first
    assert main(["baseline", "diff"]) == 1
    assert "trim" in capsys.readouterr().out
    assert main(["baseline", "update", *why, "--category", "trim"]) == 0
    assert project.orphans() == ()
    assert main(["baseline", "diff"]) == 0
