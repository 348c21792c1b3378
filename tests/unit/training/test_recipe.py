from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import CheckpointError
from qreg.records.method import CheckpointKind
from qreg.training.recipe import Recipe, default_recipe, read_recipe, recipe_text


def _recipe() -> Recipe:
    return default_recipe("simple_cnn", "shapes10", "fp32")


def test_it_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "fp32.json"
    recipe = replace(_recipe(), sha256="ab", test_correct=3, test_total=4)
    path.write_text(recipe_text(recipe))
    assert read_recipe(path) == recipe


@pytest.mark.parametrize("kind", CheckpointKind)
def test_fine_tuning_takes_the_same_steps_whatever_the_kind(kind: str) -> None:
    found = default_recipe("simple_cnn", "cifar10", kind)
    control = default_recipe("simple_cnn", "cifar10", "fp32-finetuned")
    assert (replace(found, kind="fp32-finetuned") == control) is (kind != "fp32")


@pytest.mark.parametrize(
    "changes",
    [{"kind": "static"}, {"epochs": 0}, {"learning_rate": -1.0}, {"batch_size": 0}],
)
def test_an_impossible_recipe_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        replace(_recipe(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "fp32.json: "),
        ("[1]", "not a JSON object"),
        ('{"format": 99}', "format 99, this qreg reads 1"),
        ('{"format": 1}', "no such key"),
        ('{"format": 1, "colour": "red"}', "no such key"),
    ],
)
def test_a_damaged_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fp32.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_recipe(path)
    assert path.read_text() == text


def test_its_keys_are_sorted() -> None:
    keys = list(json.loads(recipe_text(_recipe())))
    assert keys == sorted(keys)
