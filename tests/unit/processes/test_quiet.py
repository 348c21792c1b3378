"""Kernels print no warnings between a command and its table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_NETS = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.1, inplace=True), nn.Flatten(),
                         nn.Linear(4 * 36, 4))

def data():
    torch.manual_seed(1)
    found = torch.utils.data.TensorDataset(torch.rand(16, 3, 8, 8), torch.arange(16) % 4)
    return {"calibration": found, "test": found}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("level", "printed"), [("", False), ("WARNING", True)])
def test_what_a_kernel_warns_of_at_each_call(level: str, printed: bool, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(_NETS)
    not_here = ("TORCH_CPP_LOG_LEVEL", "CI")  # in CI nothing is approved
    variables = {name: v for name, v in os.environ.items() if name not in not_here}
    words = "-m qreg compare --model loud:make --dataset loud:data --methods fp32,fx-static"
    done = subprocess.run(
        [sys.executable, *words.split()],
        cwd=tmp_path,
        env=variables | ({"TORCH_CPP_LOG_LEVEL": level} if level else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "fx-static" in done.stdout
    assert ("qrelu.cpp" in done.stderr) == printed, done.stderr


@pytest.mark.slow
def test_an_unchanged_case_passes_where_a_conftest_imports_pytorch_first(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(_NETS)
    (tmp_path / "conftest.py").write_text("import torch")
    table = 'models = ["loud:make"]\ndatasets = ["loud:data"]\nmethods = ["fp32", "fx-static"]'
    (tmp_path / "pyproject.toml").write_text(f"[tool.qreg]\n{table}\n")
    not_here = ("TORCH_CPP_LOG_LEVEL", "CI")  # in CI nothing is approved
    variables = {name: v for name, v in os.environ.items() if name not in not_here}

    def run(words: str) -> str:
        command = [sys.executable, "-m", *words.split()]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    update = run("qreg baseline update --category create --reason first")
    assert "2 create" in update, update
    gate = run("pytest -m regression -p no:cacheprovider")
    assert "2 cases: 2 PASS" in gate, gate
