"""A cluster that is started as its users start one, and the gate that finds it."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator

import pytest

pytest.importorskip("ray")

from tests.cluster.processes import processes_with, ray_head, typed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[str, dict[str, str]]]:
    """The address, and the variables of a shell in which it was started."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with ray_head("--node-ip-address=127.0.0.1", "--num-cpus=2", **token) as found:
        yield found


def _gate(where: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = ["-m", "regression", "-n0", "-p", "no:cacheprovider", "pyproject.toml"]
    cases = ["--qreg-dataset=shapes10", "--qreg-model=linear_100", "--qreg-methods=fp32,dynamic"]
    command = ["-m", "pytest", *words, f"--qreg-ray={where}", *cases]
    return typed(command, variables=variables, seconds=600)


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
    assert f"a Ray answers at {address}" in ran.stdout + ran.stderr
    assert "RAY_AUTH_MODE=token" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout
    assert len(ran.stdout.splitlines()) < 30
