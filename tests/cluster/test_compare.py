"""`qreg compare` in shards on a cluster: the numbers of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from conftest import make_npz
from tests.cluster.nodes import nodes
from tests.cluster.processes import typed

pytestmark = pytest.mark.slow
_TABLE = '[tool.qreg]\nmodels = ["shard_nets:make_net"]\ndatasets = ["many.npz"]\n'
_NETS = """
import torch
from torch import nn

def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 16), nn.Tanh(), nn.Linear(16, 4))
"""


def test_a_comparison_on_machines_is_that_of_one_process(tmp_path: Path) -> None:
    make_npz(tmp_path / "many.npz", train=64, test=1130)
    (tmp_path / "pyproject.toml").write_text(_TABLE)
    (tmp_path / "shard_nets.py").write_text(_NETS)
    here = _compare(tmp_path, "--threads", "1")
    with nodes(tmp_path / "machines") as cluster:
        cluster.add()
        cluster.add()
        there = _compare(tmp_path, "--ray", cluster.address)
    assert [_quality(one) for one in here] == [_quality(one) for one in there]
    assert here[0]["case"] == there[0]["case"]
    assert len(here) == 2


def _compare(project: Path, *options: str) -> list[dict[str, Any]]:
    words = ["-m", "qreg", "compare", "--methods", "dynamic", "--json", "found.json", *options]
    done = typed(words, folder=project)
    assert not done.returncode, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads((project / "found.json").read_text())["measurements"]
    return found


def _quality(measurement: dict[str, Any]) -> dict[str, Any]:
    names = ("accuracy", "agreements", "data_fingerprint", "score", "score_changes")
    return {name: measurement[name] for name in names}
