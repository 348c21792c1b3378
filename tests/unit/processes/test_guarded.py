"""Commands in a process of their own: how that ends is the command's status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qreg.processes.guarded import guarded


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("import os; os._exit(0)", 2, "exited 0 without a result"),
        ("import os; os.kill(os.getpid(), 9)", 2, "was killed by SIGKILL"),
        ("sys.exit(4)", 4, ""),
        ("raise LookupError('here')", 2, "LookupError: here"),
    ],
)
def test_how_it_ends_is_the_status(code: str, status: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", _program(code)], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_passed_on(tmp_path: Path, number: int, status: int) -> None:
    program, child = _sleeping(tmp_path)
    program.send_signal(number)
    assert program.wait(10) == status
    assert not _runs(child)


def test_killed_it_takes_the_work_with_it(tmp_path: Path) -> None:
    program, child = _sleeping(tmp_path)
    program.kill()
    program.wait()
    for _ in range(200):
        if not _runs(child):
            return
        time.sleep(0.02)
    raise AssertionError("the work goes on")


@pytest.mark.slow
def test_a_model_that_leaves_is_no_success(nets: str, colours: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text(
        f"import os, sys\nfrom {nets} import make_net\n"
        "def leave():\n    os._exit(0)\n\ndef exit():\n    sys.exit(0)\n"
    )
    for factory, said in (("leave", "exited 0 without a result"), ("exit", "SystemExit")):
        command = [sys.executable, "-m", "qreg", "compare", "--model", f"gone:{factory}"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        done = subprocess.run(
            [*command, "--dataset", str(colours)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 2
        assert said in done.stderr


def test_here_it_is_seen_that_a_fork_is_one() -> None:
    here = os.getpid()
    assert guarded(lambda: int(os.getpid() != here), lost=lambda _: 9) == 1


def _program(code: str) -> str:
    return (
        # started in the background of a shell without job control, it would ignore Ctrl-C
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys\nfrom qreg.processes.guarded import guarded\n"
        f"def work():\n    {code}\n"
        "def lost(how):\n    print(how, file=sys.stderr)\n    return 2\n"
        "sys.exit(guarded(work, lost=lost))\n"
    )


def _sleeping(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    code = (
        "import os, time, pathlib\n    try:\n"
        f"        pathlib.Path({str(folder / 'pid')!r}).write_text(str(os.getpid()))\n"
        "        time.sleep(60)\n    except KeyboardInterrupt:\n        return 130\n"
    )
    program = subprocess.Popen([sys.executable, "-c", _program(code)])
    while not (folder / "pid").exists() or not (folder / "pid").read_text():
        time.sleep(0.02)
    return program, int((folder / "pid").read_text())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
