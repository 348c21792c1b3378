from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from qreg.check.records import InputShape
from qreg.cli import main

NETS = """
from torch import nn


def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


class Adding(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.fc((x + x).flatten(1))


class Killing(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, x):
        if type(self.fc) is not nn.Linear:
            import os, signal
            os.kill(os.getpid(), signal.SIGSEGV)
        return self.fc(x.flatten(1))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    name = f"checked_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / f"{name}.py"


def _check(project: Path, model: str, *options: str) -> int:
    return main(["check", f"{project.stem}:{model}", "--input", "3x8x8", *options])


def test_all_methods_work(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(project, "tiny", "--methods", "dynamic,static") == 0
    captured = capsys.readouterr()
    assert "contract kept, 2 of 2 methods work" in captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_a_blocked_method(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = project.parent / "check.json"
    options = ("--methods", "static,fx-static", "--json", str(file))
    assert _check(project, "Adding", *options) == 1
    captured = capsys.readouterr()
    assert "+ has no kernel for quantized tensors" in captured.out
    # two of the three were not asked for: they are advised because they were tried
    graphs = ", fx-static or pt2e-static" if find_spec("torchao") else " or fx-static"
    advised = f"use static-auto{graphs}, which work for this model"
    assert advised in " ".join(captured.out.split())
    assert "Traceback" not in captured.out + captured.err
    found = json.loads(file.read_text())
    static, fx = found["methods"]
    assert (static["outcome"], static["operator"]) == ("blocked", "+")
    assert static["where"] == f"{project.name}:16"
    assert "Traceback" in static["traceback"]
    assert fx["outcome"] == "works"
    assert found["contract"] == []


def test_random_inputs_are_within_their_range() -> None:
    from qreg.check.run import CheckRequest, random_inputs

    texts = ("ids=500:int64:3..5", "x=500:-2..7", "b=500:bool")
    shapes = tuple(map(InputShape.parse, texts))
    batch = random_inputs(CheckRequest("nets:tiny", (), "x86", inputs=shapes))[0]
    assert isinstance(batch, dict)
    assert set(batch["ids"].unique().tolist()) == {3, 4, 5}
    assert (-2 <= batch["x"].min() < -1.5, 6.5 < batch["x"].max() <= 7) == (True, True)
    assert batch["b"].all()


def test_a_crash_is_a_row(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _check(project, "Killing", "--methods", "dynamic") == 1
    assert "was killed by SIGSEGV" in capsys.readouterr().out


def test_init_writes_what_works(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--input", "3x8x8", "--methods", "dynamic,static"]
    assert main(["init", f"{project.stem}:Adding", *options]) == 0
    text = (project.parent / "pyproject.toml").read_text()
    assert 'methods = ["fp32", "dynamic"]' in text
    assert "qreg baseline update" in capsys.readouterr().out
    assert main(["init", f"{project.stem}:tiny", *options]) == 2
    assert (project.parent / "pyproject.toml").read_text() == text
    assert main(["init", f"{project.stem}:tiny", *options, "--force"]) == 0
    assert f"{project.stem}:tiny" in (project.parent / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["check", "nets:tiny", "--input", "3x"], "input '3x'"),
        (["check", "nets:tiny", "--input", "99999999x99999999"], "numbers"),
        (["check", "nets:tiny", "--input", "3", "--input", "a=3"], "some inputs have names"),
        (["check", "nets:tiny", "--input", "3", "--dataset", "x"], "--dataset and --input"),
        (["init"], "no model was found"),
    ],
)
def test_what_cannot_be_asked(
    argv: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert text in capsys.readouterr().err


def test_a_module_that_speaks_or_ends_when_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    speaks = f"speaks_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{speaks}.py").write_text(f'print("loading the nets")\n{NETS}')
    options = ("--input", "3x8x8", "--methods", "dynamic")
    assert main(["check", f"{speaks}:tiny", *options]) == 0
    assert "loading" not in "".join(capsys.readouterr())
    ends = f"ends_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{ends}.py").write_text(f"import sys\nsys.exit(3)\n{NETS}")
    assert main(["check", f"{ends}:tiny", *options]) == 2
    assert "the float model does not run: SystemExit: 3" in capsys.readouterr().out


def test_a_factory_that_needs_arguments_is_told_where_to_give_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with project.open("a") as file:
        file.write("\ndef sized(width):\n    return tiny()\n")
    assert _check(project, "sized", "--methods", "dynamic") == 2
    shown = " ".join(capsys.readouterr().out.split())
    advice = f'models = [{{ factory = "{project.stem}:sized", ARGUMENT = VALUE }}]'
    assert shown.count(advice) == 2  # of the contract, and of the method
    assert "traceback" not in shown


HOUSES = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def data():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    rows = TensorDataset(x, x[:, :1] * 2)
    return {"train": rows, "test": rows}
"""


@pytest.mark.slow
def test_a_task_that_does_not_fit_is_found_and_one_that_does_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"houses_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(HOUSES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = [f"{name}:mlp", "--dataset", f"{name}:data", "--methods", "dynamic"]
    assert main(["init", *given]) == 2
    seen = capsys.readouterr()
    assert "task 'classification' cannot score the outputs" in seen.out
    assert "--task regression" in seen.out
    assert "does not keep the contract" in seen.err
    assert not (tmp_path / "pyproject.toml").exists()
    assert main(["init", *given, "--task", "regression"]) == 0
    table = f'datasets = [{{ source = "{name}:data", task = "regression" }}]'
    assert table in (tmp_path / "pyproject.toml").read_text()
    assert main(["train", "--model", given[0], "--dataset", given[2], "--epochs", "1"]) == 0
    assert "MAE" in capsys.readouterr().out
    assert main(["compare", "--model", given[0], "--dataset", given[2], "--methods", "static"]) == 0
    assert "MAE" in capsys.readouterr().out


def test_init_writes_no_table_that_would_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Linear(2, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["init", "nets:net", "--dataset", "my photos.npz", "--task", "regression"]
    assert main(words) == 2
    assert "my photos" in capsys.readouterr().err
    assert not (tmp_path / "pyproject.toml").exists()
