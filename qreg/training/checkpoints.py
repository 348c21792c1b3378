"""Checkpoint files: tensors as safetensors, with recipe and sha256 in a JSON file next to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from qreg.data.files import file_sha256
from qreg.errors import CheckpointError, CorruptFileError, MissingCheckpointError
from qreg.files import shipped_folder, write_atomically
from qreg.records.case import file_part
from qreg.training.recipe import Recipe, read_recipe, recipe_text
from qreg.training.storage import pack, unpack


def checkpoint_folders(chosen: Path | None = None) -> tuple[Path, ...]:
    """The folders searched for checkpoints, in order; new ones are written to the first.

    `chosen`, else ``QREG_CHECKPOINTS``, else ``baselines/checkpoints`` here; then the shipped.
    """
    own = chosen or Path(os.environ.get("QREG_CHECKPOINTS") or "baselines/checkpoints")
    shipped = shipped_folder() / "checkpoints"
    return (own,) if own.resolve() == shipped.resolve() else (own, shipped)


def checkpoint_path(folder: Path, model: str, dataset: str, kind: str) -> Path:
    """The file of one checkpoint. A user's ``package.module:factory`` has ':' replaced by '.'."""
    return folder / dataset / file_part(model) / f"{kind}.safetensors"


def find_checkpoint(folders: tuple[Path, ...], model: str, dataset: str, kind: str) -> Path:
    """The first of the folders' files for this checkpoint.

    Raises:
        MissingCheckpointError: none has it.
    """
    tried = [checkpoint_path(folder, model, dataset, kind) for folder in folders]
    for path in tried:
        if path.exists():
            return path
    raise MissingCheckpointError(
        f"no checkpoint {kind} of {model} on {dataset}: tried {', '.join(map(str, tried))}",
        hint=f"create it with: qreg train --model {model} --dataset {dataset} --method {kind}",
    )


def save_checkpoint(path: Path, model: nn.Module, recipe: Recipe) -> Recipe:
    """Write a model's tensors and its recipe; returns the recipe with the file's sha256."""
    from safetensors.torch import save

    content = save(pack(model))
    complete = replace(recipe, sha256=hashlib.sha256(content).hexdigest())
    write_atomically(path, content)
    recipe_path = path.with_suffix(".json")
    write_atomically(recipe_path, recipe_text(complete).encode())
    return complete


def load_checkpoint(path: Path, build: Callable[[], nn.Module]) -> tuple[nn.Module, Recipe]:
    """Build a model and load a checkpoint into it, after verifying the file's sha256.

    Raises:
        CorruptFileError: the file differs from its recorded sha256.
        CheckpointError: the tensors do not fit the model.
    """
    from safetensors.torch import load

    recipe = read_recipe(path.with_suffix(".json"))
    found = file_sha256(path)
    if found != recipe.sha256:
        raise CorruptFileError(
            path,
            expected=f"sha256 {recipe.sha256}",
            found=f"sha256 {found}",
            hint="the file is left unchanged: restore it, or train it again with: qreg train "
            f"--model {recipe.model} --dataset {recipe.dataset} --method {recipe.kind}",
        )
    model = build()
    try:
        model.load_state_dict(unpack(load(path.read_bytes())))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit {recipe.model}: {error}",
            hint="the model's code has changed: train the checkpoint again with: qreg train",
        ) from error
    return model, recipe
