"""Pieces of work on a cluster: what they are sent, and what happens when machines are lost."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ray")

from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import Piece, Result, run
from qreg.processes.sending import folder_tree, package_tree
from tests.cluster.nodes import Nodes, nodes

pytestmark = pytest.mark.slow

_TASKS = """
import os, signal, time
from pathlib import Path

def square(content, places):
    time.sleep(content.get("seconds", 0))
    text = places.path(content["file"]).read_text()
    return {"square": content["number"] ** 2, "text": text, "at": str(Path.cwd())}

def here(content, places):
    time.sleep(0.5)
    return {"process": os.getpid()}

def begin(content, places):
    begun = time.time()
    time.sleep(content["seconds"])
    return {"begun": begun}

def crash(content, places):
    os.kill(os.getpid(), signal.SIGKILL)

def fail(content, places):
    raise ValueError("so it is")

def take_the_worker_along(content, places):
    server = os.getppid()
    worker = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    time.sleep(1)  # its worker has said where it is: what ends before is not held against a piece
    os.kill(worker, signal.SIGKILL)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with nodes(tmp_path_factory.mktemp("cluster")) as found:
        found.add()
        found.add()
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tasks_of_test.py").write_text(_TASKS)
    (folder / "some.txt").write_text("text " * 1000)
    return folder


def _executor(cluster: Nodes, project: Path) -> RayExecutor:
    trees = [package_tree(), folder_tree(project)]
    return RayExecutor(cluster.address, trees, folder=project)


def _square(project: Path, number: int, seconds: float = 0.0, group: str = "") -> Piece:
    content = {"number": number, "file": str(project / "some.txt"), "seconds": seconds}
    return Piece(f"square {number}", "tasks_of_test:square", json.dumps(content), group=group)


def test_what_is_read_is_sent_once_to_each_machine(cluster: Nodes, project: Path) -> None:
    pieces = [_square(project, number, 0.3) for number in range(8)]
    first = _executor(cluster, project)
    try:
        found = {piece.name: result for piece, result in run(first, pieces)}
    finally:
        first.close()
    assert {name: one["square"] for name, one in found.items()} == {
        f"square {n}": n * n for n in range(8)
    }
    # as the sender calls them, whatever they are called there
    assert {one["at"] for one in found.values()} == {str(project)}
    assert len(first.counts.done) == 2
    sizes = sum(e.size for t in (package_tree(), folder_tree(project)) for e in t.entries)
    assert all(0 < sent <= sizes for sent in first.counts.sent.values())

    (project / "some.txt").write_text("changed")
    second = _executor(cluster, project)
    try:
        (_, result), *_ = run(second, pieces)
    finally:
        second.close()
    assert result["text"] == "changed"
    assert max(second.counts.sent.values()) == len("changed")


def test_a_piece_that_ends_its_process_or_raises_has_that_as_its_result(
    cluster: Nodes, project: Path
) -> None:
    bad = [Piece(name, f"tasks_of_test:{name}", group="g") for name in ("crash", "fail")]
    pieces = [_square(project, 1, group="g"), *bad, _square(project, 2, group="g")]
    executor = _executor(cluster, project)
    try:
        result = {piece.name: result for piece, result in run(executor, pieces)}
    finally:
        executor.close()
    assert result["crash"]["died"] == "was killed by SIGKILL"
    assert result["fail"]["raised"] == "ValueError: so it is"
    assert [result[f"square {n}"]["square"] for n in (1, 2)] == [1, 4]


def test_a_piece_that_ends_its_worker_twice_is_an_error_of_its_own(
    cluster: Nodes, project: Path
) -> None:
    killer = Piece("killer", "tasks_of_test:take_the_worker_along", group="g")
    pieces = [_square(project, 1, group="g"), killer, _square(project, 2, group="g")]
    executor = _executor(cluster, project)
    try:
        found = [(piece.name, result) for piece, result in run(executor, pieces)]
    finally:
        executor.close()
    assert sorted(name for name, _ in found) == ["killer", "square 1", "square 2"]
    by_name = dict(found)
    assert "ended its worker 2 times" in by_name["killer"]["died"]
    assert [by_name[f"square {n}"]["square"] for n in (1, 2)] == [1, 4]
    assert executor.counts.workers == 2


def test_a_lost_machine_costs_no_result(cluster: Nodes, project: Path) -> None:
    third = cluster.add()
    pieces = [_square(project, n, 0.5, group=f"g{n // 4}") for n in range(24)]
    executor, found, killed = _executor(cluster, project), [], False
    try:
        for piece, result in run(executor, pieces):
            found.append((piece.name, result["square"]))
            if not killed and third.node_id in executor.counts.done:
                time.sleep(random.random())
                cluster.kill(third)
                killed = True
    finally:
        executor.close()
    assert killed, executor.counts
    assert sorted(found) == sorted((f"square {n}", n * n) for n in range(24))


def test_what_a_lost_machine_had_left_is_shared_by_the_others(
    cluster: Nodes, project: Path
) -> None:
    pieces = [_square(project, n, 0.4, group="one") for n in range(24)]
    executor, killed = _executor(cluster, project), ""
    try:
        cluster.add()
        for _ in run(executor, pieces):
            if not killed:
                (killed,) = executor.counts.done
                cluster.kill(cluster.machines[killed])
    finally:
        executor.close()
    after = {name: count for name, count in executor.counts.done.items() if name != killed}
    assert len(after) == 2
    assert min(after.values()) >= 8
    assert executor.counts.nodes == 1


def _while_a_machine_joins(
    cluster: Nodes, project: Path, pieces: list[Piece]
) -> tuple[dict[str, Result], dict[str, int], str]:
    """Results by piece, how many each machine has, and which machine has joined meanwhile.

    The two others have the files, which that one has not.
    """
    before = _executor(cluster, project)
    before.kinds()
    before.close()
    executor, later, found = _executor(cluster, project), None, {}
    try:
        for piece, result in run(executor, pieces):
            later = later or cluster.add()
            found[piece.name] = result
        assert later is not None
        return found, dict(executor.counts.done), later.node_id
    finally:
        executor.close()
        if later is not None:
            cluster.kill(later)


def test_a_machine_that_joins_later_does_not_take_all_that_waits(
    cluster: Nodes, project: Path
) -> None:
    pieces = [_square(project, n, 1.0) for n in range(36)]
    _, done, later = _while_a_machine_joins(cluster, project, pieces)
    took = done.pop(later)
    assert took + sum(done.values()) == 36
    assert 2 <= took <= min(done.values())


def test_what_waits_begins_in_its_order_where_a_machine_joins(
    cluster: Nodes, project: Path
) -> None:
    content = json.dumps({"seconds": 1.0})
    pieces = [Piece(str(number), "tasks_of_test:begin", content) for number in range(36)]
    found, done, later = _while_a_machine_joins(cluster, project, pieces)
    assert later in done
    order = sorted(map(int, found), key=lambda number: found[str(number)]["begun"])
    # one waits for the files and the first process of the machine that joined
    order.remove(max(order, key=lambda number: order.index(number) - number))
    moved = [abs(place - number) for place, number in enumerate(order)]
    assert max(moved) <= 3, order  # the three machines begin at nearly the same time


def test_a_machine_that_joins_later_takes_pieces_bound_to_its_kind(
    cluster: Nodes, project: Path
) -> None:
    executor, found, later = _executor(cluster, project), [], None
    (kind,) = executor.kinds()
    pieces = [replace(_square(project, n, 1.0), environment=kind) for n in range(24)]
    try:
        for piece, result in run(executor, pieces):
            found.append((piece.name, result["square"]))
            later = later or cluster.add()
        assert later is not None
        assert later.node_id in executor.counts.done
    finally:
        executor.close()
        if later is not None:
            cluster.kill(later)
    assert sorted(found) == sorted((f"square {n}", n * n) for n in range(24))


def test_a_machine_goes_on_with_what_it_has_and_helps_at_the_end(
    cluster: Nodes, project: Path
) -> None:
    executor = _executor(cluster, project)
    try:
        kind = executor.most_common_kind()
        of_all = Piece("any", "tasks_of_test:here", environment=kind, process="p")
        pieces = [
            replace(of_all, name=f"{affinity} {number}", affinity=(affinity,))
            for affinity, count in (("long", 10), ("short", 4))
            for number in range(count)
        ]
        found = [(piece.affinity[0], result["process"]) for piece, result in run(executor, pieces)]
    finally:
        executor.close()
    long, short = (Counter(process for x, process in found if x == y) for y in ("long", "short"))
    (_, most), (second, few) = long.most_common(2)
    assert set(short) == {second}, "what one machine has begun, another took, or was done by both"
    assert most + few == 10
    assert few >= 2, "the machine that was done first did not help"


def test_machines_begin_with_what_shares_the_least(cluster: Nodes, project: Path) -> None:
    executor = _executor(cluster, project)
    try:
        kind = executor.most_common_kind()
        of_all = Piece("any", "tasks_of_test:here", environment=kind, process="p")
        pieces = [
            replace(of_all, name=f"{sides} {model} {number}", affinity=(sides, model))
            for sides in ("a -> b", "b -> c")
            for model in ("cnn", "mlp", "rnn")
            for number in range(2)
        ]
        found = [(piece.affinity[0], result["process"]) for piece, result in run(executor, pieces)]
    finally:
        executor.close()
    first, second = (Counter(p for x, p in found if x == y) for y in ("a -> b", "b -> c"))
    ((one, most),), ((other, more),) = first.most_common(1), second.most_common(1)
    assert one != other
    assert min(most, more) >= 4, "the sides of both were started on both machines"


def test_nothing_is_left(cluster: Nodes, project: Path) -> None:
    pieces = [_square(project, n, 30.0) for n in range(4)]
    executor = _executor(cluster, project)
    executor.add(pieces)
    until = time.monotonic() + 60
    while len(_servers()) < 2 and time.monotonic() < until:
        list(executor.poll())
        time.sleep(0.1)
    assert len(_servers()) == 2
    executor.close()
    until = time.monotonic() + 20
    while _servers() and time.monotonic() < until:
        time.sleep(0.1)
    assert not _servers()


def _servers() -> list[str]:
    """The processes here that do pieces of work for a cluster, with their forks' parents."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                status = (process / "status").read_text()
            except OSError:
                continue
            parent = next(x for x in status.splitlines() if x.startswith("PPid")).split()[1]
            if b"qreg.processes.server" in words and parent not in found:
                found.append(process.name)
    return [one for one in found if Path("/proc", one).exists()]
