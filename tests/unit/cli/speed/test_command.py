from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qreg.cli import build_parser, main
from qreg.cli.speed.options import check_cases
from qreg.speed.driver import SpeedRequest
from tests.unit.speed.fake import fake_python, log_of
from tests.unit.speed.test_check import alive

CASE = "shapes10/simple_cnn/static@x86"
Check = Callable[..., int]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run a check between two fakes, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")

    def run(*options: str, a: dict | None = None, b: dict | None = None) -> int:
        sides = (fake_python(tmp_path / "a", **a or {}), fake_python(tmp_path / "b", **b or {}))
        return main(["speed", "check", *sides, "--seed", "5", *(options or ("--cases", CASE))])

    return run


def test_no_change_passes(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    said = capsys.readouterr().out
    assert "PASS: no slowdown" in said
    assert "seed 5" in said
    assert "8, 12, 16 pairs" in said


def test_a_slowdown_fails_and_is_written(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    assert check("--cases", CASE, "--json", str(file), b={"seconds": 0.00105}) == 1
    assert "REGRESSED" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["format"] == 1
    assert written["seed"] == 5
    assert written["verdicts"][0]["outcome"] == "REGRESSED"
    assert len(written["pairs"]) == 8
    assert written["pairs"][0]["times"][0]["candidate"]["calls"] == 50
    assert written["candidate"]["environment"]["torch"] == "2.14.1"


@pytest.mark.slow
def test_too_many_lost_is_an_error_and_reported(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(a={"crash": tuple(range(3, 40))}) == 1
    said = capsys.readouterr().out
    assert "ERROR" in said
    assert "SIGSEGV" in said


@pytest.mark.slow
def test_strict_fails_what_is_not_clear(check: Check) -> None:
    wide = {"noise": 0.5}
    assert check("--cases", CASE, "--strict", a=wide, b=wide) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--cases", CASE, "--pairs", "9"), "--pairs 9"),
        (("--cases", "shapes10/*/*@x86", "--pairs", "8"), "with 28 cases"),
        (("--cases", CASE, "--timeout", "0"), "--timeout: 0"),
        (("--cases", CASE, "--against", "nothing"), "unknown method 'nothing'"),
        (("--model", "nothing"), "unknown model 'nothing'"),
        (("--baseline", "HEAD", "--cases", CASE), "sides"),
    ],
)
def test_bad_options(
    check: Check, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], reason: str
) -> None:
    assert check(*options) == 2
    assert reason in capsys.readouterr().err


def test_a_side_that_is_nothing_or_cannot(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed", "check", "--baseline", "no-such-thing", "--cases", CASE]) == 2
    assert "tried: the file" in capsys.readouterr().err
    assert check(b={"refuse": (0,)}) == 2
    assert "tried, in" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process_and_keeps_pairs(
    tmp_path: Path, number: signal.Signals
) -> None:
    sides = [fake_python(tmp_path / "a"), fake_python(tmp_path / "b", hang=(5,))]
    command = [sys.executable, "-m", "qreg", "speed", "check", *sides, "--cases", CASE]
    process = subprocess.Popen(
        [*command, "--json", "out.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs this in the background of a shell has switched SIGINT off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        _wait_for(lambda: len(_logged(tmp_path / "b")) == 7, process)
        process.send_signal(number)
        said, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number, errors
    assert "INTERRUPTED" in said
    assert len(json.loads((tmp_path / "out.json").read_text())["pairs"]) == 4
    pids = [entry["pid"] for name in "ab" for entry in _logged(tmp_path / name)]
    assert not any(alive(pid) for pid in pids)


def _logged(path: Path) -> list[dict]:
    return log_of(str(path)) if path.with_suffix(".log").exists() else []


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if ready():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it never came so far")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("HEAD",), "sides HEAD"),
        (("--calls", "0"), "--calls: 0"),
        (("--cases", "shapes10/nothing/*@x86"), "unknown case"),
        (("--cases", CASE), "valgrind is not installed"),
    ],
)
def test_instructions_that_cannot_be_counted(
    options: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert main(["speed", "instructions", *options]) == 2
    assert reason in capsys.readouterr().err


class _AskedForError(Exception):
    pass


def test_the_projects_own_data_and_all_models_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision that is checked out lacks the data that git ignores."""
    table = (
        '[tool.qreg]\nmodels = ["simple_cnn"]\ndatasets = ["photos.npz"]\nmethods = ["dynamic"]\n'
    )
    (tmp_path / "pyproject.toml").write_text(table)
    (tmp_path / "photos.npz").touch()
    monkeypatch.chdir(tmp_path)
    asked = []

    def keep(request: SpeedRequest, *_: object) -> None:
        asked.append(request)
        raise _AskedForError

    monkeypatch.setattr("qreg.speed.check.check_speed", keep)
    command = ["check", "HEAD", ".", "--model", "simple_cnn", "--model", "linear_100"]
    args = build_parser().parse_args(["speed", *command])
    with pytest.raises(_AskedForError):
        check_cases(args, "HEAD", ".")
    (request,) = asked
    assert request.options.sources == (("photos", str(tmp_path / "photos.npz")),)
    assert {case.model for case in request.cases} == {"linear_100", "simple_cnn"}
