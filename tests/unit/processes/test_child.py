from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qreg.measure.options import Options
from qreg.processes import child
from qreg.processes.jobs import Job, LostError, command
from qreg.processes.running import run_child
from qreg.processes.sides import HERE, open_side
from qreg.records.case import Case

ROOT = Path(__file__).parents[3]


def job(*cases: Case) -> Job:
    return Job(
        cases, calls=(5,) * len(cases), rounds=2, warm_up=1, options=Options(threads=1, batch=2)
    )


@pytest.mark.slow
def test_a_real_child_times_real_cases() -> None:
    cases = [Case("shapes10", "linear_100", method, "x86") for method in ("static", "fp32")]
    with open_side(HERE, ROOT) as side:
        found = run_child(side, job(*cases), timeout=120)
    assert [one["calls"] for one in found["seconds"]] == [10, 10]
    assert all(0 < one["p5"] <= one["p50"] <= one["p95"] for one in found["seconds"])
    assert found["environment"]["threads"] == 1
    assert Path(found["qreg"]) == ROOT / "qreg"


@pytest.mark.slow
def test_a_case_that_is_lacking_is_reported() -> None:
    case = Case("shapes10", "linear_100", "nothing", "x86")
    with open_side(HERE, ROOT) as side, pytest.raises(LostError, match="'nothing'") as caught:
        run_child(side, job(case), timeout=120)
    assert caught.value.stage == "making shapes10/linear_100/nothing@x86"
    assert "UnknownNameError" in caught.value.details


def test_it_ends_with_the_driver(tmp_path: Path) -> None:
    """A pipe that closes is a driver that is gone: even one that was killed."""
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "job.json").write_text('{"stage": "%s"}' % (tmp_path / "stage"))
    with open_side(sys.executable, tmp_path) as side:
        process = subprocess.Popen(
            command(side, str(tmp_path / "job.json"), str(tmp_path / "result.json")),
            stdin=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert process.stdin
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.close()
        assert process.wait(20) == 1


def test_a_revision_without_the_data_is_given_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "[tool.qreg]\nmodels = ['simple_cnn']\ndatasets = ['ignored.npz']\n"
    (tmp_path / "pyproject.toml").write_text(table)
    monkeypatch.chdir(tmp_path)
    given = Options(sources=(("ignored", "/the/project/ignored.npz"),))
    assert child.job_options({"options": given.plain()}).sources == given.sources
    alone = child.job_options({"options": Options().plain()})
    assert alone.sources == (("ignored", str(tmp_path.resolve() / "ignored.npz")),)


def test_a_program_that_follows_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
import subprocess
from pathlib import Path
from qreg.processes.child import following

sleep = subprocess.Popen(following(["/bin/sleep", "60"]))
Path({str(tmp_path)!r}, "pid").write_text(str(sleep.pid))
sleep.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    pid = tmp_path / "pid"
    _wait(lambda: pid.exists() and bool(pid.read_text()))
    command = Path("/proc", pid.read_text(), "cmdline")
    _wait(lambda: command.read_bytes().startswith(b"/bin/sleep"))
    parent.kill()
    parent.wait()
    _wait(lambda: not command.exists() or not command.read_bytes())


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not until():
        assert time.monotonic() < end
        time.sleep(0.02)
