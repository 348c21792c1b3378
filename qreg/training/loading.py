"""Loading a model with its weights, and identifying the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from qreg.errors import MissingCheckpointError, OtherWeightsError
from qreg.models import brought_weights, is_shipped
from qreg.records.method import CheckpointKind
from qreg.records.weights import Weights, WeightsSource
from qreg.training.checkpoints import find_checkpoint, load_checkpoint, recipe_of
from qreg.training.recipe import Recipe

_BROUGHT = (WeightsSource.FACTORY, WeightsSource.FILE)


def load_trained(
    model: str,
    dataset: str,
    kind: CheckpointKind,
    folders: tuple[Path, ...],
    build: Callable[[], nn.Module],
) -> tuple[nn.Module, Weights]:
    """A model with the checkpoint of that kind, or fp32 with the weights that it brings.

    Args:
        build: returns the structure that the checkpoint's tensors fit, with the weights that the
            model brings.

    Raises:
        MissingCheckpointError: there is none, and the model is one of the shipped, or must be
            trained for this kind.
        OtherWeightsError: the checkpoint was not trained from the weights that the model brings.
        CheckpointError: the checkpoint does not fit; CorruptFileError: it is damaged.
    """
    shipped = is_shipped(model)
    try:
        path = find_checkpoint(folders, model, dataset, kind)
    except MissingCheckpointError:
        if shipped or kind != CheckpointKind.FP32:
            raise
        return build(), brought_weights(model)
    if not shipped:
        _refuse_others(path, model, dataset, folders)
    loaded, recipe = load_checkpoint(path, build)
    return loaded, Weights(WeightsSource.CHECKPOINT, recipe.sha256)


def starting_weights(model: str, dataset: str, folders: tuple[Path, ...]) -> str:
    """sha256 of what a fine-tuning starts from; "" where there is nothing but random weights.

    It is the fp32 checkpoint where there is one, else the weights that the model brings.

    Raises: as `load_trained`.
    """
    try:
        path = find_checkpoint(folders, model, dataset, CheckpointKind.FP32)
    except MissingCheckpointError:
        brought = brought_weights(model)
        return brought.sha256 if brought.source in _BROUGHT else ""
    _refuse_others(path, model, dataset, folders)
    return recipe_of(path).sha256


def own_weights(model: str) -> str:
    """sha256 of the weights that a model brings; "" where they are random."""
    if is_shipped(model):
        return ""
    brought = brought_weights(model)
    return brought.sha256 if brought.source in _BROUGHT else ""


def _refuse_others(path: Path, model: str, dataset: str, folders: tuple[Path, ...]) -> None:
    brought = brought_weights(model)
    if brought.source not in _BROUGHT:
        return
    recipe = recipe_of(path)
    if brought.sha256 in _origins(recipe, model, dataset, folders):
        return
    raise OtherWeightsError(
        f"{path} was trained from other weights than model '{model}' brings now ({brought})",
        hint=f"train it again from these: qreg train --force --model {model} --dataset {dataset} "
        f"--method {recipe.kind}; or remove the checkpoint, or bring the weights back",
    )


def _origins(recipe: Recipe, model: str, dataset: str, folders: tuple[Path, ...]) -> set[str]:
    """sha256 of what a checkpoint was trained from, and of what that was trained from."""
    found = {recipe.starts_from}
    try:
        fp32 = recipe_of(find_checkpoint(folders, model, dataset, CheckpointKind.FP32))
    except MissingCheckpointError:
        return found
    if recipe.starts_from == fp32.sha256:
        found.add(fp32.starts_from)
    return found
