from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from qreg.errors import ContractError, LabelRangeError
from qreg.tasks import TASKS, get_task
from qreg.training.losses import loss_of
from qreg.training.recipe import default_recipe, figure_of, read_recipe, recipe_text

RECIPE = default_recipe("m", "d", "fp32")
CLASSES = torch.tensor([0, 1, 1, 0])
PIXELS = torch.tensor([0, 1, 1, 255]).repeat(4, 2, 1)
NUMBERS = torch.tensor([[0.5], [1.0], [-1.0], [2.0]])
GIVEN: dict[str, tuple[tuple[int, ...], Any]] = {
    "classification": ((4, 3), CLASSES),
    "classification-top5": ((4, 9), CLASSES),
    "multilabel": ((4, 1), CLASSES[:, None]),
    "regression": ((4, 1), NUMBERS[:, 0]),
    "regression-rmse": ((4, 1), NUMBERS),
    "segmentation": ((4, 2, 2, 4), PIXELS),
    "embedding-target": ((4, 3), torch.eye(4)[:, :3] + 1),
    "sequence": ((4, 5, 3), torch.tensor([0, 1, 2, -100, -100]).repeat(4, 1)),
}


@pytest.mark.parametrize("task", TASKS.names())
def test_what_lowers_the_loss_raises_the_score(task: str) -> None:
    recipe = replace(RECIPE, task=task)
    if task not in GIVEN:
        with pytest.raises(ContractError, match=r"no loss|nothing to learn"):
            loss_of(recipe)
        return
    shape, targets = GIVEN[task]
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    optimizer = torch.optim.Adam([outputs], lr=0.1)
    before = _goodness(task, outputs, targets)
    for _ in range(100):
        optimizer.zero_grad()
        loss_of(recipe)({"logits": outputs}, targets).backward()
        optimizer.step()
    assert _goodness(task, outputs, targets) > before


def _goodness(task: str, outputs: torch.Tensor, targets: Any) -> float:
    made = get_task(task)
    mean = float(made.observe(outputs, targets, count=4).values.mean())
    return mean if made.higher_is_better else -mean


def test_one_channel_is_class_1_against_class_0() -> None:
    logits = torch.zeros(4, 1, 2, 4, requires_grad=True)
    loss_of(replace(RECIPE, task="segmentation"))(logits, PIXELS).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0][PIXELS == 1] < 0).all()
    assert (logits.grad[:, 0][PIXELS == 0] > 0).all()
    assert (logits.grad[:, 0][PIXELS == 255] == 0).all()


def no_number(outputs: Any, targets: Any) -> Any:
    return outputs


def raising(outputs: Any, targets: Any) -> Any:
    raise KeyError("boxes")


@pytest.mark.parametrize(
    ("name", "found"),
    [("no_number", "returned a Tensor of shape .4, 2."), ("raising", "failed: KeyError")],
)
def test_a_users_loss_that_is_none_is_one_line(name: str, found: str) -> None:
    recipe = replace(RECIPE, task="detection", loss=f"{__name__}:{name}")
    with pytest.raises(ContractError, match=found):
        loss_of(recipe)(torch.zeros(4, 2, requires_grad=True), None)


def test_a_recipe_of_a_classifier_is_what_it_was(tmp_path: Any) -> None:
    assert "task" not in recipe_text(RECIPE)
    other = replace(RECIPE, task="regression", loss="a:b", test_result="MAE 0.1 m", test_total=9)
    (tmp_path / "r.json").write_text(recipe_text(other))
    assert read_recipe(tmp_path / "r.json") == other
    assert figure_of(other) == "MAE 0.1 m"
    assert figure_of(replace(RECIPE, test_correct=1, test_total=4)) == "25.00%"


def test_a_label_that_is_no_output_is_said_with_what_to_do() -> None:
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    labels = torch.tensor([[-1, 1, 2], [-1, 0, 3]])
    with pytest.raises(LabelRangeError, match="-1 to 3") as caught:
        loss_of(replace(RECIPE, task="sequence"))(logits, labels)
    assert "sequence(padding=-1)" in caught.value.hint
