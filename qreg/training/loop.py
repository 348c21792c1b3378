"""The training loop: each epoch is saved, and is a function of (recipe, epoch)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from qreg.data import Batch, Samples, inputs
from qreg.data.images import ImageSamples
from qreg.data.samples import Rows
from qreg.diagnosis.run import diagnosis_of
from qreg.errors import ContractError, QregError
from qreg.files import open_regular, write_atomically
from qreg.models.stubs import is_contiguous
from qreg.models.weights import dense, laid_out
from qreg.training.losses import Loss, loss_of
from qreg.training.recipe import Recipe, recipe_text

_SHIFT = 4  # pixels, of the random crop: He et al. (2015), section 4.2


@dataclass(frozen=True)
class Step:
    """The progress of a training, reported after every batch."""

    epoch: int
    batch: int
    batches: int
    loss: float


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine to 0."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def batch_cuts(count: int, size: int) -> list[tuple[int, int]]:
    """Start and stop of the batches of an epoch.

    A last batch of one sample, for which BatchNorm has no variance, joins the previous one.
    """
    starts = list(range(0, count, size))
    if len(starts) > 1 and size > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def train(
    model: nn.Module,
    split: Samples,
    recipe: Recipe,
    *,
    state_file: Path,
    report: Callable[[Step], None],
) -> nn.Module:
    """Train `model` in place, going on from `state_file` where it holds this recipe's epochs.

    The order and augmentation of an epoch are drawn from (seed, epoch), and momentum is saved
    with the weights, so that an interrupted training ends with the same bits.

    Raises:
        QregError: the loss is not finite.
        ContractError: the model or its data failed; what `report` raises is passed on as it is.
    """
    with _errors_named(recipe):
        _to_fastest_order(model, split)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    loss = loss_of(recipe)
    for epoch in range(_restore(state_file, recipe, model, optimizer), recipe.epochs):
        _train_epoch(model, optimizer, split, recipe, epoch, loss, report)
        _save(state_file, recipe, model, optimizer, epoch + 1)
    return model.eval().to(memory_format=torch.contiguous_format)


def _to_fastest_order(model: nn.Module, split: Samples) -> None:
    """Weights in channels_last order, in which convolutions train faster, if the model runs so."""
    if is_contiguous(model):
        return
    model.to(memory_format=torch.channels_last)
    copied = copy.deepcopy(model).eval()
    try:
        with torch.random.fork_rng(devices=()), torch.no_grad():
            inputs.call(copied, split.first(2).inputs)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        model.to(memory_format=torch.contiguous_format)


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Samples,
    recipe: Recipe,
    epoch: int,
    loss_of_batch: Loss,
    report: Callable[[Step], None],
) -> None:
    model.train()
    rng = np.random.Generator(np.random.PCG64([recipe.seed, epoch]))
    order = rng.permutation(len(split))
    cuts = batch_cuts(len(order), recipe.batch_size)
    batches = len(cuts)
    for batch, (start, stop) in enumerate(cuts):
        rows = order[start:stop]
        rate = learning_rate(recipe, epoch * batches + batch, recipe.epochs * batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with _errors_named(recipe):
            given = _augmented(split, rows, rng) if recipe.augment else split.read(rows)
            optimizer.zero_grad()
            loss = loss_of_batch(inputs.call(model, given.inputs), given.targets)
            step = Step(epoch=epoch, batch=batch + 1, batches=batches, loss=loss.item())
            if not math.isfinite(step.loss):
                raise diverged(
                    recipe, f"the loss is {step.loss} in epoch {epoch + 1}, {batch + 1}. batch"
                )
            loss.backward()
            optimizer.step()
        report(step)


@contextmanager
def _errors_named(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (QregError, OSError):
        raise
    except Exception as error:
        raise cannot_be("trained", recipe, error) from error


def cannot_be(stage: str, recipe: Recipe, error: Exception) -> ContractError:
    """The error of a model that failed at a stage of its training."""
    found = diagnosis_of(error)
    where = f"{found.where}: " if found.where else ""
    text = f"model '{recipe.model}' cannot be {stage}: {where}{found.reason}"
    return ContractError(text, hint=found.advice)


def diverged(recipe: Recipe, how: str) -> QregError:
    """The error of a training that leads nowhere."""
    return QregError(
        f"training {recipe.model} failed: {how}",
        hint=f"try a lower --learning-rate, {recipe.learning_rate / 10:g} for example; where that "
        "does not help, look at the inputs and targets",
    )


def _augmented(samples: Samples, rows: Rows, rng: np.random.Generator) -> Batch:
    if not isinstance(samples, ImageSamples):
        return samples.read(rows)  # it is the data's own to augment what are no pixels
    pixels = _augment(samples.images[rows], rng)
    targets = torch.from_numpy(samples.labels[rows])
    return Batch(samples.to_inputs(pixels), targets, samples.index[rows])


def _augment(pixels: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    count, height, width, _ = pixels.shape
    pad = ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0))
    padded = np.pad(pixels, pad, mode="reflect")
    down, right = rng.integers(0, 2 * _SHIFT + 1, size=(2, count, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    flip = rng.random(count) < 0.5
    columns[flip] = columns[flip, ::-1]
    cropped: npt.NDArray[np.uint8] = padded[
        np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return cropped


def _save(
    path: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    places = set()
    for name, tensor in model.state_dict().items():
        kept = dense(tensor.detach()).contiguous()
        # a layer may have two names, and the file takes no memory twice
        place = kept.untyped_storage().data_ptr()
        tensors[f"model.{name}"] = kept.clone() if place in places else kept
        places.add(place)
    for number, parameter in enumerate(model.parameters()):
        momentum = optimizer.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{number}"] = momentum.contiguous()
    about = {"recipe": recipe_text(recipe), "epochs": str(epochs)}
    write_atomically(path, save(tensors, metadata=about))


def _restore(path: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the state of this very recipe; returns the number of finished epochs."""
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("recipe") != recipe_text(recipe):
                return 0
            epochs = int(about["epochs"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # only time is lost: a damaged state means training from the start
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError):
        return 0
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    numbered = {f"momentum.{n}": p for n, p in enumerate(model.parameters())}
    wanted = state | {name: one for name, one in numbered.items() if name in tensors}
    if not 0 <= epochs <= recipe.epochs or not _alike(tensors, wanted):
        return 0
    found = {name.removeprefix("model."): tensors[name] for name in state}
    model.load_state_dict(laid_out(found, model.state_dict()))
    for name, parameter in numbered.items():
        if name in tensors:
            momentum = tensors[name].to(memory_format=torch.preserve_format)
            optimizer.state[parameter]["momentum_buffer"] = momentum
    return epochs


def _alike(tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    if tensors.keys() != wanted.keys():
        return False
    pairs = [(tensors[name], one) for name, one in wanted.items()]
    # the ranges of observers have the shape that was observed
    return all(a.dtype == b.dtype and (a.shape == b.shape or a.ndim < 2) for a, b in pairs)
