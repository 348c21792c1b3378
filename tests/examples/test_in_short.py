"""The same as `test_examples.py` with few samples and hardly any training, for every change."""

from __future__ import annotations

from pathlib import Path

import pytest

from qreg.quantization.engines import available_engines
from tests.examples.taken import EXAMPLES, GATE, Example, Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("x86" not in available_engines(), reason="no x86 engine"),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.model)
def test_from_init_to_a_fault_that_is_named(example: Example, tmp_path: Path) -> None:
    project, methods = Project(tmp_path, example), f"--methods {example.methods}"
    project.shrink()
    loss = example.train.partition("--loss ")[2].split()[:1]
    train = f"--epochs 1 {'--loss' if loss else ''} {' '.join(loss)}"
    project.run(f"qreg train {example.named} {example.task_option} {train} --threads 1")
    given = f"{example.model} --dataset {example.data} {example.task_option} {methods}"
    assert "contract kept" in project.run(f"qreg init {given}")
    shown = project.run(f"qreg compare {example.named} {methods} --limit 50 --threads 1")
    assert example.score in shown
    project.run("qreg baseline update --category create --reason first")
    assert "PASS" in project.run(GATE)
    project.edit(*example.edit)
    broken = project.run(GATE, status=1)
    assert "REGRESSED" in broken
    assert example.found in broken
