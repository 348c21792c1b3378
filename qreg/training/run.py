"""From a recipe to a checkpoint file."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.ao import quantization as ao

from qreg.data import CLASSIFICATION, Batch, Dataset, Samples, inputs
from qreg.errors import QregError
from qreg.measure.observation import Observer, class_labels
from qreg.measure.options import Options
from qreg.models import build_model, check_logits, is_shipped
from qreg.models.contract import takes
from qreg.models.weights import laid_out
from qreg.quantization import Context, get_method
from qreg.quantization.engines import default_engine, use_engine
from qreg.quantization.needs import check_needs
from qreg.records.method import CheckpointKind
from qreg.report.score import number
from qreg.training.checkpoints import (
    checkpoint_path,
    find_checkpoint,
    save_checkpoint,
)
from qreg.training.loading import load_trained, own_weights, starting_weights
from qreg.training.loop import Step, cannot_be, diverged, train
from qreg.training.losses import loss_of
from qreg.training.recipe import Recipe
from qreg.training.storage import pack, unpack

_EVALUATION_BATCH = 500
# Samples of the batch that is trained before the first epoch: enough for BatchNorm.
_REHEARSAL = 4


def make_checkpoint(
    recipe: Recipe,
    *,
    dataset: Dataset,
    options: Options,
    out: Path,
    report: Callable[[Step], None],
    method: str = "",
) -> Recipe:
    """Train what the recipe says and write it into the folder `out`.

    Fine-tuned kinds start from the fp32 checkpoint found there, else where `options` say; without
    one from the weights that the model brings, from its factory or a file. Before the first epoch
    a batch is trained on a copy, which is then converted and run.
    Finished epochs of an interrupted run of the same recipe are kept; its state file goes when
    the checkpoint is there.

    Args:
        method: what the trained model is to be converted by; that of the recipe's kind if "".

    Returns:
        Recipe: completed with sha256, test accuracy and what it was trained on.
    """
    recipe = replace(recipe, task=dataset.task)
    loss_of(recipe)  # raises where there is none
    split, folders = options.load(dataset, "train"), (out, *options.folders)
    recipe = replace(
        recipe,
        torch=torch.__version__.partition("+")[0],
        dataset_fingerprint=split.fingerprint(),
        train_images=len(split),
    )
    model, recipe = _start(recipe, folders, split)
    rehearse(model, split, recipe, classes=len(dataset.classes), method=method)
    path = checkpoint_path(out, recipe.model, recipe.dataset, recipe.kind)
    state_file = path.with_suffix(".partial")
    train(model, split, recipe, state_file=state_file, report=report)
    model.apply(ao.disable_observer)
    model.load_state_dict(laid_out(unpack(pack(model)), model.state_dict()))
    for name, one in model.named_parameters():
        if not one.isfinite().all():  # float16 ends at 65,504
            raise diverged(recipe, f"{name} has values that are not finite, stored as float16")
    test = options.load(dataset, "test")
    done = save_checkpoint(path, model, replace(recipe, **_tested(model, test, dataset)))
    state_file.unlink(missing_ok=True)
    return done


def _start(recipe: Recipe, folders: tuple[Path, ...], split: Samples) -> tuple[nn.Module, Recipe]:
    from_scratch = recipe.kind == CheckpointKind.FP32

    def build() -> nn.Module:
        made = build_model(recipe.model, seed=recipe.seed if from_scratch else 0)
        return made if is_shipped(recipe.model) else takes(made, split.first(2).inputs)

    if from_scratch:
        return build(), replace(recipe, starts_from=own_weights(recipe.model))
    starts_from = starting_weights(recipe.model, recipe.dataset, folders)
    if not starts_from:
        # raises: there is neither a checkpoint nor are weights brought
        find_checkpoint(folders, recipe.model, recipe.dataset, CheckpointKind.FP32)
    model, _ = load_trained(recipe.model, recipe.dataset, CheckpointKind.FP32, folders, build)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.ao.quantization: measuring reports them
        model = get_method(recipe.kind).skeleton(model)
    model.apply(ao.enable_observer)
    return model, replace(recipe, starts_from=starts_from)


def rehearse(
    model: nn.Module, split: Samples, recipe: Recipe, *, classes: int, method: str = ""
) -> None:
    """Train one batch on a copy, convert the copy and run it, so that no epoch is lost to it.

    Raises:
        ContractError: one of the three fails, with the layer and what to do.
    """
    copied, first = copy.deepcopy(model), split.first(min(recipe.batch_size, _REHEARSAL))
    chosen = get_method(method or recipe.kind)
    stage = "trained"
    try:
        with torch.random.fork_rng(devices=()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = inputs.call(copied.train(), first.inputs)
            check_logits(recipe.model, outputs, batch=len(first), classes=classes, task=recipe.task)
            _check_targets(first, recipe)
            loss_of(recipe)(outputs, first.targets).backward()
            copied.apply(ao.disable_observer)
            stage = "converted and run"
            engine = default_engine()
            with use_engine(engine), torch.no_grad():
                context = Context(engine, lambda: iter((first.inputs,)), first.inputs)
                check_needs(chosen, engine)
                quantized = chosen.quantize(copied.eval(), context)
                inputs.call(quantized, first.inputs)
    except QregError:
        raise
    except Exception as error:
        raise cannot_be(stage, recipe, error) from error


def _check_targets(batch: Batch, recipe: Recipe) -> None:
    """Cross-entropy would take other numbers for probabilities of classes."""
    if recipe.task == CLASSIFICATION and not recipe.loss:
        class_labels(batch, recipe.dataset)


@torch.no_grad()
def _tested(model: nn.Module, samples: Samples, dataset: Dataset) -> dict[str, Any]:
    """What the recipe says of the test samples."""
    observer = Observer(dataset)
    for batch in samples.batches(_EVALUATION_BATCH):
        observer.add(inputs.call(model.eval(), batch.inputs), batch)
    seen = observer.result()
    found: dict[str, Any] = {"test_correct": seen.correct, "test_total": len(samples)}
    if seen.score:
        shown = f"{seen.score.summary} {number(seen.score.value, seen.score.unit)}"
        found["test_result"] = f"{shown} {seen.score.unit}".rstrip()
    return found
