"""The examples, what the commands are given for each, and a folder in which they are typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GATE = "pytest -m regression -q -p no:cacheprovider"


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

    @property
    def named(self) -> str:
        """Model and dataset, as options."""
        return f"--model {self.model} --dataset {self.data}"

    @property
    def task_option(self) -> str:
        return f"--task {self.task}" if self.task else ""


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


class Project:
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

    def shrink(self) -> None:
        """Leave 200 samples to train with and 100 to test."""
        text = self.module.read_text()
        fewer = re.sub(r"\b(2000|4000), ", "200, ", re.sub(r"\b(500|1000), ", "100, ", text))
        assert fewer.count("200, ") == fewer.count("100, ") == 1, fewer
        self.module.write_text(fewer)
