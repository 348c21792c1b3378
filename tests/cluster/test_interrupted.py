"""Ctrl-C in a terminal, or the end of the work, on a cluster: nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.processes import ROOT, processes_with, typed

pytestmark = pytest.mark.slow
_CASES = ["--dataset", "shapes10", "--model", "linear_100,simple_cnn", "--methods", "fp32,dynamic"]
_VERSIONS = ["--matrix", f".,{sys.executable}"]
_UPGRADE = ["-m", "qreg", "upgrade", *_VERSIONS, "--ray", "local", *_CASES]
_GATE = [
    *("-m", "pytest", "-m", "regression", "-n0", "-p", "no:cacheprovider", "pyproject.toml"),
    *("--qreg-ray=local", "--qreg-dataset=shapes10", "--qreg-model=linear_100,simple_cnn"),
]
_SERVER = "qreg.processes.server"
_SIDE = "upgrade/child.py"
_CLEAN = "from qreg.processes.temporary import remove_leftovers; remove_leftovers()"


@pytest.fixture
def variables() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="q") as folder:
        own = {"TMPDIR": folder, "QREG_CACHE_DIR": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        yield {**os.environ, **own}


@pytest.mark.parametrize(
    ("command", "working"), [(_UPGRADE, _SIDE), (_GATE, _SERVER)], ids=["upgrade", "gate"]
)
def test_ctrl_c_ends_all(command: list[str], working: str, variables: dict[str, str]) -> None:
    mark = ("QREG_CACHE_DIR", variables["QREG_CACHE_DIR"])
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_as_in_a_terminal,
    )
    try:
        until = time.monotonic() + 300
        while not processes_with(*mark, containing=working):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "no piece of work was started"
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, errors = process.communicate(timeout=120)
        assert process.returncode in (130, 2), said + errors  # 2 is pytest's own
        assert "Traceback" not in said + errors
        assert not _left(*mark)
        # on a busy machine, what was killed leaves folders, which the next run removes
        typed(["-c", _CLEAN], variables=variables, seconds=120).check_returncode()
        files = [x for x in Path(variables["TMPDIR"]).iterdir() if x.name != "cache"]
        assert not files, "temporary files are left"
    finally:
        for number in processes_with(*mark):
            os.kill(number, signal.SIGKILL)
        process.wait()


def test_an_upgrade_that_ends_leaves_nothing(variables: dict[str, str]) -> None:
    mark = ("QREG_CACHE_DIR", variables["QREG_CACHE_DIR"])
    one = ["--dataset", "shapes10", "--model", "linear_100", "--methods", "dynamic"]
    words = ["-m", "qreg", "upgrade", *_VERSIONS, "--ray", "local", *one]
    ran = typed(words, variables=variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not _left(*mark)
    folders = [x.name for x in Path(variables["TMPDIR"]).iterdir() if x.name.startswith("qreg-")]
    assert not folders, "temporary folders are left"


def _as_in_a_terminal() -> None:
    """What runs in the background of a shell ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _left(name: str, value: str) -> list[str]:
    """The commands of the processes of a run that have not ended a minute later."""
    until = time.monotonic() + 60
    while (left := _commands(processes_with(name, value))) and time.monotonic() < until:
        time.sleep(0.2)
    return left


def _commands(numbers: list[int]) -> list[str]:
    found = []
    for number in numbers:
        try:
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found.append(" ".join(word.decode(errors="replace") for word in words)[:200])
    return found
