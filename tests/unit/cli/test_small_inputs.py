"""A folder with one module and one npz file, and no table: what each command makes of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qreg.cli import main

NETS = """
import torch
from torch import nn

def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
"""


@pytest.fixture
def model(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The model's name; the module is nowhere on the path, as with the installed command."""
    name = f"lonely_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(NETS)
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 129), ("test", 101)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 3
    np.savez(tmp_path / "good.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", str(tmp_path))])
    yield f"{name}:tiny"
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "command",
    [
        "check MODEL --dataset good.npz --methods dynamic",
        "compare --model MODEL --dataset good.npz --methods dynamic --threads 1",
        "audit saturation --model MODEL --dataset good.npz --threads 1",
        "train --model MODEL --dataset good.npz --epochs 1 --threads 1",
        "sensitivity --model MODEL --dataset good.npz --method static --threads 1",
    ],
    ids=lambda text: text.split()[0],
)
def test_a_module_in_the_current_folder_is_found(model: str, command: str) -> None:
    assert main([model if one == "MODEL" else one for one in command.split()]) == 0
