"""A failing example is printed as one line that runs without this project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.invariants.snippet import expect_equal, snippet


@pytest.mark.slow
def test_failure_prints_a_command_that_shows_it_elsewhere(tmp_path: Path) -> None:
    x = np.array([0.1, -0.0, np.inf, 2.0**-149], dtype=np.float32)
    call = snippet("torch.quantize_per_tensor(x, s, z, torch.qint8).int_repr()", x=x, s=0.1, z=-3)
    with pytest.raises(AssertionError) as failed:
        expect_equal(call, [9, 9, 9, 9])
    line = next(part for part in str(failed.value).splitlines() if part.startswith("python"))
    assert line.endswith("# expected [9, 9, 9, 9]")
    found = re.fullmatch(r'python -W ignore -c "(.*)"  # expected .*', line)
    assert found, line
    assert "qreg" not in found[1]
    # -I leaves this project off the path; the folder is not this project's.
    command = [sys.executable, "-I", "-W", "ignore", "-c", found[1]]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(call.array().tolist())


def test_a_wrong_shape_is_a_difference() -> None:
    call = snippet("torch.zeros(3)")
    with pytest.raises(AssertionError, match="observed shape"):
        expect_equal(call, np.zeros(4, np.float32))
    with pytest.raises(AssertionError, match="observed shape"):
        expect_equal(call, np.float32(0))


def test_nan_is_a_difference() -> None:
    with pytest.raises(AssertionError, match="1 of 2 values differ"):
        expect_equal(snippet("torch.tensor([1.0, nan])"), [1.0, 1.0])
