"""Each example taken from a user's module to the gate, as its page in docs/examples does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from qreg.quantization.engines import available_engines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine"),
]


@dataclass(frozen=True)
class Example:
    """What the commands are given, and a fault as an edit makes it.

    Attributes:
        train: options of `qreg train`.
        edit: a line's text before and after.
        found: of this the gate must speak.
        score: what `compare` must show.
    """

    model: str
    data: str
    methods: str
    task: str
    train: str
    edit: tuple[str, str]
    found: str
    score: str

    @property
    def module(self) -> str:
        return self.model.partition(":")[0]


EPS = ("nn.BatchNorm2d(made)", "nn.BatchNorm2d(made, eps=1e-2)")
EXAMPLES = (
    Example(
        "sentences:recurrent", "sentences:data", "sentences:quantize", "",
        "--epochs 20 --learning-rate 0.5",
        ("{nn.LSTM, nn.Linear}", "{nn.Linear}"), "model.lstm", "accuracy",
    ),
    Example(
        "sentences:transformer", "sentences:data", "dynamic", "",
        "--epochs 12 --learning-rate 0.2",
        ("32**0.5", "16**0.5"), "model.norm", "accuracy",
    ),
    Example(
        "outlines:unet", "outlines:masks", "fx-static", "segmentation", "--epochs 4",
        EPS, "model.first", "mean IoU",
    ),
    Example(
        "outlines:detector", "outlines:detections", "fx-static", "detection",
        "--epochs 20 --loss outlines:loss",
        EPS, "model.body.0", "mAP",
    ),
    Example(
        "outlines:box_net", "outlines:boxes", "static", "regression", "--epochs 15",
        EPS, "model.body.0", "MAE",
    ),
    Example(
        "houses:mlp", "houses:data", "static,dynamic", "regression", "",
        ("nn.ReLU()", "nn.LeakyReLU()"), "model.1", "MAE",
    ),
    Example(
        "tones:net", "tones:data", "static", "", "--epochs 6",
        ("nn.ReLU()", "nn.ReLU6()"), "model.1", "accuracy",
    ),
)  # fmt: skip


class _Project:
    """A folder with one example's module; its commands are run as a user types them."""

    def __init__(self, folder: Path, example: Example) -> None:
        self.folder, self.module = folder, folder / f"{example.module}.py"
        shutil.copy(HERE / self.module.name, self.module)
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        for name in ("CI", "QREG_DATA_DIR", "QREG_BASELINES"):
            self.environment.pop(name, None)
        subprocess.run(["git", "init", "-q", str(folder)], check=True)

    def run(self, line: str, *, status: int = 0) -> str:
        module, _, rest = line.partition(" ")
        done = subprocess.run(
            [sys.executable, "-m", module, *rest.split()],
            cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def edit(self, before: str, after: str) -> None:
        text = self.module.read_text()
        assert before in text
        self.module.write_text(text.replace(before, after))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.model)
def test_taken_through(example: Example, tmp_path: Path) -> None:
    project = _Project(tmp_path, example)
    task = f"--task {example.task}" if example.task else ""
    named = f"--model {example.model} --dataset {example.data}"
    project.run(f"qreg train {named} {task} {example.train} --threads 1")
    methods = f"--methods {example.methods}"
    shown = project.run(f"qreg init {example.model} --dataset {example.data} {task} {methods}")
    assert "contract kept" in shown
    assert example.score in project.run(f"qreg compare {named} {methods} --limit 200 --threads 1")
    project.run("qreg baseline update --category create --reason first")
    files = [path for path in (tmp_path / "baselines").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    gate = "pytest -m regression -q -p no:cacheprovider"
    assert "PASS" in project.run(gate)
    upgrade = project.run("qreg upgrade --from . --to .")
    assert "safe: bits equal" in upgrade or "0 cases" in upgrade
    project.edit(*example.edit)
    broken = project.run(gate, status=1)
    assert "REGRESSED" in broken
    assert example.found in broken
