from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qreg.errors import ContractError, DataError, UnknownNameError
from qreg.tasks import TASKS, Scores, Summary, Task, get_task
from qreg.tasks.summaries import f1, mean_iou, ratio_of_sums, root_mean

NAMES = TASKS.names()


def _task(score: Any, **options: Any) -> Task:
    return Task(name="own", score=score, score_name="own score", **options)


def _observed(score: Any, count: int = 3, **options: Any) -> Scores:
    return _task(score, **options).observe(None, None, count=count)


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_task_is_one(name: str) -> None:
    found = get_task(name)
    assert found.name == name
    assert found.summary.set_level == (found.statistics is not None)


def test_a_task_of_ones_own_and_names_that_are_none() -> None:
    assert get_task("qreg.tasks.regression:RMSE").summary.name == "RMSE"
    with pytest.raises(UnknownNameError, match="unknown task 'segmentatoin'") as caught:
        get_task("segmentatoin")
    assert "segmentation" in caught.value.hint
    with pytest.raises(ContractError, match=r"not a qreg\.tasks\.Task"):
        get_task("qreg.tasks.regression:regression")
    with pytest.raises(ContractError, match="no module"):
        get_task("nowhere.at.all:TASK")


@pytest.mark.parametrize(
    "made",
    [[1, 2, 3], np.arange(3), torch.arange(3.0), (0.5, 1, 2), torch.ones(3, dtype=torch.bfloat16)],
)
def test_scores_may_be_a_tensor_an_array_or_a_list(made: Any) -> None:
    found = _observed(lambda outputs, targets: made)
    assert found.values.dtype == np.float64
    assert found.values.shape == (3,)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda o, t: [1.0, 2.0], r"scores of shape \(2,\) for 3 samples"),
        (lambda o, t: 1.0, r"scores of shape \(\) for 3 samples"),
        (lambda o, t: np.ones((3, 1)), r"scores of shape \(3, 1\)"),
        (lambda o, t: [1.0, float("nan"), 0.0], "score of sample 1 of the batch is nan"),
        (lambda o, t: [1.0, 0.0, -float("inf")], "score of sample 2 of the batch is -inf"),
        (lambda o, t: "good", "not numbers"),
        (lambda o, t: [None, 1, 2], "not finite|is nan|not numbers"),
        (lambda o, t: t["boxes"], "its score failed: TypeError"),
    ],
)
def test_a_score_that_is_none_is_one_line(score: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        _observed(score)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_the_sample_is_named_by_its_index() -> None:
    task = _task(lambda o, t: [1.0, float("nan")])
    with pytest.raises(ContractError, match="sample 71 is nan"):
        task.observe(None, None, count=2, index=[70, 71])


def test_what_a_task_says_of_a_row_of_the_batch_is_said_of_the_sample() -> None:
    def score(outputs: Any, targets: Any) -> Any:
        raise DataError("the target of sample 1 of the batch is odd, and of sample 9 of the batch")

    with pytest.raises(DataError, match=r"of sample 71 is odd, and of sample 9 of the batch$"):
        _task(score).observe(None, None, count=2, index=[70, 71])


def test_a_task_of_0_and_1_has_no_other_score() -> None:
    assert _observed(lambda o, t: [1, 0, 1], binary=True).values.tolist() == [1, 0, 1]
    with pytest.raises(ContractError, match="0 or 1"):
        _observed(lambda o, t: [1, 0.5, 1], binary=True)


def test_statistics_and_predictions_are_counted_too() -> None:
    good = {"score": lambda o, t: [1, 2, 3]}
    whole = Summary("total", of=lambda rows: float(rows.sum()), set_level=True)
    with pytest.raises(ContractError, match="rows of statistics"):
        _observed(**good, summary=whole, statistics=lambda o, t: [1, 2, 3])
    with pytest.raises(ContractError, match="predictions of shape"):
        _observed(**good, predictions=lambda o, t: [1, 2])
    with pytest.raises(ContractError, match="of the whole set"):
        _task(lambda o, t: [], summary=whole)
    with pytest.raises(ContractError, match="not a function"):
        _task("score")


def test_batches_are_joined_in_order_and_recorded() -> None:
    whole = Summary("total", of=lambda rows: float(np.nansum(rows)), set_level=True)
    rows = iter([np.ones((2, 1)), np.full((1, 3), 2.0)])
    values = iter([[1.0, 2.0], [3.0]])
    task = _task(
        lambda o, t: next(values), summary=whole, statistics=lambda o, t: next(rows),
        predictions=lambda o, t: o,
    )  # fmt: skip
    parts = [task.observe([5, 6], None, count=2), task.observe([7], None, count=1)]
    joined = Scores.join(parts)
    assert len(joined) == 3
    record = task.record(joined, [3, 5, 8])
    assert record.values == (1.0, 2.0, 3.0)
    assert record.rows == ((1.0,), (1.0,), (2.0, 2.0, 2.0))
    assert record.predictions == (5, 6, 7)
    assert (record.value, record.summary) == (8.0, "total")
    assert hash(record) == hash(task.record(joined, [3, 5, 8]))
    with pytest.raises(ValueError, match="no batches"):
        Scores.join([])


def test_a_summary_that_is_no_number() -> None:
    task = _task(lambda o, t: o, summary=Summary("own", of=lambda rows: float("nan")))
    with pytest.raises(ContractError, match="its summary 'own' is nan"):
        task.record(task.observe([1.0], None, count=1), [0])


def test_the_errors_of_a_task_pass_as_they_are() -> None:
    def refuse(outputs: Any, targets: Any) -> Any:
        raise DataError("no targets", hint="give some")

    with pytest.raises(DataError, match="no targets"):
        _observed(refuse)


def test_summaries() -> None:
    assert root_mean(np.array([[9.0], [16.0]])) == pytest.approx(12.5**0.5)
    assert ratio_of_sums(np.array([[1.0, 4.0], [1.0, 12.0]])) == pytest.approx(2 / 16)
    assert ratio_of_sums(np.zeros((2, 2))) == 0
    assert f1(np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 1.0]])) == pytest.approx(6 / 8)
    assert f1(np.zeros((2, 3))) == 1
    # two classes, 3 of 4 and 1 of 2; a third that is nowhere
    rows = np.array([[1.0, 1, 0, 2, 2, 0], [2, 0, 0, 2, 0, 0]])
    assert mean_iou(rows) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert mean_iou(np.zeros((1, 6))) == 1
