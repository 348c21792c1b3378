"""A case of an exported graph that fails in the gate: a few lines, not torch's own tracing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(36, 3)

    def forward(self, x):
        x = self.conv(x)
        if x.sum() > 0:
            x = x.relu()
        return self.fc(x.flatten(1))

def net():
    return Net()
"""
TABLE = """
[tool.qreg]
models = ["nets:net"]
datasets = ["good.npz"]
methods = ["pt2e-static"]
samples = { size = 20 }
calibration = { size = 20 }
"""
#: Of 3,400 that were printed once; pytest's own and qreg's are 27.
MOST_LINES = 35


@pytest.mark.slow
def test_a_failing_case_prints_a_few_lines(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "pyproject.toml").write_text(TABLE)
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    split = {"images": images, "labels": np.arange(40) % 3}
    arrays = {f"{part}_{name}": x for part in ("train", "test") for name, x in split.items()}
    np.savez(tmp_path / "good.npz", **arrays)  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "qreg.pytest_plugin", "-p", "no:cacheprovider",
         "--color=no", "-m", "regression", "pyproject.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "QREG_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, printed
    assert len(printed.splitlines()) < MOST_LINES, printed
    assert "DEBUG" not in printed
    assert "def forward" not in printed
    assert "Warning" not in printed
    assert "nets.py:11" in printed
    assert "depends on the input's values" in printed
