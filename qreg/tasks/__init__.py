"""Tasks by name or as a user's ``package.module:TASK``: from outputs and targets to scores.

A task turns what a model returned, and what was wanted, into **one score per sample**. Outputs and
targets are opaque: a tensor, several, or named ones; only the task looks inside. See
`qreg.tasks.task.Task` for the contract, and the factories of the shipped ones for their options.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qreg.errors import ContractError
from qreg.registry import Registry

if TYPE_CHECKING:
    from qreg.records.score import Score
    from qreg.tasks.task import Array, Scores, Summary, Task

TASKS: Registry[Task] = Registry("task")
TASKS.register("classification", "qreg.tasks.classification:TASK")
TASKS.register("classification-top5", "qreg.tasks.classification:TOP_5")
TASKS.register("multilabel", "qreg.tasks.multilabel:TASK")
TASKS.register("regression", "qreg.tasks.regression:TASK")
TASKS.register("regression-rmse", "qreg.tasks.regression:RMSE")
TASKS.register("segmentation", "qreg.tasks.segmentation:TASK")
TASKS.register("detection", "qreg.tasks.detection:TASK")
TASKS.register("embedding", "qreg.tasks.embedding:TASK")
TASKS.register("embedding-target", "qreg.tasks.embedding:AGAINST_TARGET")
TASKS.register("agreement", "qreg.tasks.agreement:TASK")
TASKS.register("sequence", "qreg.tasks.sequence:TASK")


def __getattr__(name: str) -> Any:
    # the names of tasks are known without numpy
    if name not in ("Scores", "Summary", "Task"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("qreg.tasks.task"), name)


def get_task(name: str) -> Task:
    """The task of that name, or at that ``package.module:object``.

    Raises:
        UnknownNameError: it is neither.
        ContractError: the object does not exist, or is not a `Task`.
    """
    from qreg.tasks.task import Task

    found = TASKS.get(name)
    if not isinstance(found, Task):
        raise ContractError(
            f"task '{name}' is a {type(found).__name__}, not a qreg.tasks.Task",
            hint="make one: Task(name=..., score=function of (outputs, targets), score_name=...)",
        )
    return found


def whole_set_summary(score: Score | None) -> Callable[[Array], float] | None:
    """The summary of a score's task, where it is of the whole set and no mean; else None."""
    if score is None or not score.rows:
        return None
    summary = get_task(score.task).summary
    return summary.of if summary.set_level else None


__all__ = ["TASKS", "Scores", "Summary", "Task", "get_task", "whole_set_summary"]
