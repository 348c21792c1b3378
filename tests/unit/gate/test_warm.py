"""What the parent of the judging forks does once for all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qreg.models import needs_torchvision

_SCRIPT = """
import sys
import torch
import mine
from qreg.gate.warm import warm_up
from qreg.records.case import Case
warm_up([Case("shapes10", {model!r}, {method!r}, "x86")])
print("torchvision" in sys.modules, "torch.ao.quantization.quantize_fx" in sys.modules,
      mine.imported)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "method", "printed"),
    [
        ("simple_cnn", "static", "False False []"),
        ("simple_cnn", "fx-static", "False True []"),
        ("torchvision:resnet18", "dynamic", "True False []"),
        ("own:make", "own:METHOD", "False False []"),
        ("no-such", "no-such", "False False []"),
    ],
)
def test_only_what_is_needed_and_nothing_of_the_users(
    model: str, method: str, printed: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("imported = []\n")
    (tmp_path / "own.py").write_text("import mine\nmine.imported.append(1)\n")
    script = _SCRIPT.format(model=model, method=method)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == printed, done.stderr


def test_torchvision_is_known_by_the_name() -> None:
    found = [needs_torchvision(one) for one in ("mobilenet_v2", "torchvision:x", "resnet20")]
    assert found == [True, True, False]
