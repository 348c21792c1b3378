"""Each shipped task on outputs whose scores are known, and on what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qreg.errors import ContractError, DataError, QregError
from qreg.tasks import Scores, get_task
from qreg.tasks.classification import classification
from qreg.tasks.regression import regression
from qreg.tasks.segmentation import segmentation
from qreg.tasks.sequence import sequence

TWO = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])


def _see(name: str, outputs: Any, targets: Any, count: int = 2) -> Scores:
    return get_task(name).observe(outputs, targets, count=count)


def _values(name: str, outputs: Any, targets: Any, count: int = 2) -> list[float]:
    return _see(name, outputs, targets, count).values.tolist()


@pytest.mark.parametrize(
    "outputs", [TWO, (TWO, None), {"logits": TWO, "loss": TWO[0, 0]}, {"scores": TWO}, [TWO]]
)
def test_classification(outputs: Any) -> None:
    found = _see("classification", outputs, torch.tensor([0, 1]))
    assert found.values.tolist() == [1.0, 0.0]
    assert found.predictions is not None
    assert found.predictions.tolist() == [0, 2]


def test_top_k() -> None:
    task = classification(top_k=2)
    found = task.observe(TWO, torch.tensor([1, 0]), count=2)
    assert found.values.tolist() == [1.0, 0.0]
    assert _values("classification-top5", TWO, torch.tensor([2, 0])) == [1.0, 1.0]
    with pytest.raises(ContractError, match="top_k"):
        classification(top_k=0)


def test_an_output_is_named() -> None:
    task = classification(output="b")
    outputs = {"a": -TWO, "b": TWO}
    assert task.observe(outputs, torch.tensor([0, 2]), count=2).values.tolist() == [1, 1]
    with pytest.raises(ContractError, match="a dict of a, b"):
        _see("classification", outputs, torch.tensor([0, 2]))
    with pytest.raises(ContractError, match="'c'"):
        classification(output="c").observe(outputs, torch.tensor([0, 2]), count=2)
    with pytest.raises(ContractError, match="a tuple of 1"):
        classification(output=3).observe((TWO,), torch.tensor([0, 2]), count=2)


NAN = torch.tensor([[1.0, 2.0, 3.0], [1.0, float("nan"), 3.0]])


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "error", "message"),
    [
        ("classification", TWO, torch.tensor([[0], [1]]), DataError, r"\(2, 1\)"),
        ("classification", TWO, torch.tensor([0.0, 1.0]), DataError, "float32"),
        ("classification", TWO, torch.tensor([0, 3]), DataError, "0 to 3, the model has 3"),
        ("classification", TWO, torch.tensor([0, -1]), DataError, "-1 to 0"),
        ("classification", TWO, None, DataError, "nothing"),
        ("classification", TWO, ["cat", "dog"], DataError, "a list of 2"),
        ("classification", NAN, torch.tensor([0, 1]), ContractError, "sample 1 .* NaN"),
        ("classification", TWO[0], torch.tensor([0, 1, 2]), ContractError, "logits"),
        ("classification", torch.tensor(1.0), torch.tensor([0]), ContractError, "dimension"),
        ("classification", "cat", torch.tensor([0, 1]), ContractError, "a str"),
        ("multilabel", TWO, torch.tensor([[0, 1, 2], [0, 0, 0]]), DataError, "neither 0 nor 1"),
        ("multilabel", TWO, torch.tensor([0, 1]), DataError, "different shapes"),
        ("regression", TWO, torch.zeros(2), DataError, r"\(2, 3\) and targets \(2,\)"),
        ("regression", TWO, NAN, DataError, "not finite"),
        ("regression", NAN, TWO, ContractError, "NaN"),
        ("segmentation", TWO, torch.tensor([0, 1]), ContractError, "H, W"),
        ("segmentation", torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 5).long(), DataError, "4, 5"),
        ("segmentation", torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 9), DataError, "9 to 9"),
        ("segmentation", torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4), DataError, "float32"),
        ("embedding", TWO, TWO[:, :2], DataError, "different shapes"),
        ("embedding", TWO[:, 0], TWO[:, 0], ContractError, "embeddings"),
        ("embedding-target", TWO, torch.tensor([1, 2]), DataError, "different shapes"),
        ("agreement", TWO, (TWO,), ContractError, "fp32 a tuple"),
        ("agreement", {"a": TWO}, {"b": TWO}, ContractError, "a dict of a"),
        ("agreement", TWO, TWO[:, :2], ContractError, r"\(2, 3\)"),
        ("agreement", None, None, ContractError, "no tensor"),
        ("agreement", (TWO, TWO[:1]), (TWO, TWO[:1]), ContractError, "different numbers"),
        ("sequence", TWO, torch.tensor([[0], [1]]), ContractError, "T, V"),
        ("sequence", torch.zeros(2, 4, 7), torch.zeros(2, 5).long(), DataError, "2, 5"),
        ("sequence", torch.zeros(2, 4, 7), torch.full((2, 4), 7), DataError, "7 to 7"),
        ("detection", TWO, [{}], ContractError, "a tensor"),
        ("detection", [{"boxes": TWO}], [{}], ContractError, "scores, labels"),
    ],
)
def test_what_a_task_refuses_is_one_line(
    name: str, outputs: Any, targets: Any, error: type[QregError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        _see(name, outputs, targets)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.hint


def test_multilabel() -> None:
    logits = torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, -1.0], [1.0, -1.0, -1.0]])
    wanted = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 0, 1]])
    found = _see("multilabel", logits, wanted, 3)
    assert found.values.tolist() == pytest.approx([4 / 5, 1.0, 0.0])
    assert found.rows is not None
    assert found.rows.tolist() == [[2, 0, 1], [0, 0, 0], [0, 1, 1]]
    assert get_task("multilabel").summarize(found.rows) == pytest.approx(4 / 7)
    again = _see("multilabel", logits * 3, wanted, 3)
    assert again.predictions is not None
    assert found.predictions is not None
    assert (again.predictions == found.predictions).all()
    assert len(set(found.predictions.tolist())) == 3


@pytest.mark.parametrize("targets", [torch.tensor([1.0, 2.0]), torch.tensor([[1], [2]])])
def test_regression(targets: torch.Tensor) -> None:
    outputs = torch.tensor([[1.5], [4.0]])
    assert _values("regression", outputs, targets) == [0.5, 2.0]
    found = _see("regression-rmse", outputs, targets)
    assert found.values.tolist() == [0.25, 4.0]
    assert found.rows is not None
    assert get_task("regression-rmse").summarize(found.rows) == pytest.approx((4.25 / 2) ** 0.5)
    assert regression(unit="Hz").summary.unit == "Hz"


def test_segmentation() -> None:
    wanted = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [2, 255]]])
    predicted = torch.tensor([[[0, 1], [1, 1]], [[2, 2], [2, 0]]])
    logits = torch.nn.functional.one_hot(predicted, 3).permute(0, 3, 1, 2).float()
    found = _see("segmentation", logits, wanted)
    assert found.values.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0])
    assert found.rows is not None
    assert get_task("segmentation").summarize(found.rows) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    ignored = segmentation(ignore_index=2).observe(logits[:1], wanted[:1] * 0 + 2, count=1)
    assert ignored.values.tolist() == [1.0]


def test_one_channel_is_class_1_against_0() -> None:
    logits = torch.tensor([[[[1.0, -1.0], [2.0, -3.0]]]])
    assert _values("segmentation", logits, torch.tensor([[[1, 0], [1, 0]]]), 1) == [1.0]


def test_embedding() -> None:
    one = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    other = torch.tensor([[0.0, 2.0], [3.0, 3.0], [0.0, 0.0], [1.0, 0.0]])
    expected = [0.0, 1.0, 1.0, 0.0]
    assert _values("embedding-target", one, other, 4) == pytest.approx(expected)
    assert get_task("embedding").against_reference
    assert _values("embedding", (one, None), (one, None), 4) == [1.0] * 4


def test_agreement_takes_whatever_a_model_returns() -> None:
    reference = {"a": torch.tensor([[3.0], [0.0]]), "b": (torch.tensor([[4.0], [0.0]]), None)}
    outputs = {"b": (torch.tensor([[4.0], [1.0]]), None), "a": torch.tensor([[4.0], [0.0]])}
    assert _values("agreement", outputs, reference) == pytest.approx([1 / 5, 1.0])
    assert _values("agreement", reference, reference) == [0.0, 0.0]
    whole = torch.tensor([[1, 2], [3, 4]])
    assert _values("agreement", whole, whole) == [0.0, 0.0]


def test_sequence() -> None:
    wanted = torch.tensor([[1, 2, -100], [-100, -100, -100]])
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 0, 0], [1, 1, 1]]), 3).float()
    found = _see("sequence", logits, wanted)
    assert found.values.tolist() == [0.5, 1.0]
    other = torch.nn.functional.one_hot(torch.tensor([[1, 0, 2], [0, 0, 0]]), 3).float()
    assert found.predictions is not None
    padded = _see("sequence", other, wanted).predictions
    assert padded is not None
    assert padded.tolist() == found.predictions.tolist(), "padding is no prediction"
    kept = sequence(padding=0).observe(logits, wanted.clamp(min=0), count=2)
    assert kept.values.tolist() == [0.5, 1.0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_do_not_depend_on_the_rest_of_the_batch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases: list[tuple[str, Any, Any]] = [
        ("classification", rng.normal(size=(4, 3)), rng.integers(0, 3, size=4)),
        ("multilabel", rng.normal(size=(4, 3)), rng.integers(0, 2, size=(4, 3))),
        ("regression-rmse", rng.normal(size=(4, 3)), rng.normal(size=(4, 3))),
        ("segmentation", rng.normal(size=(4, 3, 2, 2)), rng.integers(0, 3, size=(4, 2, 2))),
        ("embedding", rng.normal(size=(4, 3)), rng.normal(size=(4, 3))),
        ("agreement", rng.normal(size=(4, 3)), rng.normal(size=(4, 3))),
        ("sequence", rng.normal(size=(4, 2, 3)), rng.integers(0, 3, size=(4, 2))),
    ]
    for name, outputs, targets in cases:
        both = torch.as_tensor(outputs), torch.as_tensor(targets)
        whole = _see(name, *both, count=4)
        parts = Scores.join([_see(name, *(o[n : n + 1] for o in both), count=1) for n in range(4)])
        assert parts.values == pytest.approx(whole.values, abs=1e-12), name
        if whole.rows is not None:
            assert parts.rows is not None
            np.testing.assert_allclose(parts.rows, whole.rows)


def test_quantized_and_half_outputs_are_scored_as_floats() -> None:
    half = TWO.to(torch.bfloat16)
    assert _values("regression", half, TWO) == [0.0, 0.0]
    codes = torch.quantize_per_tensor(TWO, 0.5, 0, torch.quint8)
    assert _values("regression", codes, TWO) == [0.0, 0.0]
