"""A cluster that is started as its users start one, and the gate that finds it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.cluster.processes import processes_with, typed

pytestmark = pytest.mark.slow
# `ray` of the Python that runs this, wherever PATH leads
_RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
_START = [
    *("start", "--head", "--block", "--node-ip-address=127.0.0.1", "--port=0", "--num-cpus=2"),
    *("--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={80 << 20}"),
]
_PATIENCE_S = 180


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[str, dict[str, str]]]:
    """The address, and the variables of a shell in which it was started; ended with all it made."""
    with tempfile.TemporaryDirectory(prefix="q") as folder:
        variables = {
            **os.environ,
            "RAY_TMPDIR": folder,
            "PYTHONUNBUFFERED": "1",  # its address is read from a pipe
            "RAY_worker_niceness": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "OMP_NUM_THREADS": "1",
            "QREG_CACHE_DIR": str(Path(folder, "cache")),
        }
        said = Path(folder, "said")
        # --block: it ends what it started, and nothing else as `ray stop` would
        with said.open("w") as output:
            head = subprocess.Popen([*_RAY, *_START], env=variables, stdout=output, stderr=output)
        try:
            yield _address(head, folder, said), variables
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(timeout=60)
            until = time.monotonic() + 60
            while (left := processes_with("RAY_TMPDIR", folder)) and time.monotonic() < until:
                time.sleep(0.2)
            for number in left:
                os.kill(number, signal.SIGKILL)
            assert not left, "ray left processes behind"


def _address(head: subprocess.Popen[bytes], folder: str, said: Path) -> str:
    """Where it is, once it says that it has started."""
    until = time.monotonic() + _PATIENCE_S
    while "Ray runtime started" not in said.read_text():
        assert head.poll() is None, said.read_text()
        assert time.monotonic() < until, said.read_text()
        time.sleep(0.1)
    # what `auto` reads, too
    return Path(folder, "ray", "ray_current_cluster").read_text().strip()


def _gate(where: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = ["-m", "regression", "-n0", "-p", "no:cacheprovider", "pyproject.toml"]
    cases = ["--qreg-dataset=shapes10", "--qreg-model=linear_100", "--qreg-methods=fp32,dynamic"]
    return typed(["-m", "pytest", *words, f"--qreg-ray={where}", *cases], variables=variables)


@pytest.mark.parametrize("how", ["auto", "HOST:PORT"])
def test_the_gate_runs_on_it(how: str, started: tuple[str, dict[str, str]]) -> None:
    address, variables = started
    ran = _gate("auto" if how == "auto" else address, variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 cases: 2 PASS" in ran.stdout
    # the gate leaves a cluster that it did not start
    assert processes_with("RAY_TMPDIR", variables["RAY_TMPDIR"], containing="raylet")


def test_a_token_that_is_missing_is_said_in_one_line(started: tuple[str, dict[str, str]]) -> None:
    address, variables = started
    without = {name: x for name, x in variables.items() if not name.startswith("RAY_AUTH")}
    ran = _gate(address, without)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR, ran.stdout + ran.stderr
    assert f"no Ray cluster at {address}" in ran.stdout + ran.stderr
    assert "RAY_AUTH_MODE=token" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout
    assert len(ran.stdout.splitlines()) < 30
