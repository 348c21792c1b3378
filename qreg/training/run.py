"""From a recipe to a checkpoint file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.data import Dataset, Samples, inputs
from qreg.measure.options import Options
from qreg.models import build_model
from qreg.quantization import get_method
from qreg.training.checkpoints import (
    checkpoint_path,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from qreg.training.loop import Step, train
from qreg.training.recipe import Recipe
from qreg.training.storage import pack, unpack

_EVALUATION_BATCH = 500


def make_checkpoint(
    recipe: Recipe,
    *,
    dataset: Dataset,
    options: Options,
    out: Path,
    report: Callable[[Step], None],
) -> Recipe:
    """Train what the recipe says and write it into the folder `out`.

    Fine-tuned kinds start from the fp32 checkpoint found there, else where `options` say.
    Finished epochs of an interrupted run of the same recipe are kept; its state file goes when
    the checkpoint is there.

    Returns:
        Recipe: completed with sha256, test accuracy and what it was trained on.
    """
    split, folders = options.load(dataset, "train"), (out, *options.folders)
    recipe = replace(
        recipe,
        torch=torch.__version__.partition("+")[0],
        dataset_fingerprint=split.fingerprint(),
        train_images=len(split),
    )
    model, recipe = _start(recipe, folders)
    path = checkpoint_path(out, recipe.model, recipe.dataset, recipe.kind)
    state_file = path.with_suffix(".partial")
    train(model, split, recipe, state_file=state_file, report=report)
    model.apply(ao.disable_observer)
    model.load_state_dict(unpack(pack(model)))
    test = options.load(dataset, "test")
    correct = _correct(model, test)
    done = save_checkpoint(path, model, replace(recipe, test_correct=correct, test_total=len(test)))
    state_file.unlink(missing_ok=True)
    return done


def _start(recipe: Recipe, folders: tuple[Path, ...]) -> tuple[nn.Module, Recipe]:
    if recipe.kind == "fp32":
        return build_model(recipe.model, seed=recipe.seed), replace(recipe, starts_from="")
    path = find_checkpoint(folders, recipe.model, recipe.dataset, "fp32")
    model, fp32 = load_checkpoint(path, lambda: build_model(recipe.model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.ao.quantization: measuring reports them
        model = get_method(recipe.kind).skeleton(model)
    model.apply(ao.enable_observer)
    return model, replace(recipe, starts_from=fp32.sha256)


@torch.no_grad()
def _correct(model: nn.Module, samples: Samples) -> int:
    model.eval()
    right = 0
    for batch in samples.batches(_EVALUATION_BATCH):
        right += int((inputs.call(model, batch.inputs).argmax(dim=1) == batch.targets).sum())
    return right
