"""Each example taken from a user's module to the gate, as its page in docs/examples does."""

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
def test_taken_through(example: Example, tmp_path: Path) -> None:
    project, methods = Project(tmp_path, example), f"--methods {example.methods}"
    named, task = example.named, example.task_option
    project.run(f"qreg train {named} {task} {example.train} --threads 1")
    shown = project.run(f"qreg init {example.model} --dataset {example.data} {task} {methods}")
    assert "contract kept" in shown
    assert example.score in project.run(f"qreg compare {named} {methods} --limit 200 --threads 1")
    project.run("qreg baseline update --category create --reason first")
    files = [path for path in (tmp_path / "baselines").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    assert "PASS" in project.run(GATE)
    upgrade = project.run("qreg upgrade --from . --to .")
    assert "safe: bits equal" in upgrade or "0 cases" in upgrade
    project.edit(*example.edit)
    broken = project.run(GATE, status=1)
    assert "REGRESSED" in broken
    assert example.found in broken
