"""Checkpoint files: tensors as safetensors, with recipe and sha256 in a JSON file next to them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from qreg.data.files import file_sha256
from qreg.errors import CheckpointError, CorruptFileError, MissingCheckpointError
from qreg.files import folder_locked, read_regular, resolved, shipped_folder, write_atomically
from qreg.models import names_of
from qreg.models.weights import dense_bytes
from qreg.records.case import file_part
from qreg.records.method import CheckpointKind
from qreg.training.recipe import Recipe, read_recipe, recipe_text
from qreg.training.storage import load_stored, pack

# Bytes of names, shapes and types at most, of thousands of tensors.
_HEADER = 1 << 22


def checkpoint_folders(chosen: Path | None = None) -> tuple[Path, ...]:
    """The folders searched for checkpoints, in order; new ones are written to the first.

    `chosen`, else ``QREG_CHECKPOINTS``, else ``baselines/checkpoints`` here; then the shipped.
    """
    own = chosen or Path(os.environ.get("QREG_CHECKPOINTS") or "baselines/checkpoints")
    shipped = shipped_folder() / "checkpoints"
    return (own,) if resolved(own) == resolved(shipped) else (own, shipped)


def checkpoint_path(folder: Path, model: str, dataset: str, kind: CheckpointKind) -> Path:
    """The file of one checkpoint. A user's ``package.module:factory`` has ':' replaced by '.'."""
    return folder / dataset / file_part(model) / f"{kind}.safetensors"


def find_checkpoint(
    folders: tuple[Path, ...], model: str, dataset: str, kind: CheckpointKind
) -> Path:
    """The first of the folders' files for this checkpoint, by the model's name or its factory's.

    Raises:
        MissingCheckpointError: none has it.
    """
    names = names_of(model)
    for name in names:
        for folder in folders:
            path = checkpoint_path(folder, name, dataset, kind)
            if path.exists():
                return path
    # not the shipped ones: they lie elsewhere on the machines of a cluster
    tried = [checkpoint_path(folders[0], name, dataset, kind) for name in names]
    raise MissingCheckpointError(
        f"no checkpoint {kind} of {model} on {dataset}: tried {', '.join(map(str, tried))}",
        hint=f"create it with: qreg train --model {model} --dataset {dataset} --method {kind}",
    )


def save_checkpoint(path: Path, model: nn.Module, recipe: Recipe) -> Recipe:
    """Write a model's tensors and its recipe; returns the recipe with the file's sha256."""
    from safetensors.torch import save

    content = save(pack(model))
    complete = replace(recipe, sha256=hashlib.sha256(content).hexdigest())
    with folder_locked(path.parent):  # two savers would mix their pairs
        # the recipe first, under another name: killed in between, its reader completes the pair
        write_atomically(_pending(path), recipe_text(complete).encode())
        write_atomically(path, content)
        _complete(path)
    return complete


def _pending(path: Path) -> Path:
    return path.with_suffix(".json.new")


def _complete(path: Path) -> None:
    with contextlib.suppress(OSError):  # another has done so, or the folder is read-only
        os.replace(_pending(path), path.with_suffix(".json"))


def recipe_of(path: Path) -> Recipe:
    """The recipe of a checkpoint, which must be that of this model, dataset and kind.

    Raises:
        CheckpointError: it cannot be read, or is another's.
    """
    with contextlib.suppress(CheckpointError, OSError):
        pending = read_recipe(_pending(path))
        if pending.sha256 == file_sha256(path):
            _complete(path)
            return _checked(pending, path)
    return _checked(read_recipe(path.with_suffix(".json")), path)


def _checked(recipe: Recipe, path: Path) -> Recipe:
    named = (recipe.dataset, file_part(recipe.model), recipe.kind)
    if path.with_suffix("").parts[-3:] != named:
        raise CheckpointError(
            f"{path.with_suffix('.json')} is the recipe of {'/'.join(named)}",
            hint="the file is left unchanged: restore it, or train again: qreg train --force",
        )
    return recipe


def load_checkpoint(path: Path, build: Callable[[], nn.Module]) -> tuple[nn.Module, Recipe]:
    """Build a model and load a checkpoint into it, after verifying the file's sha256.

    Raises:
        CorruptFileError: the file differs from its recorded sha256.
        CheckpointError: the tensors do not fit the model, or the recipe is damaged.
    """
    recipe = recipe_of(path)
    hint = (
        "the file is left unchanged: restore it, or train it again with: qreg train --force "
        f"--model {recipe.model} --dataset {recipe.dataset} --method {recipe.kind}"
    )
    model = build()
    try:
        content = read_regular(path, most=_most(model))
    except OSError as error:
        found = error.strerror or str(error)
        raise CorruptFileError(path, expected="a checkpoint", found=found, hint=hint) from error
    found = hashlib.sha256(content).hexdigest()
    if found != recipe.sha256:
        raise CorruptFileError(
            path, expected=f"sha256 {recipe.sha256}", found=f"sha256 {found}", hint=hint
        )
    try:
        load_stored(model, content)
    except ValueError as error:
        raise CheckpointError(
            f"{path} does not fit {recipe.model}: {error}",
            hint="if the model's code has changed, train the checkpoint again with: qreg train",
        ) from error
    return model, recipe


def _most(model: nn.Module) -> int:
    """Bytes that a checkpoint of a model may have: twice its state, and a header."""
    state = sum(dense_bytes(one) for one in model.state_dict().values())
    return 2 * state + _HEADER
