"""--weights-file: every command that takes a model measures the model with that file's weights."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from qreg.cli import build_parser, main
from qreg.models import build_model
from qreg.quantization.engines import default_engine
from qreg.records.case import Case
from qreg.selection import models_with_weights

TABLE = """
[tool.qreg]
models = ["{nets}:make_net"]
datasets = ["colours.npz"]
methods = ["fp32", "dynamic"]
"""
NEEDS_NONE = {"baseline show", "history show", "history html", "speed history"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "other.safetensors"


@pytest.fixture
def project(
    own_cache: Path, nets: str, colours: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    from safetensors.torch import save_file

    root = file.parent
    if colours.parent != root:
        (root / "colours.npz").write_bytes(colours.read_bytes())
    (root / "pyproject.toml").write_text(TABLE.format(nets=nets))
    model = build_model(f"{nets}:make_net", seed=3)
    state = getattr(model, "model", model).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    monkeypatch.chdir(root)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("QREG_BASELINES", raising=False)
    return root


def test_a_baseline_of_a_files_weights(
    project: Path, nets: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from qreg.baselines.store import Store
    from qreg.data.files import file_sha256

    update = ["baseline", "update", "--category", "create", "--reason", "first"]
    assert main([*update, "--weights-file", file.name]) == 0
    said = capsys.readouterr().err
    table = f'models = [{{ factory = "{nets}:make_net", weights = "{file.name}" }}]'
    assert table in said
    (baseline,) = Store(project / "baselines").read(
        Case("colours", f"{nets}:make_net", "fp32", default_engine())
    )
    digest = file_sha256(file)
    assert baseline.snapshot.checkpoint == f"file:{digest}"
    # what was brought is of that command only
    assert main(["baseline", "diff"]) == 1
    assert "0 unchanged" in capsys.readouterr().out
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace(f'models = ["{nets}:make_net"]', table))
    capsys.readouterr()
    assert main([*update[:-1], "again", "--weights-file", file.name]) == 0
    assert "does not know" not in capsys.readouterr().err
    assert main(["baseline", "diff"]) == 0


def test_of_one_model_at_a_time(
    project: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["baseline", "diff", "--weights-file"]
    assert main([*asked, "none.safetensors"]) == 2
    assert "no weights at none.safetensors" in capsys.readouterr().err
    assert main([*asked, file.name, "--model", "simple_cnn,linear_100"]) == 2
    assert "--weights-file with 2 models" in capsys.readouterr().err
    assert main([*asked, file.name, "--model", "simple_cnn"]) == 2
    assert "--checkpoints DIR" in capsys.readouterr().err
    assert models_with_weights() == ()


def test_fresh_processes_have_them_too(project: Path, nets: str, file: Path) -> None:
    from safetensors.torch import load_file

    from qreg.measure.options import Options
    from qreg.processes.child import job_options

    options = Options(weight_files=((f"{nets}:make_net", str(file)),))
    job_options({"options": json.loads(json.dumps(options.plain()))})
    model = build_model(f"{nets}:make_net", seed=0)
    own = getattr(model, "model", model).state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in load_file(file).items())
    job_options({"options": Options().plain()})
    assert models_with_weights() == ()


def _commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, set[str]]:
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        return {name: {one.dest for one in parser._actions}}
    found: dict[str, set[str]] = {}
    for actions in below:
        for one, inner in actions.choices.items():
            found |= _commands(inner, f"{name} {one}".strip())
    return found


def test_every_command_that_takes_a_model_takes_its_weights() -> None:
    for name, options in _commands(build_parser()).items():
        if options & {"model", "models", "init_model"} and name not in NEEDS_NONE:
            assert "weights_file" in options, name


def test_what_a_method_starts_from_is_trained_by_a_command_that_finds_it(
    project: Path, nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the method's own name, and by a name of the data that is found."""
    train = f"qreg train --model {nets}:make_net --dataset colours.npz --method fx-qat"
    (project / "pyproject.toml").unlink()
    given = ["--dataset", "colours.npz", "--methods", "fx-qat"]
    assert main(["init", f"{nets}:make_net", *given]) == 0
    assert f"next:\n  {train}\n  qreg baseline update" in capsys.readouterr().out
    assert main(["compare", "--limit", "4", "--threads", "1", "--methods", "fx-qat"]) == 1
    said = capsys.readouterr().err
    assert f"create it with: qreg train --model {nets}:make_net" in said
    assert "--method fx-qat" in said
