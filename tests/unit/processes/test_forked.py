from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qreg.processes.forked import Fork, Work, run_pieces, run_together, wait_for_result


def _raise() -> dict[str, Any]:
    raise LookupError("no such thing\nand more")


def _die() -> dict[str, Any]:
    faulthandler.disable()  # pytest's, in the fork
    os.kill(os.getpid(), signal.SIGILL)
    return {}


def _hang() -> dict[str, Any]:
    time.sleep(60)
    return {}


def _run(folder: Path, **pieces: Work) -> dict[str, Any]:
    run_pieces([(folder / f"{name}.json", work) for name, work in pieces.items()], seconds=1)
    assert sorted(path.stem for path in folder.iterdir()) == sorted(pieces)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in pieces}


def test_a_crash_costs_its_own_piece_only(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: {"pid": os.getpid()}, b=_die, c=_raise, d=_hang, e=lambda: {})
    assert found["a"]["pid"] != os.getpid()
    assert found["b"]["died"] == "was killed by SIGILL"
    assert found["c"]["raised"] == "LookupError: no such thing"
    assert "Traceback" in found["c"]["details"]
    assert found["d"]["died"] == "gave no result in 1 s"
    assert "in _hang" in found["d"]["details"]
    assert found["e"] == {}


def test_pieces_share_a_process(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: {"pid": os.getpid()}, b=lambda: {"pid": os.getpid()})
    assert found["a"] == found["b"]


def test_the_thread_pool_is_replaced_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else threads of autograd do it, all at once, and end the process now and then."""
    import torch

    asked: list[int] = []
    set_num_threads = torch.set_num_threads

    def recorded(number: int) -> None:
        asked.append(number)
        set_num_threads(number)

    monkeypatch.setattr(torch, "set_num_threads", recorded)
    found = _run(tmp_path, a=lambda: {"asked": asked, "threads": torch.get_num_threads()})
    assert found["a"]["asked"] == [found["a"]["threads"]] == [torch.get_num_threads()]
    assert not asked


def test_a_fork_that_has_ended_can_be_asked_again(tmp_path: Path) -> None:
    fork = Fork([(tmp_path / "a.json", dict)], seconds=60)
    fork.wait()
    assert fork.poll()
    assert (tmp_path / "a.json").read_text() == "{}"


def test_who_waits_is_told_and_seldom_looks(tmp_path: Path) -> None:
    def sleep() -> dict[str, Any]:
        time.sleep(1)
        return {}

    fork, begin, looks = Fork([(tmp_path / "a.json", sleep)], seconds=60), time.monotonic(), 0
    while not fork.poll():
        wait_for_result([fork])
        looks += 1
    # five times a second, for the result and for the end
    assert looks <= 5 * (time.monotonic() - begin) + 5


def test_a_fork_that_can_tell_nothing_is_looked_at(tmp_path: Path) -> None:
    def close() -> dict[str, Any]:
        os.closerange(3, 1 << 10)
        time.sleep(0.1)
        return {}

    assert _run(tmp_path, a=close) == {"a": {}}


def test_leaving_without_a_result(tmp_path: Path) -> None:
    found = _run(tmp_path, a=lambda: os._exit(0), b=lambda: {})  # type: ignore[arg-type]
    assert found == {"a": {"died": "exited 0 without a result", "details": ""}, "b": {}}


def test_leaving_by_the_interpreters_door_is_no_result(tmp_path: Path) -> None:
    for number, leave in enumerate((lambda: sys.exit(0), _interrupted)):
        (folder := tmp_path / str(number)).mkdir()
        found = _run(folder, a=leave, b=lambda: {})
        assert found["a"]["raised"] in ("SystemExit: 0", "KeyboardInterrupt")
        assert found["b"] == {}


def test_what_a_piece_leaves_running_is_gone(tmp_path: Path) -> None:
    def start() -> dict[str, Any]:
        threading.Thread(target=time.sleep, args=(60,)).start()
        return {"pid": subprocess.Popen(["sleep", "60"]).pid}

    begin = time.monotonic()
    found = _run(tmp_path, a=start)
    assert time.monotonic() - begin < 10
    assert _gone(found["a"]["pid"])


def test_forks_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, time
from pathlib import Path
from qreg.processes.forked import run_pieces

def work():
    Path({str(tmp_path)!r}, "pid").write_text(str(os.getpid()))
    time.sleep(60)

run_pieces([(Path({str(tmp_path)!r}, "a.json"), work)], seconds=60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    assert _gone(int((tmp_path / "pid").read_text()))


def test_so_many_at_a_time_and_each_in_its_own(tmp_path: Path) -> None:
    works = (lambda: {"pid": os.getpid()}, _die, lambda: {"pid": os.getpid()})
    pieces = [(tmp_path / f"{n}.json", work) for n, work in enumerate(works)]
    ended: list[Path] = []
    run_together(pieces, jobs=2, seconds=5, done=ended.append)
    assert sorted(ended) == [path for path, _ in pieces]
    first, second, third = (json.loads(path.read_text()) for path, _ in pieces)
    assert second["died"] == "was killed by SIGILL"
    assert first["pid"] != third["pid"]


def test_what_is_waited_for_is_told(tmp_path: Path) -> None:
    told: list[dict[Path, float]] = []
    path, seen = tmp_path / "slow.json", tmp_path / "seen"

    def slow() -> dict[str, Any]:
        while not seen.exists():
            time.sleep(0.01)
        return {}

    def waiting(running: Mapping[Path, float]) -> None:
        told.append(dict(running))
        seen.touch()

    run_together([(path, slow)], jobs=1, seconds=60, waiting=waiting)
    assert list(told[0]) == [path]
    assert 0 < told[0][path] < 60


def _interrupted() -> dict[str, Any]:
    raise KeyboardInterrupt


def _gone(pid: int) -> bool:
    """Whether a process is gone, or a zombie that its parent has not looked at, within 5 s."""
    for _ in range(250):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_fork_may_fork_and_has_a_limit_of_its_own(tmp_path: Path) -> None:
    def outer() -> dict[str, Any]:
        one, two = tmp_path / "one.json", tmp_path / "two.json"
        run_pieces([(one, lambda: {"here": 1})], seconds=5)
        run_pieces([(two, _hang)], seconds=0.5)
        return {**json.loads(one.read_text()), "then": json.loads(two.read_text())["died"]}

    run_pieces([(tmp_path / "outer.json", outer)], seconds=20)
    found = json.loads((tmp_path / "outer.json").read_text())
    assert found == {"here": 1, "then": "gave no result in 0.5 s"}


def test_a_process_with_a_time_limit_of_its_own_may_fork(tmp_path: Path) -> None:
    """As pytest's, where ``faulthandler_timeout`` is set."""
    faulthandler.dump_traceback_later(120)
    try:
        assert _run(tmp_path, a=lambda: {"here": 1}) == {"a": {"here": 1}}
    finally:
        faulthandler.cancel_dump_traceback_later()
