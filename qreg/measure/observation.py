"""What a model's outputs on some samples say: rows of numbers, labels, predictions, scores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qreg.data import CLASSIFICATION, Batch, Dataset
from qreg.data.samples import Rows
from qreg.errors import ContractError, DataError
from qreg.records.score import Score
from qreg.tasks import Scores, get_task

#: Numbers of one sample's outputs that are kept, of a task whose outputs may be large.
KEPT_ELEMENTS = 128
#: For `kept_elements`: all numbers of a sample.
WHOLE = 1 << 62
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen of one model on N samples.

    Attributes:
        rows: float32 (N, K): logits of a classifier, else up to `KEPT_ELEMENTS` of each sample's
            outputs, of which there are `elements`.
        index: canonical indices (N,).
        labels: class labels (N,), None where the task has none.
        predictions: class labels or a task's codes (N,), None where it has none.
        score: what the task says; None for classification.
        cut: outputs a sample of a classifier that has more of them than there are classes; else 0.
    """

    rows: Array
    elements: int
    index: Rows
    labels: Rows | None
    predictions: Rows | None
    score: Score | None
    cut: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the reader of every table and verdict."""
        if not self.cut:
            return ()
        classes = self.rows.shape[1]
        taken = f"the first {classes} are taken to be the classes"
        return (f"{self.cut} outputs for {classes} classes: {taken}",)

    @property
    def correct(self) -> int:
        """How many predictions are the label; 0 where there are no labels."""
        if self.labels is None or self.predictions is None:
            return 0
        return int(np.count_nonzero(self.predictions == self.labels))

    @property
    def digest(self) -> str:
        """sha256 of the rows."""
        return hashlib.sha256(np.ascontiguousarray(self.rows, "<f4").tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class ObservedPart:
    """What an observer has taken: joined with other parts, it is as if one had taken all."""

    rows: Array
    index: Rows
    labels: Rows | None
    scores: Scores | None
    elements: int
    cut: int


class Observer:
    """Takes a model's outputs batch by batch, in any order of samples.

    Raises:
        DataError: targets are not what the task needs.
        ContractError: the outputs are not, or the task keeps no contract.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._classes = len(dataset.classes)
        self._name, self._task_name = dataset.name, dataset.task
        self.task = None if dataset.task == CLASSIFICATION else get_task(dataset.task)
        self._rows: list[Array] = []
        self._index: list[Rows] = []
        self._labels: list[Rows] = []
        self._scores: list[Scores] = []
        self._elements = self._cut = 0

    @property
    def needs_reference(self) -> bool:
        """Whether outputs are scored by fp32's on the same samples."""
        return self.task is not None and self.task.against_reference

    def add(self, outputs: Any, batch: Batch, reference: Any = None) -> None:
        """Take the outputs of a batch; `reference` are fp32's, where they are needed."""
        self._index.append(batch.index)
        if self.task is None:
            self._add_logits(outputs, batch)
            return
        rows, elements = kept_elements(outputs, len(batch))
        self._rows.append(rows)
        self._elements = max(self._elements, elements)
        targets = batch.targets
        if self.task.against_reference:
            targets = outputs if reference is None else reference
        found = self.task.observe(outputs, targets, count=len(batch), index=batch.index.tolist())
        self._scores.append(found)

    def _add_logits(self, outputs: Any, batch: Batch) -> None:
        labels = class_labels(batch, self._name)
        if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
            shape = getattr(outputs, "shape", None)
            found = type(outputs).__name__ if shape is None else f"shape {tuple(shape)}"
            raise ContractError(
                f"the model's outputs are no logits (N, classes), but {found}",
                hint='name the dataset\'s task, such as task = "regression" or '
                '"package.module:TASK"',
            )
        logits = outputs[:, : self._classes] if self._classes else outputs
        if len(labels) and int(labels.max()) >= logits.shape[1]:
            raise DataError(
                f"{self._name} has a label {int(labels.max())}, and the model {logits.shape[1]} "
                "outputs",
                hint="labels are 0 .. classes - 1",
            )
        if outputs.shape[1] > logits.shape[1]:
            self._cut = outputs.shape[1]
        self._rows.append(logits.float().numpy())
        self._elements = logits.shape[1]
        self._labels.append(labels)

    def part(self) -> ObservedPart:
        """What was taken, for an observer in another process."""
        return ObservedPart(
            rows=_same_width(self._rows),
            index=np.concatenate(self._index),
            labels=np.concatenate(self._labels) if self._labels else None,
            scores=Scores.join(self._scores) if self._scores else None,
            elements=self._elements,
            cut=self._cut,
        )

    def add_part(self, part: ObservedPart) -> None:
        """Take what another observer of the same dataset has taken, of other samples."""
        self._rows.append(part.rows)
        self._index.append(part.index)
        if part.labels is not None:
            self._labels.append(part.labels)
        if part.scores is not None:
            self._scores.append(part.scores)
        self._elements = max(self._elements, part.elements)
        self._cut = max(self._cut, part.cut)

    def result(self) -> Observation:
        """What was seen, in canonical order."""
        index = np.concatenate(self._index)
        order = np.argsort(index, kind="stable")
        rows = _same_width(self._rows)[order]
        labels = predictions = score = None
        if self.task is None:
            labels = np.concatenate(self._labels)[order]
            predictions = rows.argmax(axis=1)
        else:
            scores = _ordered(Scores.join(self._scores), order)
            # by the name it is found by, for a user's own
            score = replace(self.task.record(scores, index[order].tolist()), task=self._task_name)
            predictions = scores.predictions
        found = labels, predictions, score, self._cut
        return Observation(rows, self._elements, index[order], *found)


def _ordered(scores: Scores, order: Rows) -> Scores:
    rows, codes = scores.rows, scores.predictions
    return Scores(
        scores.values[order],
        None if rows is None else rows[order],
        None if codes is None else codes[order],
    )


def class_labels(batch: Batch, name: str) -> Rows:
    """The labels (N,) of a classification batch.

    Raises:
        DataError: its targets are none.
    """
    found = batch.targets
    if isinstance(found, (list, tuple)) and all(isinstance(one, int) for one in found):
        found = torch.tensor(found)
    if not isinstance(found, torch.Tensor) or found.shape != (len(batch),):
        shape = f" of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
        raise DataError(
            f"{name}: targets are a {type(found).__name__}{shape}",
            hint=f"class labels are whole numbers of shape ({len(batch)},); for others name the "
            'dataset\'s task, such as task = "regression"',
        )
    if found.is_floating_point() or found.dtype == torch.bool:
        raise DataError(
            f"{name}: targets are {str(found.dtype).removeprefix('torch.')}",
            hint="class labels are whole numbers; for others name the dataset's task, such as "
            'task = "regression"',
        )
    if len(found) and int(found.min()) < 0:
        raise DataError(f"{name} has a label {int(found.min())}", hint="labels are 0 or more")
    labels: Rows = found.numpy().astype(np.int64)
    return labels


def kept_elements(outputs: Any, count: int, *, most: int = KEPT_ELEMENTS) -> tuple[Array, int]:
    """Numbers of each sample's outputs, (count, K), and how many a sample has at most.

    Of more than `most`, `KEPT_ELEMENTS` are kept, the same ones of every sample, spread over its
    outputs: one of each of so many equal stretches, where in it is drawn from a fixed seed.
    """
    if isinstance(outputs, torch.Tensor) and outputs.ndim and outputs.shape[0] == count > 0:
        return _kept_of_tensor(outputs, most)
    flat = [
        np.concatenate(list(_numbers(outputs, row, count)) or [_NOTHING]) for row in range(count)
    ]
    longest = max(map(len, flat), default=0)
    if longest <= most and all(len(one) == longest for one in flat):
        return np.stack(flat).astype(np.float32), longest
    return np.stack([_selected(one) for one in flat]), longest


_NOTHING = np.zeros(0, np.float32)


def _kept_of_tensor(outputs: torch.Tensor, most: int) -> tuple[Array, int]:
    """The same of the usual case, without a step for each sample."""
    value = outputs.dequantize() if outputs.is_quantized else outputs
    rows: Array = value.detach().float().reshape(len(value), value[0].numel()).numpy()
    longest = rows.shape[1]
    # a copy: the model may use the memory of its outputs again
    return (rows.copy() if longest <= most else rows[:, _places(longest)]), longest


def _selected(values: Array) -> Array:
    found = np.zeros(KEPT_ELEMENTS, np.float32)
    if len(values):
        found[:] = values[_places(len(values))]
    return found


def _places(count: int) -> npt.NDArray[np.int64]:
    """Which of so many numbers are kept."""
    places = (np.arange(KEPT_ELEMENTS) + _DRAWN) / KEPT_ELEMENTS * count
    return places.astype(np.int64).clip(max=count - 1)


def _drawn(count: int) -> npt.NDArray[np.float64]:
    """Numbers from 0 to 1, the same on every platform."""
    from qreg.data.mixing import mix

    words = mix(np.arange(count, dtype=np.uint64)) >> np.uint64(11)
    shares: npt.NDArray[np.float64] = words.astype(np.float64) / 2.0**53
    return shares


_DRAWN = _drawn(KEPT_ELEMENTS)


def _numbers(outputs: Any, row: int, count: int) -> Iterator[Array]:
    """Every number of one sample's outputs, as float32, in the order of the outputs' structure."""
    if isinstance(outputs, torch.Tensor):
        value = outputs.dequantize() if outputs.is_quantized else outputs
        if value.ndim and value.shape[0] == count:
            yield value[row].detach().float().flatten().numpy()
    elif isinstance(outputs, Mapping):
        for name in outputs:
            yield from _numbers(outputs[name], row, count)
    elif isinstance(outputs, (list, tuple)):
        if len(outputs) == count and all(not isinstance(o, torch.Tensor) for o in outputs):
            yield from _whole(outputs[row])  # a list of one dict a sample, as detectors return
        else:
            for each in outputs:
                yield from _numbers(each, row, count)


def _whole(outputs: Any) -> Iterator[Array]:
    if isinstance(outputs, torch.Tensor):
        yield outputs.detach().float().flatten().numpy()
    elif isinstance(outputs, Mapping):
        for name in outputs:
            yield from _whole(outputs[name])
    elif isinstance(outputs, (list, tuple)):
        for each in outputs:
            yield from _whole(each)


def _same_width(parts: list[Array]) -> Array:
    """Batches as one array; where one was short enough to be kept whole, and others were not."""
    widths = {part.shape[1] for part in parts}
    if len(widths) == 1:
        return np.concatenate(parts)
    return np.concatenate([np.stack([_selected(row) for row in part]) for part in parts])
