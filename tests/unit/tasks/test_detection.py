from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qreg.errors import ContractError, DataError
from qreg.tasks import get_task
from qreg.tasks.average_precision import IOUS, iou, match, mean_average_precision

TASK = get_task("detection")
Sample = dict[str, torch.Tensor]


def _boxes(rng: np.random.Generator, count: int) -> Any:
    corner = rng.random((count, 2)) * 100
    return np.concatenate([corner, corner + 5 + rng.random((count, 2)) * 40], axis=1)


def _drawn(rng: np.random.Generator) -> tuple[Sample, Sample]:
    """Detections and targets of a sample: some found twice, some not, some that are nothing."""
    objects = int(rng.integers(0, 6))
    true, labels = _boxes(rng, objects), rng.integers(0, 3, objects)
    kept = rng.random(objects) < 0.8
    near = [true[kept] + rng.normal(size=(int(kept.sum()), 4)) * size for size in (2, 6)]
    stray = _boxes(rng, int(rng.integers(0, 4)))
    found = np.concatenate([*near, stray])
    found = np.concatenate(
        [np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1
    )
    named = np.concatenate([labels[kept], labels[kept], rng.integers(0, 4, len(stray))])
    scores = rng.random(len(found)).round(2)  # with ties
    return (
        {
            "boxes": torch.tensor(found, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(scores, dtype=torch.float32),
            "labels": torch.tensor(named, dtype=torch.int64),
        },
        {
            "boxes": torch.tensor(true, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
        },
    )


def _set(seed: int, count: int) -> tuple[list[Sample], list[Sample]]:
    rng = np.random.default_rng(seed)
    outputs, targets = zip(*(_drawn(rng) for _ in range(count)), strict=True)
    return list(outputs), list(targets)


# pycocotools 2.0.11 through torchmetrics 1.9.0, which the test below asks where they are installed
PYCOCOTOOLS = {0: 0.17726898, 1: 0.20970047}


@pytest.mark.parametrize("seed", PYCOCOTOOLS)
def test_map_is_what_pycocotools_says(seed: int) -> None:
    found = TASK.observe(*_set(seed, 30), count=30)
    assert found.rows is not None
    assert TASK.summarize(found.rows) == pytest.approx(PYCOCOTOOLS[seed], abs=1e-6)


@pytest.mark.parametrize("seed", PYCOCOTOOLS)
def test_map_is_that_of_the_installed_pycocotools(seed: int) -> None:
    pytest.importorskip("pycocotools")
    detection = pytest.importorskip("torchmetrics.detection")
    outputs, targets = _set(seed, 30)
    found = TASK.observe(outputs, targets, count=30)
    assert found.rows is not None
    # torchmetrics' own recalls are float32
    metric = detection.MeanAveragePrecision(rec_thresholds=np.linspace(0, 1, 101).tolist())
    metric.update(outputs, targets)
    expected = float(metric.compute()["map"])
    assert 0.01 < expected < 0.9
    assert TASK.summarize(found.rows) == pytest.approx(expected, abs=1e-6)


def test_perfect_detections_score_1_and_none_score_0() -> None:
    _, targets = _set(2, 8)
    with_objects = [one for one in targets if len(one["labels"])]
    outputs = [{**one, "scores": torch.ones(len(one["labels"]))} for one in with_objects]
    found = TASK.observe(outputs, with_objects, count=len(outputs))
    assert found.values == pytest.approx(1)
    assert found.rows is not None
    assert TASK.summarize(found.rows) == pytest.approx(1)
    nothing = {k: v[:0] for k, v in outputs[0].items()}
    assert TASK.observe([nothing], with_objects[:1], count=1).values.tolist() == [0.0]
    none = {k: v[:0] for k, v in with_objects[0].items()}
    assert TASK.observe([nothing], [none], count=1).values.tolist() == [1.0]
    assert TASK.observe(outputs[:1], [none], count=1).values.tolist() == [0.0]


def test_an_object_is_found_once_and_by_the_higher_score() -> None:
    true = np.array([[0.0, 0, 10, 10]])
    boxes = np.array([[0.0, 0, 10, 8], [0, 0, 10, 10]])
    row = match(boxes, np.array([0.9, 0.5]), np.zeros(2), true, np.zeros(1))
    assert row.reshape(-1, 3).tolist() == [
        [0, 0, -1],
        # an overlap of 0.8: the first 7 thresholds
        [0, 0.9, 2**7 - 1],
        [0, 0.5, 2**10 - 2**7],
    ]
    assert iou(boxes, true).tolist() == [[0.8], [1.0]]
    assert len(IOUS) == 10


def test_a_dict_of_the_batch_with_padding_is_the_list() -> None:
    outputs, targets = _set(3, 6)

    def padded(samples: list[Sample]) -> Sample:
        most = max(len(one["labels"]) for one in samples)
        made = {}
        for key in samples[0]:
            rows = []
            for one in samples:
                gap = most - len(one["labels"])
                fill = -1 if key == "labels" else 0
                pad = torch.full((gap, *one[key].shape[1:]), fill, dtype=one[key].dtype)
                rows.append(torch.cat([one[key], pad]))
            made[key] = torch.stack(rows)
        return made

    one = TASK.observe(outputs, targets, count=6)
    other = TASK.observe(padded(outputs), padded(targets), count=6)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.rows, other.rows)


def test_rows_of_other_samples_make_another_set() -> None:
    outputs, targets = _set(4, 20)
    found = TASK.observe(outputs, targets, count=20)
    assert found.rows is not None
    half = TASK.observe(outputs[:10], targets[:10], count=10)
    assert half.rows is not None
    assert TASK.summarize(found.rows[:10]) == pytest.approx(TASK.summarize(half.rows))
    assert mean_average_precision(np.full((2, 3), np.nan)) == 0.0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"boxes": torch.zeros(2, 4)}, DataError, r"boxes \(2, 4\)"),
        ({"boxes": torch.tensor([[5.0, 5, 1, 9]])}, DataError, "x2 < x1"),
        ({"boxes": torch.full((1, 4), float("nan"))}, DataError, "not all finite"),
        ({"labels": torch.zeros(1, 1).long()}, DataError, r"labels \(1, 1\)"),
    ],
)
def test_bad_targets(change: Sample, error: type[Exception], message: str) -> None:
    good = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.zeros(1).long()}
    output = {**good, "scores": torch.ones(1)}
    with pytest.raises(error, match=message):
        TASK.observe([output], [{**good, **change}], count=1)
    with pytest.raises(DataError, match="1 samples detected, 2 targets"):
        TASK.observe([output], [good, good], count=1)
    with pytest.raises(ContractError, match="not all finite"):
        TASK.observe([{**output, "scores": torch.tensor([float("nan")])}], [good], count=1)
