"""What training minimizes: the task's loss, or a user's own function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from qreg.errors import ContractError, QregError
from qreg.registry import import_object
from qreg.tasks import get_task
from qreg.training.recipe import Recipe

#: Maps (outputs, targets) of a batch to a number that can be differentiated.
Loss = Callable[[Any, Any], torch.Tensor]
_HINT = "give --loss package.module:function of (outputs, targets), which returns one number"


def loss_of(recipe: Recipe) -> Loss:
    """The loss of a recipe.

    Raises:
        ContractError: it names none, and the task has none.
    """
    if recipe.loss:
        return _checked(recipe.loss, import_object(recipe.loss, kind="loss"))
    task = get_task(recipe.task)
    if task.against_reference:
        raise ContractError(
            f"task '{recipe.task}' compares with fp32's outputs: there is nothing to learn from",
            hint=f"{_HINT}, or let the factory bring its weights",
        )
    if task.loss is None:
        raise ContractError(f"task '{recipe.task}' has no loss to train with", hint=_HINT)
    return _checked(f"of task {recipe.task}", task.loss, task.score)


def _checked(
    name: str,
    function: Callable[[Any, Any], Any],
    score: Callable[[Any, Any], Any] | None = None,
) -> Loss:
    """A loss whose errors are named; a task's scores say best what does not fit."""

    def loss(outputs: Any, targets: Any) -> torch.Tensor:
        try:
            found = function(outputs, targets)
        except QregError:
            raise
        except Exception as error:
            if score is not None:
                with suppress(ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
                    score(outputs, targets)
            text = " ".join(str(error).split())[:200]
            raise ContractError(
                f"the loss {name} failed: {type(error).__name__}: {text}",
                hint="it is called with the outputs and the targets of a batch",
            ) from error
        if not isinstance(found, torch.Tensor) or found.numel() != 1 or not found.requires_grad:
            kind = type(found).__name__
            shape = f" of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
            raise ContractError(
                f"the loss {name} returned a {kind}{shape}",
                hint="return one number that depends on the model's outputs: loss.mean()",
            )
        return found

    return loss
