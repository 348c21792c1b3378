"""Pieces of work on the machines of a Ray cluster.

Source: Ray's tasks and their failures, docs.ray.io/en/latest/ray-core/fault-tolerance.html. On
which machine pieces run, which of them again, and how often, is decided here: Ray places work by
what it knew some time ago, behind other work while another machine does nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count, groupby, takewhile
from pathlib import Path
from typing import Any

from qreg.errors import QregError
from qreg.measure.options import Options
from qreg.processes import on_node
from qreg.processes.executor import Piece, Result, run
from qreg.processes.running import status_text
from qreg.processes.sending import PART, Tree, case_options, folder_tree, trees_of
from qreg.processes.spreading import parts_of
from qreg.processes.temporary import remove_leftovers, temporary_folder
from qreg.processes.variables import sent_variables
from qreg.records.case import Case
from qreg.settings import Settings

#: The address for a cluster of this machine alone, that lives as long as the command.
LOCAL = "local"
# What a cluster of this machine keeps for its workers: files in parts, and results.
_STORE = 256 << 20
# A piece that was running on so many lost workers, or machines, is not started again.
_KILLS, _LOSSES = 2, 5
# As many pieces of a group may have been running when its worker ended: one result is on its way.
_SUSPECTED = 2
# A machine that is there accepts a connection within so long; one that is lost may end after its
# workers.
_ANSWER_S, _ENDING_S = 2.0, 1.0
# A cluster that is asked for the first time may be far away.
_REACH_S = 30.0
# Within so long Ray lists a lost machine as that.
_NOTICE_S = 60.0
# Tasks ask for memory by their processes only where the machine is full; see Ray's memory monitor.
_CODE = Path(on_node.__file__).read_text(encoding="utf-8")
# An interrupted piece has so long to end its processes and remove their files.
_END_S = 15.0
# Where no machine has been there for so long that fits what waits, none is waited for.
_STUCK_S = 60.0
# How long it is not looked again which machines are there, and not asked again for more of them.
_LOOK_S, _ASK_S = 0.2, 10.0
# A small cluster is asked for so many machines, where as many groups wait.
_LEAST_ASKED = 10
_KIND_TASK = "qreg.processes.kind:kind_sent"


@dataclass
class _Group:
    """Pieces that run one after the other in one process, those without a result yet."""

    pieces: list[Piece]
    #: The lowest comes first.
    turn: int
    trees: list[Tree] = field(default_factory=list)
    generator: Any = None
    #: The machine it is for, and the one where it is, or was when it asked for files.
    machine: str = ""
    node: str = ""
    ended: str = ""
    has_files: bool = False

    @property
    def first(self) -> Piece:
        return self.pieces[0]


@dataclass
class Counts:
    """What happened on the way.

    Attributes:
        workers, nodes: how many were lost while they did a piece.
        sent: bytes, by machine.
        done: pieces with a result, by machine.
    """

    workers: int = 0
    nodes: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)


def project_executor(
    address: str,
    settings: Settings,
    cases: Sequence[Case],
    options: Options,
    *,
    baselines: Path | None = None,
    imports: Sequence[str] = (),
) -> RayExecutor:
    """A cluster whose machines are sent what measuring these cases of a project needs.

    Args:
        address: of the cluster, "auto" or `LOCAL`.
        baselines: the folder of those that the cases are judged by; None: they are not judged.
        imports: modules besides PyTorch that a machine imports once for all its pieces.

    Raises:
        QregError: Ray is not installed, there is no cluster, or a file cannot be sent.
    """
    sent = case_options(settings, options, cases)
    trees = trees_of(settings, cases, sent, baselines)
    root = settings.root.resolve()
    own = (path for tree in trees if tree.prefix == str(root) for path in tree.sources)
    return RayExecutor(
        address,
        trees,
        folder=root,
        threads=sent.threads,
        imports=("torch", *imports),  # of what kind a machine is cannot be said without
        variables=sent_variables(own),
    )


class RayExecutor:
    """Runs groups of pieces on a Ray cluster, as many at a time as it has processors.

    A group whose worker or machine is lost goes on elsewhere with the pieces that have no result.
    A piece that ended two workers, of machines that are still there, has that as its result.

    Args:
        address: as of ``ray.init``, or `LOCAL`.
        trees: what all pieces read.
        folder: the working folder of the pieces, as this machine names it.
        threads: of each piece's kernels, and the processors that it takes.
        imports: modules that pieces need, imported once in each process of a machine; after "?"
            those that may be missing.
        variables: of the environment, that pieces read; None for not set.

    Raises:
        QregError: Ray is not installed, or there is no cluster at `address`.
    """

    def __init__(
        self,
        address: str,
        trees: Sequence[Tree],
        *,
        folder: Path,
        threads: int = 1,
        imports: Sequence[str] = (),
        variables: Mapping[str, str | None] | None = None,
    ) -> None:
        self._open = ExitStack()
        self._ray = _connected(address, self._open)
        self._trees, self._threads = list(trees), max(1, threads)
        paths = [tree.prefix for tree in trees[:1]]  # qreg's own
        self._start = {
            "folder": str(folder),
            "paths": paths,
            "imports": list(imports),
            "threads": threads or 1,
            "variables": dict(variables or {}),
        }
        self._parts: dict[str, Any] = {}
        self._listings: dict[str, Any] = {}
        self._waiting: list[_Group] = []
        self._running: list[_Group] = []
        self._next, self._earlier = count(), count(-1, -1)
        self._kills: dict[str, list[str]] = {}
        self._losses: dict[str, int] = {}
        self._found: list[tuple[Piece, Result]] = []
        self._kinds: dict[str, str] = {}
        self._unreachable: dict[str, float] = {}
        self._asked: dict[str, str] = {}
        self._affinities: dict[str, tuple[str, ...]] = {}
        self._seen: tuple[float, dict[str, float]] = (0.0, {})
        self._fitted = self._wished = time.monotonic()
        self._wishes: list[Any] = []
        self.counts = Counts()
        self._remote = self._ray.remote(_on_node_task())
        self._wish = self._ray.remote(num_cpus=self._threads, max_retries=0)(_empty_task())

    def add(self, pieces: Sequence[Piece], *, first: bool = False) -> None:
        grouped = groupby(pieces, key=lambda one: (one.group or one.name, one.environment))
        parts = [list(group) for _, group in grouped]
        if first:
            self._waiting += [_Group(part, next(self._earlier)) for part in reversed(parts)]
        else:
            self._waiting += [_Group(part, next(self._next)) for part in parts]

    def poll(self) -> Iterator[tuple[Piece, Result]]:
        self._submit_waiting()
        by_generator = {group.generator: group for group in self._running}
        if by_generator:
            ready, _ = self._ray.wait(list(by_generator), timeout=0, fetch_local=False)
            for one in ready:
                self._advance(by_generator[one])
        if (self._waiting or self._wishes) and time.monotonic() > self._wished + _ASK_S:
            self._ask_for_more()
        found, self._found = self._found, []
        yield from found

    def wait(self) -> None:
        # not by looking again and again, which takes the time of a processor that may do pieces
        if generators := [group.generator for group in self._running]:
            self._ray.wait(generators, timeout=_LOOK_S, fetch_local=False)
        else:
            time.sleep(_LOOK_S)

    def _submit_waiting(self) -> None:
        """Hand groups to Ray, each for a machine that has room; the others wait here.

        So a machine that joins, or is done first, takes the next one.
        """
        if self._kinds and any(one.first.environment for one in self._waiting):
            self._ask_new()
        busy, machines = self._busy(), self._machines()
        is_full = machines and all(busy[one] >= self._room_of(one) for one in machines)
        if is_full or not self._waiting:
            self._fitted = time.monotonic()
            return
        waiting, self._waiting = sorted(self._waiting, key=self._turn), []
        full: set[tuple[str, bool]] = set()
        for number, group in enumerate(waiting):
            wanted = group.first.environment, group.first.timed
            if self._is_gone(group.first.environment):
                for piece in group.pieces:
                    self._finish(piece, {"died": "left the cluster", "details": ""})
            elif wanted not in full and (machine := self._free_machine(group)):
                self._submit(group, machine)
                if group.first.affinity:  # which of the others fit a machine has changed
                    self._waiting += waiting[number + 1 :]
                    return
            else:
                full.add(wanted)
                self._waiting.append(group)

    def _turn(self, group: _Group) -> tuple[int, int]:
        """First what goes on where its like was done; last, what another machine goes on with.

        So machines help one another only where they have nothing else left.
        """
        if not group.first.affinity:
            return 0, group.turn
        shared = {one: self._shared(group, one) for one in self._machines()}
        most = max(shared.values(), default=0)
        near = [one for one, count in shared.items() if count == most]
        return (-most if self._least_busy(group, near) else most), group.turn

    def _shared(self, group: _Group, machine: str) -> int:
        """How many names of its affinity a group shares with what the machine did last."""
        both = zip(group.first.affinity, self._affinities.get(machine, ()), strict=False)
        return sum(1 for _ in takewhile(lambda names: names[0] == names[1], both))

    def _ask_for_more(self) -> None:
        """Show a cluster that grows on demand what waits here: a task of Ray for each group.

        It does nothing. There are no more of them than would double the cluster, or bring a small
        one to `_LEAST_ASKED`, and none before all machines have their files: a worker that waits
        for some lends its processor, for which Ray would start another worker.
        """
        self._wished = time.monotonic()
        wanted = min(len(self._waiting), max(_LEAST_ASKED, self.room()))
        if self._wishes:
            number = len(self._wishes)
            _, self._wishes = self._ray.wait(self._wishes, num_returns=number, timeout=0)
        for one in self._wishes[wanted:]:
            self._ray.cancel(one)
        del self._wishes[wanted:]
        if all(one.has_files for one in self._running):
            self._wishes += [self._wish.remote() for _ in range(wanted - len(self._wishes))]

    def _ask_new(self) -> None:
        """Ask machines that joined since `kinds` of what kind they are."""
        for name in self._machines().keys() - self._kinds.keys():
            self._kinds[name] = name
            piece = Piece(f"environment of {name}", _KIND_TASK, environment=name)
            self._asked[piece.name] = name
            self._waiting.append(_Group([piece], next(self._earlier)))

    def _is_gone(self, environment: str) -> bool:
        """Whether this is the name of one machine, which has left."""
        return environment in self._kinds and environment not in self._machines()

    def _free_machine(self, group: _Group) -> str:
        """The machine that a group is for, the one that asked for its files first; "" without room.

        Raises:
            QregError: none has been there for a while.
        """
        wanted, machines = group.first.environment, self._machines()
        fitting = [x for x in machines if not wanted or self._kinds.get(x) == wanted]
        if fitting or any(piece.name in self._asked for x in self._running for piece in x.pieces):
            self._fitted = time.monotonic()
        if not fitting and time.monotonic() > self._fitted + _STUCK_S:
            raise self._none_fits(wanted)
        asked = [one for one in fitting if one == group.node]
        return self._least_busy(group, asked) or self._least_busy(group, fitting)

    def _none_fits(self, wanted: str) -> QregError:
        """That no machine is there that can do this work."""
        if wanted:
            return QregError(
                f"no machine is left that is {wanted}", hint="add one to the cluster, and run again"
            )
        sizes = [one["Resources"].get("CPU", 0) for one in self._ray.nodes() if one["Alive"]]
        return QregError(
            f"no machine of the cluster has {self._threads} processors: the largest has "
            f"{max(sizes, default=0):g}",
            hint="add machines to the cluster, or use fewer threads",
        )

    def _least_busy(self, group: _Group, fitting: Sequence[str]) -> str:
        """The one of these machines with the fewest groups, if it has room; else ""."""
        if not fitting:
            return ""
        busy = self._busy()
        name = min(fitting, key=lambda one: (busy[one], -self._shared(group, one)))
        room = 1 if group.first.timed else self._room_of(name)
        return name if busy[name] < room else ""

    def _room_of(self, machine: str) -> int:
        """How many groups a machine can do at a time."""
        return int(self._machines().get(machine, 0.0) // self._threads)

    def _busy(self) -> Counter[str]:
        """How many groups each machine has."""
        return Counter(one.node or one.machine for one in self._running)

    def _submit(self, group: _Group, machine: str) -> None:
        """Hand a group to Ray for this machine."""
        if not group.trees:
            folders = {one for piece in group.pieces for one in piece.folders}
            group.trees = [*self._trees, *map(folder_tree, sorted(folders))]
        for tree in group.trees:
            if tree.digest not in self._listings:
                self._listings[tree.digest] = self._ray.put(json.dumps(tree.listing).encode())
        wanted = {part for tree in group.trees for e in tree.entries for part in e.parts}
        sent = {part: ref for part, ref in self._parts.items() if part in wanted}
        job = {
            "trees": [[tree.prefix, tree.digest] for tree in group.trees],
            "start": self._start,
            "sent": sorted(sent),
            "pieces": [piece.plain for piece in group.pieces],
        }
        listings = [(tree.digest, self._listings[tree.digest]) for tree in group.trees]
        group.node, group.ended, group.machine, group.has_files = "", "", machine, False
        self._affinities[machine] = group.first.affinity
        options = self._options(group)
        group.generator = self._remote.options(**options).remote(
            _CODE, json.dumps(job), listings, sent
        )
        self._running.append(group)

    def _options(self, group: _Group) -> dict[str, Any]:
        """How Ray runs a group: on its machine, or on that without others."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        first, processors = group.first, float(self._threads)
        if first.timed:  # all of its processors: nothing of Ray's runs there meanwhile
            processors = self._machines().get(group.machine, processors)
        is_bound = first.timed or bool(first.environment)  # also where its machine is lost
        return {
            "num_returns": "streaming",
            "num_cpus": processors,
            "max_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(group.machine, soft=not is_bound),
        }

    def _machines(self) -> dict[str, float]:
        """The machines that are there and have enough processors, with how many."""
        looked, seen = self._seen
        if time.monotonic() < looked + _LOOK_S:
            return seen
        noticed = time.monotonic() - _NOTICE_S  # Ray itself knows of those before
        found = {
            one["NodeID"]: one["Resources"].get("CPU", 0.0)
            for one in self._ray.nodes()
            if one["Alive"] and self._unreachable.get(one["NodeID"], noticed) <= noticed
        }
        seen = {name: count for name, count in found.items() if count >= self._threads}
        self._seen = (time.monotonic(), seen)
        return seen

    def kinds(self) -> tuple[str, ...]:
        """The kinds of machines, by what can change numbers; pieces may then name one.

        Raises:
            QregError: a machine cannot do any work.
        """
        names = {f"environment of {one}": one for one in self._machines()}
        self._kinds |= {one: one for one in names.values()}
        pieces = [Piece(name, _KIND_TASK, environment=one) for name, one in names.items()]
        for piece, result in run(self, pieces):
            if kind := str(result.get("kind", "")):
                self._kinds[names[piece.name]] = kind
        return tuple(sorted(set(self._known_kinds())))

    def _known_kinds(self) -> list[str]:
        """The kinds of the machines that said it."""
        return [kind for machine, kind in self._kinds.items() if kind != machine]

    def most_common_kind(self) -> str:
        """The kind that most machines are of, where results are compared with one another.

        Raises: as `kinds`.
        """
        kinds = self.kinds()
        count = Counter(self._known_kinds())
        return max(kinds, key=lambda kind: count[kind])

    def room(self, kind: str = "") -> int:
        """How many pieces machines, those of a kind if one is given, can do at a time."""
        fitting = [n for n in self._machines() if not kind or self._kinds.get(n) == kind]
        return sum(map(self._room_of, fitting))

    def _advance(self, group: _Group) -> None:
        """Take what has come of a group."""
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(next(group.generator))
        except StopIteration:
            self._running.remove(group)
            if group.pieces and group.ended:
                self._lost(group, group.ended)
            elif group.pieces:
                self._waiting.append(group)
            return
        except errors.RayTaskError as error:
            self._running.remove(group)
            self._failed(group, error)
            return
        except errors.RayError as error:
            self._running.remove(group)
            self._lost(group, error)
            return
        self._take(group, json.loads(answer))

    def _take(self, group: _Group, answer: dict[str, Any]) -> None:
        if "lacks" in answer:
            self._put(group.trees, answer["lacks"])
        elif "node" in answer:
            group.node = answer["node"]
        elif "fetched" in answer:
            sent = self.counts.sent
            sent[group.node] = sent.get(group.node, 0) + answer["fetched"]
            group.has_files = True
        elif "ended" in answer:
            group.ended = f"its process {status_text(answer['ended'])}"
        else:
            piece = next((one for one in group.pieces if one.name == answer["name"]), None)
            if piece is not None:
                group.pieces.remove(piece)
                self._finish(piece, answer["result"])
                self.counts.done[group.node] = self.counts.done.get(group.node, 0) + 1

    def _finish(self, piece: Piece, result: Result) -> None:
        """A piece has its result: what was asked here is kept, the others are handed out."""
        if piece.name not in self._asked:
            self._found.append((piece, result))
        elif kind := str(result.get("kind", "")):
            self._kinds[self._asked[piece.name]] = kind

    def _put(self, trees: Sequence[Tree], digests: Sequence[str]) -> None:
        """Put the parts of files with these digests into Ray's store, several in one object."""
        wanted = set(digests) - self._parts.keys()
        pack: dict[str, bytes] = {}

        def flush() -> None:
            if pack:
                ref = self._ray.put(dict(pack))
                self._parts.update(dict.fromkeys(pack, ref))
                pack.clear()

        for tree in trees:
            for number, entry in enumerate(tree.entries):
                for part, digest in enumerate(entry.parts):
                    if digest in wanted:
                        wanted.discard(digest)
                        pack[digest] = tree.read(number, part)
                        if sum(map(len, pack.values())) >= PART:
                            flush()
        flush()

    def _failed(self, group: _Group, error: Any) -> None:
        """The worker could not do the work, whatever the pieces are.

        A machine that joined later is left alone then.
        """
        if any(piece.name in self._asked for piece in group.pieces):
            return
        cause = getattr(error, "cause", None) or error
        text = str(cause).strip().rpartition("\n")[2]
        raise QregError(
            f"machine {group.node[:8] or '(unknown)'} of the cluster cannot do the work: {text}",
            hint="it needs PyTorch and qreg's dependencies in the Python that runs Ray; Ray's "
            "logs there say more",
        ) from error

    def _lost(self, group: _Group, error: Any) -> None:
        """A worker or its machine ended. Which piece was running is known where it was alone.

        What a worker found last may not have come, so that one of the first two was running; those
        run alone from then on, and of the others the first two if these end a worker, too.
        """
        units = _units(group.pieces)
        by_node = self._is_lost(group.node, error)
        self.counts.nodes += by_node
        self.counts.workers += not by_node
        for name in (unit[0].name for unit in units):
            self._losses[name] = self._losses.get(name, 0) + 1
            if group.node and not by_node:  # else it was starting
                self._kills.setdefault(name, []).append(group.node)
        if by_node and self._losses[units[0][0].name] < _LOSSES:
            parts = parts_of(units, self.room())
        elif len(units) > 1:
            suspected, others = units[:_SUSPECTED], units[_SUSPECTED:]
            parts = [*parts_of(others, self.room()), *([unit] for unit in suspected)]
        else:
            self._suspect(group, error)
            return
        for part in parts:
            # what was lost with a machine was begun long ago, as larger pieces are
            turn = group.turn if by_node else next(self._next)
            pieces = [piece for unit in part for piece in unit]
            self._waiting.append(_Group(pieces, turn, group.trees))

    def _is_lost(self, node: str, error: Any) -> bool:
        """Whether a worker ended with its machine, which Ray may take seconds to notice.

        That machine is not counted any more.
        """
        lost = isinstance(error, self._ray.exceptions.NodeDiedError) or self._is_silent(node)
        if lost:
            self._unreachable[node] = time.monotonic()
            self._seen = (0.0, {})
            # Who wants these next would ask that machine for its copies, and wait for 10 s.
            self._parts.clear()
            self._listings.clear()
        return lost

    def _is_silent(self, node: str) -> bool:
        """Whether a machine is listed and does not answer."""
        found = next((one for one in self._ray.nodes() if one["NodeID"] == node), None)
        if found is None:  # it was starting, who knows where
            return False
        time.sleep(_ENDING_S)
        at = (found["NodeManagerAddress"], found["NodeManagerPort"])
        try:
            socket.create_connection(at, timeout=_ANSWER_S).close()
        except OSError:
            return True
        return not found["Alive"]

    def _suspect(self, group: _Group, error: Any) -> None:
        """A piece that was alone when its worker or machine ended: it has that as its result."""
        piece = group.first
        kills, losses = self._own_kills(piece), self._losses[piece.name]
        if kills >= _KILLS or losses >= _LOSSES:
            group.pieces.remove(piece)
            said = str(error).strip().partition("\n")[0]
            ended = f"ended its worker {kills} times"
            how = ended if kills >= _KILLS else f"was lost {losses} times"
            self._finish(piece, {"died": f"{how} on the cluster: {said}", "details": ""})
        if group.pieces:
            self._waiting.append(_Group(group.pieces, next(self._next), group.trees))

    def _own_kills(self, piece: Piece) -> int:
        """How many workers ended on machines that are still there, not lost with those."""
        alive = {one["NodeID"] for one in self._ray.nodes() if one["Alive"]}
        return sum(node in alive for node in self._kills.get(piece.name, []))

    def step(self) -> str:
        names = [f"{one.first.name}" for one in self._running if one.node and one.pieces]
        machines = len({one.node for one in self._running if one.node})
        if not names:
            return "waiting for the cluster"
        return f"{machines} machine{'s' * (machines > 1)}: {', '.join(names)}"

    def close(self) -> None:
        """Interrupt what runs, and leave the cluster; one of this machine alone is ended."""
        with contextlib.suppress(Exception):
            for one in (*self._wishes, *(group.generator for group in self._running)):
                self._ray.cancel(one)
            if self._running:
                left = [group.generator for group in self._running]
                self._ray.wait(left, num_returns=len(left), timeout=_END_S, fetch_local=False)
        self._running.clear()
        self._open.close()


def _units(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Each piece alone, or with those that must follow it in the same process."""
    found: list[list[Piece]] = []
    for piece in pieces:
        if piece.follows and found:
            found[-1].append(piece)
        else:
            found.append([piece])
    return found


def _empty_task() -> Callable[[], None]:
    """The function of a task that stands for a waiting group: it needs nothing of qreg either."""

    def qreg_waits() -> None:
        pass

    return qreg_waits


def _on_node_task() -> Callable[..., Iterator[str]]:
    """The function that Ray runs on a machine: it needs nothing of qreg there."""

    def qreg_pieces(
        code: str, job: str, listings: list[tuple[str, Any]], sent: dict[str, Any]
    ) -> Iterator[str]:
        import json
        import sys
        import types

        import ray

        yield json.dumps({"node": ray.get_runtime_context().get_node_id()})
        name = "qreg_on_node"
        module: Any = sys.modules.get(name)
        if module is None or module.code != code:
            module = types.ModuleType(name)
            module.code = code
            sys.modules[name] = module
            exec(compile(code, name, "exec"), module.__dict__)

        def fetch(digests: list[str]) -> Iterator[tuple[str, bytes]]:
            left = set(digests)
            while left:
                reference = sent[next(iter(left))]
                for digest, content in ray.get(reference).items():
                    if digest in left:
                        left.discard(digest)
                        yield digest, content

        found = {digest: json.loads(ray.get(one)) for digest, one in listings}
        for answer in module.work(json.loads(job), found, fetch):
            yield json.dumps(answer)

    return qreg_pieces


def _connected(address: str, stack: ExitStack) -> Any:
    """Ray, connected; what was started or changed for it is undone by the stack."""
    if importlib.util.find_spec("ray") is None:
        raise QregError("Ray is not installed", hint="pip install 'qreg[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        hint = "pip install --force-reinstall 'qreg[ray]'"
        raise QregError(f"Ray cannot be imported: {error}", hint=hint) from error
    answers = _answers(address)
    given: dict[str, Any] = {"address": address}
    if address == LOCAL:
        stack.callback(remove_leftovers)  # of what Ray kills, as on a busy machine
        folder = stack.enter_context(temporary_folder("ray"))
        given |= {
            "include_dashboard": False,
            "object_store_memory": _STORE,
            "_temp_dir": str(folder),
            "_system_config": {"worker_niceness": 0},  # as fast as without Ray
        }
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**given, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (OSError, ValueError, RuntimeError) as error:
        said = str(error).strip().partition("\n")[0]
        found = f"a Ray answers at {address}" if answers else f"no Ray cluster at {address}"
        hint = _hint(address, answers=answers)
        raise QregError(f"{found}: {said}", hint=hint) from error
    finally:
        with contextlib.suppress(ValueError, TypeError):  # not in the main thread, or not Python's
            signal.signal(signal.SIGTERM, handler)
    stack.callback(_left, ray)
    with contextlib.suppress(AttributeError):  # the last lines of a lost machine's log, on stdout
        ray._private.worker.print_to_stdstream = _quiet
    return ray


# What a client of HTTP/2 begins with, and a server answers with.
_SETTINGS_FRAME = b"\0\0\0\4\0\0\0\0\0"
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS_FRAME


def _answers(address: str) -> bool:
    """Whether a Ray answers at an address; False where it is none, as `auto`.

    Ray would try for minutes, and heed no signal. Its servers speak gRPC, which begins with the
    settings of HTTP/2, of either side; source: RFC 9113, section 3.4.

    Raises:
        QregError: no Ray does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return False
    try:
        place = host.strip("[]"), int(port)
        with socket.create_connection(place, timeout=_REACH_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return True
            connection.sendall(_HTTP2)
            answer = connection.recv(len(_SETTINGS_FRAME), socket.MSG_WAITALL)
    except (OSError, OverflowError) as error:
        raise QregError(f"no Ray cluster at {address}: {error}", hint=_hint(address)) from error
    if answer[3:4] != _SETTINGS_FRAME[3:4]:
        raise QregError(f"what answers at {address} is no Ray", hint=_hint(address))
    return True


def _hint(address: str, *, answers: bool = False) -> str:
    """What to do where no connection is made: newer Rays ask for a token, which `auto` finds."""
    token = "where the cluster asks for a token: RAY_AUTH_MODE=token, and it in ~/.ray/auth_token; "
    asks = address not in ("auto", LOCAL) and not os.environ.get("RAY_AUTH_MODE")
    if answers and asks:
        return f"{token}else see that Ray's versions are equal"
    return f"start one: ray start --head; {token if asks else ''}or use this machine alone: local"


def _quiet(*_: Any, **__: Any) -> None:
    """What machines print stays in Ray's logs; what was lost is said by qreg."""


def _left(ray: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()
