"""Models that misbehave in every way, between two that do not: each is judged as it is alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import make_npz

ROOT = Path(__file__).parents[2]
#: What a forward does before it returns what it should, and whether its case is an ERROR.
WAYS: dict[str, tuple[str, bool]] = {
    "exits": ("sys.exit(0)", True),
    "exits_at_once": ("os._exit(0)", True),
    "interrupts": ("raise KeyboardInterrupt", True),
    "is_killed": ("os.kill(os.getpid(), signal.SIGKILL)", True),
    "aborts": ("os.abort()", True),
    "crashes": ("ctypes.string_at(0)", True),
    "hangs": ("time.sleep(10**6)", True),
    "loops": ("while True: pass", True),
    "raises": ("raise BaseException('mine')", True),
    "leaves_a_thread": ("threading.Thread(target=time.sleep, args=(10**6,)).start()", False),
    "changes_the_dtype": ("torch.set_default_dtype(torch.float64)", False),
    "changes_the_recursion_limit": ("sys.setrecursionlimit(60000)", False),
    "changes_the_threads": ("torch.set_num_threads(2)", False),
    "changes_the_grad_mode": ("torch.set_grad_enabled(True)", None),
    "patches": ("json.dumps = None; os.replace = None", None),
    "closes_its_output": ("os.close(1); os.close(2)", None),
    "moves": ("os.chdir('/')", None),
    "prints": ("print('\\x1b[2J' * 100000)", False),
    "takes_memory": ("resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33)); "
                     "bytearray(1 << 34)", True),
    "ignores_signals": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(10**6)", True),
}  # fmt: skip
_NETS = """
import ctypes, json, os, resource, signal, sys, threading, time
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, way=""):
        super().__init__()
        torch.manual_seed(0)
        self.way, self.body = way, nn.Sequential(nn.Flatten(), nn.Linear(3072, 4))

    def forward(self, x):
        exec(self.way)
        return self.body(x.float()).float()

def good():
    return Net()

def again():
    return Net()
"""


@pytest.mark.slow
def test_the_others_are_judged_as_alone(tmp_path: Path) -> None:
    factories = "".join(
        f"\ndef {name}():\n    return Net({way!r})\n" for name, (way, _) in WAYS.items()
    )
    (tmp_path / "nets.py").write_text(_NETS + factories)
    make_npz(tmp_path / "colours.npz", train=16, test=8)
    _table(tmp_path, ["good", "again"])
    update = ("-m", "qreg", "baseline", "update", "--reason", "r", "--category", "create")
    assert _run(tmp_path, *update).returncode == 0
    _table(tmp_path, ["good", *WAYS, "again"])
    words = ("-m", "pytest", "-m", "regression", "-n0", "-p", "no:cacheprovider")
    done = _run(tmp_path, *words, "--qreg-jobs", "2", "--qreg-timeout", "40",
                "--qreg-json", "found.json")  # fmt: skip
    found = {one["case"]: one for one in json.loads((tmp_path / "found.json").read_text())}
    outcomes = {name.split(":")[1].split("/")[0]: one["outcome"] for name, one in found.items()}
    assert done.returncode == 1, done.stdout[-3000:]
    assert outcomes["good"] == outcomes["again"] == "PASS"
    for name, (_, error) in WAYS.items():
        if error is not None:
            assert (outcomes.get(name) == "ERROR") is error, (name, outcomes)
    assert "\x1b[2J" not in done.stdout


def _table(folder: Path, names: list[str]) -> None:
    models = ", ".join(f'"nets:{name}"' for name in names)
    table = f'[tool.qreg]\nmodels = [{models}]\ndatasets = ["colours.npz"]\nmethods = ["fp32"]\n'
    (folder / "pyproject.toml").write_text(table)


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("CI", None)
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
