"""What a task is: one score per sample, and what scores mean.

Only numpy is needed to make one; the shipped tasks import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qreg.errors import ContractError, QregError
from qreg.records.score import Score
from qreg.tasks.summaries import mean

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
#: Maps (outputs, targets) of N samples to N of something: a tensor, an array or a list.
PerSample = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Summary:
    """One number for a whole set of samples.

    Attributes:
        name: "accuracy", "mean IoU", "mAP".
        unit: "%" for a share, which is then printed times 100; "" or any other text.
        of: from rows (N, K) to the number: of the scores (N, 1), or of the task's statistics.
        set_level: the number is not the mean of the scores; the task has `statistics` for it.
    """

    name: str
    unit: str = ""
    of: Callable[[Array], float] = mean
    set_level: bool = False


@dataclass(frozen=True, eq=False)
class Scores:
    """What a task says of N samples.

    Attributes:
        values: one score a sample (N,).
        rows: statistics of a set-level summary (N, K), padded with NaN; None where there is none.
        predictions: codes (N,), equal where the prediction is; None where the task has none.
    """

    values: Array
    rows: Array | None = None
    predictions: Codes | None = None

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """The scores of several batches of one task, in their order.

        Raises:
            ValueError: there are no batches.
        """
        if not parts:
            raise ValueError("no batches")
        rows = [part.rows for part in parts if part.rows is not None]
        codes = [part.predictions for part in parts if part.predictions is not None]
        return cls(
            values=np.concatenate([part.values for part in parts]),
            rows=_stacked(rows) if rows else None,
            predictions=np.concatenate(codes) if codes else None,
        )


@dataclass(frozen=True)
class Task:
    """From outputs and targets to one score per sample, and what the scores mean.

    Attributes:
        score: maps (outputs, targets) of N samples to their scores (N,). They must not depend on
            the other samples of the batch.
        score_name: what a score is: "IoU", "absolute error".
        binary: every score is 0 or 1, as "right or wrong" is.
        summary: how the scores of a set are summarized.
        statistics: for a set-level summary, maps (outputs, targets) to rows (N, K) from which
            it can be computed for any subset of samples.
        predictions: maps (outputs, targets) to whole numbers (N,) below 2^53 that are equal where
            the prediction is; None where no two real outputs are ever quite equal.
        against_reference: `targets` are the outputs of fp32 on the same samples; labels are not
            needed.
        span: how far apart two scores can be at most, 1 for an IoU; None where there is no bound.
        loss: maps (outputs, targets) of a batch to one number that can be differentiated, for
            `qreg train`; None where there is no usual one.
    """

    name: str
    score: PerSample
    score_name: str
    higher_is_better: bool = True
    binary: bool = False
    summary: Summary = Summary("mean score")
    statistics: PerSample | None = None
    predictions: PerSample | None = None
    against_reference: bool = False
    span: float | None = None
    loss: PerSample | None = None

    def __post_init__(self) -> None:
        if not self.name or not callable(self.score):
            raise ContractError(
                f"task '{self.name}' has no name, or its score is not a function",
                hint="Task(name=..., score=function of (outputs, targets), score_name=...)",
            )
        if self.summary.set_level and self.statistics is None:
            raise ContractError(
                f"task '{self.name}': its summary '{self.summary.name}' is of the whole set",
                hint="give statistics=..., rows from which it is computed, one row per sample",
            )

    def observe(
        self, outputs: Any, targets: Any, *, count: int, index: Sequence[int] | None = None
    ) -> Scores:
        """Score one batch of `count` samples.

        Args:
            targets: of the samples; the outputs of fp32 where the task is `against_reference`.
            index: canonical indices, so that an error can name the sample.

        Raises:
            DataError: the targets are not what the task needs.
            ContractError: the outputs are not, or the task returned something else than one
                finite score per sample.
        """
        try:
            return self._observed(outputs, targets, count, index)
        except QregError as error:
            if index is not None:  # tasks count within the batch that they are given
                error.args = (_renamed(str(error), index), *error.args[1:])
            raise

    def _observed(
        self, outputs: Any, targets: Any, count: int, index: Sequence[int] | None
    ) -> Scores:
        values = self._call(self.score, outputs, targets, "score")
        self._check_scores(values, count, index)
        rows = codes = None
        if self.statistics is not None:
            rows = self._call(self.statistics, outputs, targets, "statistics")
            self._check_count("rows of statistics", rows, count, dimensions=2)
        if self.predictions is not None:
            found = self._call(self.predictions, outputs, targets, "predictions")
            self._check_count("predictions", found, count, dimensions=1)
            codes = found.astype(np.int64)
        return Scores(values, rows, codes)

    def record(self, scores: Scores, index: Sequence[int]) -> Score:
        """The record that travels, of all samples, whose canonical indices are given.

        Raises:
            ContractError: the summary is not a finite number.
        """
        rows = scores.rows if scores.rows is not None else scores.values[:, None]
        value = self.summarize(rows)
        if not np.isfinite(value):
            raise ContractError(
                f"task '{self.name}': its summary '{self.summary.name}' is {value}",
                hint="a summary of finite scores must be a finite number",
            )
        kept = () if scores.rows is None else tuple(_unpadded(row) for row in scores.rows)
        codes = scores.predictions
        return Score(
            task=self.name,
            name=self.score_name,
            higher_is_better=self.higher_is_better,
            binary=self.binary,
            index=tuple(int(number) for number in index),
            values=tuple(scores.values.tolist()),
            summary=self.summary.name,
            unit=self.summary.unit,
            value=value,
            span=1.0 if self.binary else self.span,
            rows=kept,
            predictions=None if codes is None else tuple(codes.tolist()),
        )

    def summarize(self, rows: Array) -> float:
        """The summary of rows (N, K): of the statistics, or of the scores as (N, 1)."""
        return float(self.summary.of(rows))

    def _call(self, function: PerSample, outputs: Any, targets: Any, what: str) -> Array:
        try:
            found = function(outputs, targets)
        except QregError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ContractError(
                f"task '{self.name}': its {what} failed: {type(error).__name__}: {reason}",
                hint="it is called with the outputs and the targets of a batch",
            ) from error
        return self._array(found, what)

    def _array(self, values: Any, what: str) -> Array:
        try:
            if hasattr(values, "detach"):
                # numpy has no bfloat16, and no quantized numbers
                plain = values.detach().dequantize() if values.is_quantized else values.detach()
                values = plain.cpu().double().numpy()
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ContractError(
                f"task '{self.name}': its {what} returned {type(values).__name__}, not numbers",
                hint="return one number a sample: a tensor, an array or a list",
            ) from error

    def _check_scores(self, values: Array, count: int, index: Sequence[int] | None) -> None:
        self._check_count("scores", values, count, dimensions=1)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ContractError(
                f"task '{self.name}': the score of {named(int(bad[0]), index)} is {values[bad[0]]}",
                hint="a score is a finite number: look at the outputs of that sample",
            )
        odd = np.flatnonzero((values != 0) & (values != 1))
        if self.binary and len(odd):
            raise ContractError(
                f"task '{self.name}': the score of {named(int(odd[0]), index)} is "
                f"{values[odd[0]]:g}, and the task says that all are 0 or 1",
                hint="make it with binary=False",
            )

    def _check_count(self, what: str, values: Array, count: int, *, dimensions: int) -> None:
        if values.ndim != dimensions or len(values) != count:
            shape = "(N,)" if dimensions == 1 else "(N, K)"
            raise ContractError(
                f"task '{self.name}' returned {what} of shape {values.shape} for {count} samples",
                hint=f"return {what} of shape {shape}, one for each sample",
            )


def _renamed(text: str, index: Sequence[int]) -> str:
    """The text of an error, with the canonical index of a sample in the place of its row."""

    def name(row: re.Match[str]) -> str:
        return named(int(row[1]), index) if int(row[1]) < len(index) else row[0]

    return re.sub(r"sample (\d+) of the batch", name, text)


def named(row: int, index: Sequence[int] | None) -> str:
    """How a message names a sample."""
    return f"sample {index[row]}" if index is not None else f"sample {row} of the batch"


def _stacked(parts: Sequence[Array]) -> Array:
    width = max(part.shape[1] for part in parts)
    gaps = [((0, 0), (0, width - part.shape[1])) for part in parts]
    return np.concatenate(
        [np.pad(part, gap, constant_values=np.nan) for part, gap in zip(parts, gaps, strict=True)]
    )


def _unpadded(row: Array) -> tuple[float, ...]:
    return tuple(row[~np.isnan(row)].tolist())
