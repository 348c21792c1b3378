"""Pieces of work: in order, in groups, and wherever their folders are."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qreg.processes.executor import Piece, Places, run, tell
from qreg.processes.local import LocalExecutor


def _crash() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_group_shares_a_process_and_a_crash_costs_its_own_piece() -> None:
    works = {"a": dict, "b": _crash, "c": dict, "d": dict}
    where = {
        name: (lambda: {"pid": os.getpid()}) if work is dict else work
        for name, work in works.items()
    }
    pieces = [
        Piece(name, "os:getpid", group="one" if name < "d" else "two", in_fork=work)  # type: ignore[arg-type]
        for name, work in where.items()
    ]
    executor = LocalExecutor(jobs=2)
    try:
        found = {piece.name: result for piece, result in run(executor, pieces)}
        again = [piece.name for piece, _ in run(executor, pieces[:1])]
    finally:
        executor.close()
    assert found["b"]["died"] == "was killed by SIGKILL"
    pids = [found[name]["pid"] for name in "acd"]
    assert len(set(pids)) == 3  # another process after the crash, and another for the other group
    assert again == ["a"]


def test_pieces_of_one_group_run_one_after_the_other_in_one_process() -> None:
    pieces = [
        Piece(name, "os:getpid", group="g", in_fork=lambda: {"pid": os.getpid()}) for name in "abc"
    ]
    executor = LocalExecutor(jobs=2)
    try:
        found = [(piece.name, result["pid"]) for piece, result in run(executor, pieces)]
    finally:
        executor.close()
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert len({pid for _, pid in found}) == 1


def test_what_a_group_needs_is_done_here_when_it_is_forked_and_not_before() -> None:
    done: list[str] = []
    pieces = [
        Piece(
            name,
            "os:getpid",
            group=name[0],
            in_fork=lambda: {"done": list(done)},
            before_fork=partial(done.append, name),
        )
        for name in ("a1", "a2", "b1")
    ]
    executor = LocalExecutor(jobs=1)
    try:
        found = {piece.name: result["done"] for piece, result in run(executor, pieces)}
    finally:
        executor.close()
    assert found == {"a1": ["a1", "a2"], "a2": ["a1", "a2"], "b1": ["a1", "a2", "b1"]}


def test_a_piece_that_says_nothing_is_shown_by_its_name_and_then_by_what_it_says() -> None:
    def talks(name: str) -> dict[str, Any]:
        if name == "says":
            tell(1, 2, "half")
        time.sleep(0.3)
        return {}

    pieces = [
        Piece(name, "os:getpid", group="g", in_fork=partial(talks, name))
        for name in ("quiet", "says", "quiet too")
    ]
    steps: list[str] = []
    executor = LocalExecutor(jobs=1)
    try:
        assert executor.step() == ""
        list(run(executor, pieces, tick=lambda: steps.append(executor.step())))
    finally:
        executor.close()
    assert steps[0] == "quiet"
    assert list(dict.fromkeys(steps)) in (
        ["quiet", "half 1/2", "quiet too"],
        ["quiet", "says", "half 1/2", "quiet too"],  # asked before it said so
    )


_KEEPING = """
import os, time

held = []

def hold(content, places):
    if content.get("ends"):
        os.kill(os.getpid(), 9)
    if content.get("hangs"):
        time.sleep(60)
    held.append(1)
    return {"pid": os.getpid(), "held": len(held)}
"""


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "keeping_of_test.py").write_text(_KEEPING)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


_LIMIT_S = 2.0


def _held(name: str, process: str = "one", content: str = "{}") -> Piece:
    return Piece(name, "keeping_of_test:hold", content, process=process, seconds=_LIMIT_S)


def test_groups_of_one_process_find_what_the_last_one_left(keeping: Path) -> None:
    executor, found = LocalExecutor(jobs=1), list[dict[str, Any]]()
    try:
        found += [result for _, result in run(executor, [_held("a"), _held("b")])]
        found += [result for _, result in run(executor, [_held("c"), _held("a2", "")])]
        (other,) = [result for _, result in run(executor, [_held("d", "two")])]
        (again,) = [result for _, result in run(executor, [_held("e")])]
    finally:
        executor.close()
    *kept, apart = found
    assert [one["held"] for one in kept] == [1, 2, 3]
    assert len({one["pid"] for one in kept}) == 1
    # where another process needs its place it is ended, and later begins anew
    assert [one["held"] for one in (apart, other, again)] == [1, 1, 1]
    assert not Path(f"/proc/{kept[0]['pid']}").exists()
    assert not Path(f"/proc/{again['pid']}").exists()


@pytest.mark.slow
def test_a_kept_process_that_ends_or_hangs_costs_its_piece_and_not_by_waiting(
    keeping: Path,
) -> None:
    executor, found = LocalExecutor(jobs=1), dict[str, dict[str, Any]]()

    def do(*pieces: Piece) -> None:
        found.update((piece.name, result) for piece, result in run(executor, pieces))

    try:
        do(_held("a"))
        time.sleep(_LIMIT_S + 0.5)
        do(_held("b"))
        do(_held("c", content='{"ends": 1}'), _held("d"))
        os.kill(found["d"]["pid"], signal.SIGKILL)  # while it waits
        time.sleep(0.5)  # until it has ended
        do(_held("e"))
        do(_held("f", content='{"hangs": 1}'), _held("g"))
    finally:
        executor.close()
    assert [found[name]["held"] for name in "abdeg"] == [1, 2, 1, 1, 1]
    assert found["c"]["died"] == "was killed by SIGKILL"
    assert found["f"]["died"] == f"gave no result in {_LIMIT_S:g} s"
    assert "hold" in found["f"]["details"]


def test_paths_are_where_they_were_put_and_called_as_the_sender_does(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "data.npz").touch()
    places = Places(
        (("/some/a/project", str(tmp_path / "tree")), ("/some/a/project", str(tmp_path / "apart")))
    )
    assert places.path("/some/a/project/nets.py") == tmp_path / "tree" / "nets.py"
    assert places.path("/some/a/project/data.npz") == tmp_path / "apart" / "data.npz"
    assert places.path("/some/b") == Path("/some/b")
    said = {"text": [f"no file {tmp_path}/tree/x.py"], "n": 1}
    assert places.as_sent(said) == {"text": ["no file /some/a/project/x.py"], "n": 1}


def test_a_piece_says_what_is_to_be_done() -> None:
    with pytest.raises(ValueError, match="piece"):
        Piece("", "module:function")
    with pytest.raises(ValueError, match="piece"):
        Piece("name", "module")
