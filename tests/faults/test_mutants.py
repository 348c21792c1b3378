"""Every mutant of the oracle is caught by a property, or known to compute the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.equivalent import EQUIVALENT
from tests.faults.mutants import mutants_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.faults
def test_every_mutant_of_the_oracle_is_caught() -> None:
    command = [sys.executable, "-m", "tests.faults.mutate_oracle"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert " 0 survived." in run.stdout


def test_a_place_makes_one_mutant_a_change() -> None:
    source = "def f(x, lowest):\n    return max(lowest, -x // 2) if x > 0 else x\n"
    found = [(m.before, m.after) for m in mutants_of(source)]
    assert ("max(lowest, -x // 2)", "min(lowest, -x // 2)") in found
    assert ("-x", "x") in found
    assert ("x > 0", "x >= 0") in found
    assert ("2", "3") in found
    assert ("2", "1") in found
    assert len(found) == len(set(found))
    for mutant in mutants_of(source):
        compile(mutant.source, "mutant", "exec")
        assert mutant.source != source


def test_types_and_docstrings_are_no_place_for_a_mutant() -> None:
    source = 'Pair = tuple[int, int]\n\ndef f(x: "list[int] | None") -> int:\n    """1 + 1"""\n'
    assert list(mutants_of(source)) == []


@pytest.mark.slow
def test_equivalent_mutants_are_of_the_oracle_as_it_is() -> None:
    folder = ROOT / "qreg/quantization/reference"
    known = {
        (path.name, m.line, m.before, m.after)
        for path in folder.glob("*.py")
        for m in mutants_of(path.read_text())
    }
    assert set(EQUIVALENT) <= known
