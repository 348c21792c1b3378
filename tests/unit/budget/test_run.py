"""qreg compare --budget, with a user's network and data."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qreg.cli import main

NETS = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
"""
TABLE = """
[tool.qreg]
models = ["compared_nets:make_net"]
datasets = ["photos.npz"]
methods = ["fp32", "static"]

[tool.qreg.budget."photos/*/static@*"]
max-drop = 60
max-size = "90 %"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colours: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "compared_nets.py").write_text(NETS)
    (tmp_path / ".git").mkdir()  # no table above is looked for
    shutil.copy(colours, tmp_path / "photos.npz")
    yield tmp_path
    sys.modules.pop("compared_nets", None)


def _compare(*more: str, dataset: str = "photos.npz") -> int:
    given = ("--model", "compared_nets:make_net", "--dataset", dataset, "--threads", "1")
    return main(["compare", *given, *more])


def test_limits_of_the_command_line_are_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = "max-drop=60,max-size=0.001,max-flips=90 %,min-speed-up=0.0001"
    options = ("--methods", "static,dynamic", "--budget", limits, "--json", "found.json")
    assert _compare(*options) == 1
    shown = capsys.readouterr().out
    assert "at most 0.001 MB" in shown
    assert "BROKEN" in shown
    found = json.loads((folder / "found.json").read_text())["budget"]
    results = {(one["case"]["method"], one["limit"]): one["result"] for one in found}
    assert len(results) == 8
    for method in ("static", "dynamic"):
        assert results[method, "max-size"] == "BROKEN"
        assert results[method, "min-speed-up"] == "KEPT"
        assert results[method, "max-flips"] == "KEPT"


@pytest.mark.parametrize("dataset", ["photos.npz", "photos"])
def test_the_projects_budget_is_judged_by_either_name(
    folder: Path, capsys: pytest.CaptureFixture[str], dataset: str
) -> None:
    (folder / "pyproject.toml").write_text(TABLE)
    assert _compare("--methods", "static,dynamic", "--budget", dataset=dataset) == 0
    shown = capsys.readouterr().out.partition("\nbudget")[2]  # the folder has that word, too
    assert shown.count("KEPT") == 2
    assert "dynamic" not in shown


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        ("", ("--budget",), "no table [tool.qreg.budget]"),
        ("", ("--budget", "max-dorp=1"), "unknown key"),
        ("", ("--budget", "max-flips=-1"), "max-flips = -1"),
        (TABLE.replace("photos/*/static", "photos/*/statci"), ("--budget",), "matches no case"),
    ],
)
def test_a_bad_budget_is_one_line_before_any_work(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
    options: tuple[str, ...],
    says: str,
) -> None:
    if table:
        (folder / "pyproject.toml").write_text(table)
    assert _compare(*options) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert len(shown.splitlines()) == 2
