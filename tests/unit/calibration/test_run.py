"""The calibration audit of networks and data of a user, through the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import make_npz
from qreg.cli import main

NETS = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))

class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = make_net()

    def forward(self, x):
        if len(x) > 20:
            raise ValueError("no more than 20 at once")
        return self.net(x)

def make_table():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "audited_nets.py").write_text(NETS)
    yield tmp_path
    sys.modules.pop("audited_nets", None)


def _audit(*more: str) -> int:
    usual = ("--model", "audited_nets:make_net", "--draws", "3", "--threads", "1")
    return main(["audit", "calibration", *usual, *more])


@pytest.mark.slow
def test_spread_sites_and_clipping_are_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_npz(folder / "photos.npz", train=200, test=60)
    files = ("--json", "audit.json", "--plot", "audit.png")
    assert _audit("--dataset", "photos.npz", "--sizes", "40,8", *files) == 0
    shown = capsys.readouterr().out
    assert "a further draw" in shown
    assert "no drift at 3 sites" in " ".join(shown.split())
    assert (folder / "audit.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / "audit.json").read_text())
    assert [one["size"] for one in found["sizes"]] == [8, 40]
    assert len(found["draws"]) == 6
    assert found["samples"] == 60
    assert {site["name"] for site in found["sites"]} == {"model.0", "model.3", "quant"}
    for site in found["sites"]:
        assert 0 <= site["wander"] < 1
        assert site["scale"] > 0
        assert 0 <= site["clipped"] <= 1
    # the same draws give the same numbers
    assert _audit("--dataset", "photos.npz", "--sizes", "8,40", "--json", "again.json") == 0
    again = json.loads((folder / "again.json").read_text())
    assert {**again, "created": ""} == {**found, "created": ""}


def test_test_data_that_drifted_are_found_without_labels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dict(np.load(make_npz(folder / "photos.npz", train=200, test=60)))
    made["test_images"] = np.minimum(2 * made["test_images"].astype(int), 255).astype(np.uint8)
    made["test_labels"] = np.random.default_rng(0).permutation(made["test_labels"])
    np.savez(folder / "bright.npz", **made)
    assert _audit("--dataset", "bright.npz", "--sizes", "8,40", "--json", "audit.json") == 1
    assert "the test data drift at" in " ".join(capsys.readouterr().out.split())
    sites = {one["name"]: one for one in json.loads((folder / "audit.json").read_text())["sites"]}
    assert sites["quant"]["drifts"]
    assert sites["quant"]["larger"] > 0.9
    assert sites["quant"]["beyond"] > 10 * sites["quant"]["beyond_held"]


@pytest.mark.slow
def test_any_task_and_its_unit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 128), ("test", 50)):
        x = rng.normal(size=(count, 6)).astype(np.float32)
        arrays |= {f"{split}_inputs": x, f"{split}_targets": x[:, :1] + 1}
    np.savez(folder / "table.npz", **arrays)
    given = ("--model", "audited_nets:make_table", "--dataset", "table.npz", "--sizes", "8,32")
    task = ("--task", "regression", "--within", "0.5", "--json", "audit.json")
    assert main(["audit", "calibration", *given, *task, "--draws", "2", "--threads", "1"]) in (0, 1)
    assert "MAE" in capsys.readouterr().out
    found = json.loads((folder / "audit.json").read_text())
    assert found["within"] == 0.5
    assert found["summary"] == "MAE"


def test_what_a_models_code_raises_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_npz(folder / "photos.npz", train=40, test=30)
    given = ("--dataset", "photos.npz", "--model", "audited_nets:Picky", "--sizes", "8")
    assert main(["audit", "calibration", *given, "--draws", "2"]) == 2
    shown = capsys.readouterr().err
    assert "no more than 20 at once" in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) <= 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--method", "dynamic"), "'dynamic' observes no calibration samples"),
        (("--sizes", "101"), "a draw of 101 of 200 calibration samples"),
        (("--sizes", "0"), "0 is not a positive number"),
        (("--draws", "1"), "one draw has no spread"),
        (("--within", "nan"), "nan is not a number above 0"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, str], says: str
) -> None:
    make_npz(folder / "photos.npz", train=200, test=20)
    assert _audit("--dataset", "photos.npz", *more) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert len(shown.splitlines()) == 2
