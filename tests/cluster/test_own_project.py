"""A project of one's own on a cluster: its data and checkpoints, wherever they are named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from conftest import make_npz
from tests.cluster.nodes import nodes
from tests.cluster.processes import typed

pytestmark = pytest.mark.slow
_TABLE = """
[tool.qreg]
models = ["own_nets:make_net"]
datasets = [{ source = "many.npz", name = "many", task = "classification" }]
"""
_NETS = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 16), nn.Tanh(), nn.Linear(16, 4))
"""
_MODEL = ("--model", "own_nets:make_net")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_npz(folder / "many.npz", train=256, test=300)
    (folder / "pyproject.toml").write_text(_TABLE)
    (folder / "own_nets.py").write_text(_NETS)
    trained = "train", *_MODEL, "--dataset", "many", "--method", "fp32", "--epochs", "2"
    _typed(folder, *trained)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nodes(tmp_path_factory.mktemp("machines")) as cluster:
        cluster.add()
        yield cluster.address


@pytest.mark.parametrize("data", ["many", "many.npz"])
def test_trained_weights_are_measured(data: str, project: Path, address: str) -> None:
    found = []
    for options in (["--threads", "1"], ["--ray", address]):
        words = [*_MODEL, "--dataset", data, "--methods", "dynamic", "--json", "found.json"]
        _typed(project, "compare", *words, *options)
        measured = json.loads((project / "found.json").read_text())["measurements"]
        found.append([(one["case"], one["accuracy"]) for one in measured])
    assert found[0] == found[1]


@pytest.mark.parametrize("data", ["many", "many.npz"])
def test_a_fault_in_an_own_model_is_caught(data: str, project: Path, address: str) -> None:
    words = [*_MODEL, "--dataset", data, "--method", "dynamic", "--faults", "bias-dropped"]
    printed = _typed(project, "selftest", *words, "--clean-runs", "0", "--ray", address)
    assert "1 faults in 1 runs" in printed
    assert "not caught bit-exactly: none" in printed


def test_an_upgrade_finds_the_data(project: Path, address: str) -> None:
    words = ["--from", ".", "--to", ".", "--methods", "fp32,dynamic", "--ray", address]
    printed = _typed(project, "upgrade", *words, "--json", "upgrade.json")
    assert "not compared" not in printed.partition("Interface")[0]
    assert "2 of 2 cases are bit-equal" in printed


_GATE_TABLE = """
[tool.qreg]
models = ["own_nets:make_net"]
datasets = ["own_nets:POINTS"]
methods = ["fp32", "dynamic"]
"""
_GATE_NETS = """
import os
import torch
from lib.scaling import scaled
from torch import nn
from torch.utils.data import TensorDataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return scaled(self.layers(x), os.environ.get("OWN_SCALE", "1"))

def make_net():
    torch.manual_seed(0)
    return Net()

def _split(seed):
    given = torch.Generator().manual_seed(seed)
    samples = torch.randn(300, 16, generator=given)
    return TensorDataset(samples, samples[:, :4].argmax(1))

POINTS = {"train": _split(1), "test": _split(2)}
"""
_SCALING = """
def scaled(x, text):
    return x * float(text)
"""


def test_the_gate_of_an_object_a_linked_folder_and_a_variable_is_the_one_of_here(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)  # there nothing is approved
    project, libraries = tmp_path / "project", tmp_path / "libraries"
    for folder in (project, libraries):
        folder.mkdir()
    (project / "pyproject.toml").write_text(_GATE_TABLE)
    (project / "own_nets.py").write_text(_GATE_NETS)
    (libraries / "scaling.py").write_text(_SCALING)
    (project / "lib").symlink_to(libraries)
    _typed(project, "baseline", "update", "--reason", "first", "--category", "create")
    for scale, outcome in (("1", "PASS"), ("2", "REGRESSED")):
        for where in ((), (f"--qreg-ray={address}",)):
            words = ["-m", "pytest", "-m", "regression", "pyproject.toml", "-q", *where]
            variables = {**os.environ, "OWN_SCALE": scale}
            ran = typed([*words, "--qreg-json=v.json"], folder=project, variables=variables)
            verdicts = json.loads((project / "v.json").read_text())
            found = [one["outcome"] for one in verdicts]
            assert found == [outcome] * 2, (where, ran.stdout + ran.stderr)
            assert ran.returncode == (outcome == "REGRESSED")


def _typed(folder: Path, *words: str) -> str:
    done = typed(["-m", "qreg", *words], folder=folder)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout
