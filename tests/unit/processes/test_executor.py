"""Pieces of work: in order, in groups, and wherever their folders are."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from qreg.processes.executor import Piece, Places, run
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
