from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from qreg.errors import CheckpointError, CorruptFileError, MissingCheckpointError
from qreg.files import shipped_folder
from qreg.models import MODELS, build_model
from qreg.quantization import get_method
from qreg.training.checkpoints import (
    checkpoint_folders,
    checkpoint_path,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from qreg.training.recipe import default_recipe
from qreg.training.storage import pack

SHIPPED = shipped_folder() / "checkpoints"
SHIPPED_KINDS = ("fp32", "fp32-finetuned", "qat")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = checkpoint_path(tmp_path, "linear_100", "shapes10", "fp32")
    recipe = default_recipe("linear_100", "shapes10", "fp32")
    save_checkpoint(path, build_model("linear_100", seed=5), recipe)
    return path


def _load(path: Path, model: str = "linear_100") -> torch.nn.Module:
    return load_checkpoint(path, lambda: build_model(model))[0]


def test_what_was_saved_is_loaded(saved: Path) -> None:
    expected = pack(build_model("linear_100", seed=5))
    found = pack(_load(saved))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("damage", ["flip", "truncate", "pickle"])
def test_a_damaged_file_is_refused_and_left_as_it_is(saved: Path, damage: str) -> None:
    content = bytearray(saved.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    if damage == "truncate":
        del content[-100:]
    if damage == "pickle":
        content = bytearray(pickle.dumps({"weight": 1}))
    saved.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"expected sha256 \w{64}, found sha256 \w{64}"):
        _load(saved)
    assert saved.read_bytes() == content


def test_tensors_of_another_model_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit linear_100"):
        _load(saved, "simple_cnn")


def test_a_missing_checkpoint_reports_the_searched_folders_and_the_command(
    tmp_path: Path,
) -> None:
    with pytest.raises(MissingCheckpointError, match=str(tmp_path)) as caught:
        find_checkpoint((tmp_path,), "linear_100", "shapes10", "qat")
    assert caught.value.hint.endswith(
        "qreg train --model linear_100 --dataset shapes10 --method qat"
    )


def test_a_chosen_folder_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QREG_CHECKPOINTS", str(tmp_path / "env"))
    assert checkpoint_folders()[0] == tmp_path / "env"
    assert checkpoint_folders(tmp_path / "own") == (tmp_path / "own", SHIPPED)


@pytest.mark.parametrize("kind", SHIPPED_KINDS)
@pytest.mark.parametrize("dataset", ["shapes10", "cifar10"])
@pytest.mark.parametrize("model", MODELS.names())
def test_every_shipped_checkpoint_loads(model: str, dataset: str, kind: str) -> None:
    path = find_checkpoint((SHIPPED,), model, dataset, kind)
    skeleton = get_method(kind).skeleton
    _, recipe = load_checkpoint(path, lambda: skeleton(build_model(model)))
    assert (recipe.model, recipe.dataset, recipe.kind) == (model, dataset, kind)
    assert recipe.test_total > 9_900
    if kind != "fp32":
        fp32 = find_checkpoint((SHIPPED,), model, dataset, "fp32")
        _, start = load_checkpoint(fp32, lambda: build_model(model))
        assert recipe.starts_from == start.sha256


def test_the_control_took_exactly_the_steps_of_qat() -> None:
    from dataclasses import replace

    from qreg.training.recipe import read_recipe

    pairs = list(SHIPPED.rglob("qat*.json"))
    assert len(pairs) >= 8
    for path in pairs:
        qat = read_recipe(path)
        control = read_recipe(path.with_name("fp32-finetuned.json"))
        assert replace(qat, kind="fp32-finetuned").same_training(control), path


def test_all_of_them_are_under_20_mb() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 20e6
