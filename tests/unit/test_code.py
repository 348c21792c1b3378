"""The code's own checks: lint, format, types, file sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lint() -> None:
    _run("ruff", "check", ".")


def test_format() -> None:
    _run("ruff", "format", "--check", ".")


def test_types() -> None:
    _run("mypy")


# A suite of properties reads from top to bottom, one after the other: it may be longer.
@pytest.mark.parametrize(("folder", "most"), [("qreg", 200), ("tests", 300)])
def test_no_file_outgrows_its_reader(folder: str, most: int) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > most
    }
    assert not long
