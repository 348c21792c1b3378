"""The plugin in another project: its own model, dataset and methods, named in pyproject.toml."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.baselines.approve import approve_all

ROOT = Path(__file__).parents[2]


def example() -> dict[str, str]:
    """The files that docs/gate.md shows, by name."""
    text = (ROOT / "docs" / "gate.md").read_text()
    blocks = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, flags=re.S)
    return dict(blocks)


@pytest.fixture
def project(pytester: pytest.Pytester, colours: Path) -> pytest.Pytester:
    """The documented project, with a dataset."""
    for name, content in example().items():
        (pytester.path / name).write_text(content)
    shutil.copy(colours, pytester.path / "photos.npz")
    return pytester


def gate(project: pytest.Pytester, *options: str, env: dict[str, str] | None = None) -> str:
    """Run the gate in a fresh process; returns what it printed, and its status at the end."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "regression", "-p", "no:cacheprovider", *options],
        cwd=project.path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"


def test_the_documented_example_passes_and_then_finds_a_change(project: pytest.Pytester) -> None:
    assert "status 1" in (first := gate(project))
    assert "NO_BASELINE" in first
    assert "no case was judged: the run fails" in first
    approve_all(project.path)
    again = gate(project, "-n2", "--qreg-json=verdicts.json")
    assert "3 cases: 3 PASS" in again
    assert again.endswith("status 0")
    records = json.loads((project.path / "verdicts.json").read_text())
    assert [record["outcome"] for record in records] == ["PASS"] * 3
    nets = project.path / "nets.py"
    nets.write_text(nets.read_text().replace("stride=4", "stride=4, padding=1"))
    changed = gate(project)
    assert "status 1" in changed
