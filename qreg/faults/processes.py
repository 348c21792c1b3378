"""Starting the fresh processes of the proof, and reading their output."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from qreg.baselines.store import Store
from qreg.checks.speed_up import is_detectable
from qreg.errors import QregError
from qreg.faults import child
from qreg.faults.noise import EnvironmentNoise
from qreg.faults.results import ObservedCase, TierVerdict
from qreg.files import write_atomically
from qreg.measure.environment import LIMITS
from qreg.measure.options import Options
from qreg.metrics.speed_up import SPEED_UP_BATCHES
from qreg.processes.executor import HERE as HERE_PLACES
from qreg.processes.executor import Executor, Piece, Places, run
from qreg.processes.jobs import LostError, read_environment
from qreg.processes.running import BY_A_SIGNAL, Running, run_script, started
from qreg.processes.sending import case_options, options_at
from qreg.processes.sides import HERE, open_side
from qreg.processes.temporary import temporary_folder
from qreg.records.baseline import Approval, Promise
from qreg.records.case import Case
from qreg.records.decode import decoder
from qreg.records.verdict import Outcome
from qreg.selection import project_settings

_CHILD = Path(child.__file__).resolve()
# All cases of a model in one process, on a busy machine.
_TIMEOUT_S = 3600
_POLL_S = 0.02
# Of the processes that measure a promise, those after which a slower model is given up: none that
# is to be detected has a mean below 0.
_FIRST = 3
_SLOWER = "the case is no faster than fp32"
_NOISY = "its times vary too much, as beside other work"
_APPROVED = Approval("clean runs", "2000-01-01T00:00:00Z", "", "")


@dataclass(frozen=True)
class Start:
    """A process of the proof to start.

    Attributes:
        limits: environment variables that emulate another CPU.
        against: the folder of baselines that it judges by; None where it judges nothing.
        record: the folder into which it records baselines; None for none.
        fault: injected into its only case; "" for none.
        speed_ups: the batch size at which it measures them instead; 0 for none.
    """

    cases: tuple[Case, ...]
    threads: int
    limits: tuple[str, ...] = ()
    against: Path | None = None
    record: Path | None = None
    fault: str = ""
    speed_ups: int = 0

    def content(self, options: Options) -> dict[str, Any]:
        """As JSON, for `started` in any process."""
        options = replace(options, threads=self.threads, download=False)
        return {
            "cases": list(map(astuple, self.cases)),
            "options": options.plain(),
            "threads": self.threads,
            "limits": list(self.limits),
            "against": str(self.against or ""),
            "record": str(self.record or ""),
            "fault": self.fault,
            "speed_ups": self.speed_ups,
        }


@dataclass(frozen=True)
class Launcher:
    """Starts the processes; all are given the same options.

    Attributes:
        executor: where they are started; None for this machine, one after the other.
        environment: the kind of machines of the executor's that they run on: bits are compared.
    """

    options: Options
    executor: Executor | None = None
    environment: str = ""

    def record(self, cases: Sequence[Case], folder: Path, *, limits: Sequence[str] = ()) -> None:
        """Record clean baselines into a folder.

        Raises:
            QregError: a case could not be observed.
        """
        self.record_all([Start(tuple(cases), self.options.threads, tuple(limits), record=folder)])

    def record_all(self, starts: Sequence[Start]) -> None:
        """The same of several folders and environments.

        Raises: as `record`.
        """
        for start, found in zip(starts, self._all(starts), strict=True):
            for case, one in zip(start.cases, _checked(found)["observed"], strict=True):
                if one and one["reason"]:
                    raise QregError(
                        f"{case} cannot be built: {one['reason']}",
                        hint="choose cases that `qreg compare` can measure",
                    )

    def promise(self, cases: Sequence[Case], folder: Path, *, processes: int) -> dict[Case, str]:
        """Record speed-up promises of clean cases, next to their baselines.

        Nothing is promised where every case is slower than fp32 in each of the first processes:
        the remaining ones are then not started.

        Returns:
            dict: of each case, why its promise makes no float fallback detectable; "" if it does.
        """
        batch = min(SPEED_UP_BATCHES)
        start = Start(tuple(cases), self.options.threads, speed_ups=batch)
        found = [_checked(one) for one in self._all([start] * min(_FIRST, processes))]
        if all(log <= 0 for one in found for log in one["log_speed_ups"]):
            return dict.fromkeys(cases, _SLOWER)
        found += [_checked(one) for one in self._all([start] * (processes - len(found)))]
        environment = read_environment(found[0]["environment"])
        reasons = {}
        for number, case in enumerate(cases):
            logs = tuple(one["log_speed_ups"][number] for one in found)
            promise = Promise(case, environment, batch, logs, (_APPROVED,))
            Store(folder).write_promise(promise)
            noisy = _NOISY if fmean(logs) > 0 else _SLOWER
            reasons[case] = "" if is_detectable(promise) else noisy
        return reasons

    def faulty(
        self, case: Case, fault: str, against: Path, *, limits: Sequence[str] = ()
    ) -> ObservedCase:
        """Inject a fault into a case; killing the process is an ERROR, like an exception.

        Raises:
            QregError: the process failed for another reason than the fault.
        """
        threads = self.options.threads
        start = Start((case,), threads, tuple(limits), against=against, fault=fault)
        return next(iter(self.faulty_all([start])))

    def faulty_all(self, starts: Sequence[Start], *, jobs: int = 1) -> Iterator[ObservedCase]:
        """The same of many, in order.

        Args:
            jobs: how many at a time on this machine; 1 where they measure times.

        Raises: as `faulty`.
        """
        ended = self._faults_sent(starts) if self.executor else self._faults_here(starts, jobs)
        for start, found in zip(starts, ended, strict=True):
            try:
                yield _observed(_checked(found)["observed"][0])
            except KilledError as error:
                died = TierVerdict(Outcome.ERROR)
                yield ObservedCase(start.cases[0], died, died, died, reason=str(error))

    def clean(
        self,
        cases: Sequence[Case],
        against: Path,
        *,
        limits: Sequence[str] = (),
        threads: int = 0,
        record: Path | None = None,
    ) -> tuple[ObservedCase, ...]:
        """Judge clean cases in one process by the baselines in a folder; optionally record them."""
        start = Start(
            tuple(cases),
            threads or self.options.threads,
            tuple(limits),
            against=against,
            record=record,
        )
        return next(iter(self.clean_all([start])))

    def clean_all(self, starts: Sequence[Start]) -> Iterator[tuple[ObservedCase, ...]]:
        """The same of many, in order."""
        for found in self._all(starts):
            yield tuple(map(_observed, _checked(found)["observed"]))

    def _faults_here(self, starts: Sequence[Start], jobs: int) -> Iterator[dict[str, Any]]:
        """What each found, in order: those that agree in threads and limits import PyTorch once."""
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for number, start in enumerate(starts):
            groups.setdefault((start.threads, start.limits), []).append(number)
        found: dict[int, dict[str, Any]] = {}
        for group in groups.values():
            contents = [starts[number].content(self.options) for number in group]
            ended = in_forks(contents, jobs=jobs) if len(group) > 1 else map(_launched, contents)
            self._tell(starts[group[0]], len(found), len(starts))
            for number, one in zip(group, ended, strict=True):
                if not one.get("killed"):
                    _checked(one)
                found[number] = one
                self._tell(starts[number], len(found), len(starts))
        yield from (found[number] for number in range(len(starts)))

    def _faults_sent(self, starts: Sequence[Start]) -> Iterator[dict[str, Any]]:
        running = self._all(starts)
        for number, start in enumerate(starts):
            self._tell(start, number, len(starts))
            yield next(running)

    def _tell(self, start: Start, done: int, total: int) -> None:
        case = start.cases[0]
        self.options.progress(done, total, f"{start.fault} in {case.method}@{case.engine}")

    def _all(self, starts: Sequence[Start]) -> Iterator[dict[str, Any]]:
        """What each process found, in order."""
        if self.executor is None:
            yield from (_launched(start.content(self.options)) for start in starts)
            return
        settings = project_settings()
        cases = (case for start in starts for case in start.cases)
        options = case_options(settings, self.options, cases)
        root = str(settings.root.resolve())
        pieces = [
            Piece(
                name=f"{next(_numbers)} {start.fault or 'clean'} {start.cases[0]}",
                task=f"{__name__}:launched_text",
                content=json.dumps({**start.content(options), "root": root}),
                seconds=_TIMEOUT_S,
                folders=(start.against,) if start.against else (),
                timed=bool(start.speed_ups),
                environment=self.environment,
            )
            for start in starts
        ]
        found: dict[str, dict[str, Any]] = {}
        running = run(self.executor, pieces)
        for piece, start in zip(pieces, starts, strict=True):
            while piece.name not in found:
                done, result = next(running)
                found[done.name] = result
            yield _unpacked(found.pop(piece.name), start.record)


_numbers = itertools.count()


def launched(content: dict[str, Any], places: Places) -> dict[str, Any]:
    """Start a process of the proof, and what it found, with the baselines that it recorded."""
    job = _job(content)
    sent = bool(places.moved)
    with ExitStack() as stack:
        if sent:
            job["moved"] = list(map(list, places.moved))
            job["options"] = options_at(content["options"], places).plain()
            job["against"] = str(places.path(content["against"])) if content["against"] else ""
            if content["record"]:
                job["record"] = str(stack.enter_context(temporary_folder("record")))
        try:
            with open_side(HERE, Path.cwd()) as side:
                found = run_script(
                    side,
                    _CHILD,
                    job,
                    threads=content["threads"],
                    timeout=_TIMEOUT_S,
                    variables=_variables(content["limits"]),
                )
        except LostError as error:
            return _lost(error)
        if sent and content["record"]:
            found["recorded"] = _packed(Path(job["record"]))
        return found


def _launched(content: dict[str, Any]) -> dict[str, Any]:
    return launched(content, HERE_PLACES)


def _job(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in content.items() if one and name not in ("threads", "limits")}


def _lost(error: LostError) -> dict[str, Any]:
    return {"lost": str(error), "killed": error.killed, "details": error.details}


def in_forks(contents: Sequence[dict[str, Any]], *, jobs: int) -> Iterator[dict[str, Any]]:
    """What processes of the same threads and limits found, each a fork of one fresh process.

    That process has imported PyTorch and done nothing else, so that what a fault does to its fork
    reaches no other one.

    Args:
        contents: of `Start`s that record nothing.
        jobs: how many forks run at a time.
    """
    threads, limits = contents[0]["threads"], contents[0]["limits"]
    with temporary_folder("faults") as folder, open_side(HERE, Path.cwd()) as side:
        files = [folder / f"{number}.json" for number in range(len(contents))]
        pieces = [[str(file), _job(one)] for file, one in zip(files, contents, strict=True)]
        job = {"pieces": pieces, "jobs": jobs, "seconds": _TIMEOUT_S}
        try:
            with started(side, _CHILD, job, threads=threads, variables=_variables(limits)) as forks:
                yield from (_fork_found(forks, file, len(files)) for file in files)
        except LostError as error:  # the process that forks: no fault was injected into it
            raise QregError(f"a process of the proof {error}", details=error.details) from error


def _fork_found(forks: Running, file: Path, pieces: int) -> dict[str, Any]:
    """What a fork wrote, once it has."""
    while not file.exists():
        if forks.done and not file.exists():
            forks.result(timeout=pieces * _TIMEOUT_S)
            raise LostError("ended before all was done", stage="observing")
        time.sleep(_POLL_S)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    ended = found.get("died", found.get("raised"))
    if ended is None:
        return found
    killed = "died" in found and ended.startswith(BY_A_SIGNAL)
    return {"lost": ended, "killed": killed, "details": found["details"]}


def launched_text(content: dict[str, Any], places: Places) -> dict[str, Any]:
    """The same for a piece, whose results have no infinite numbers, and noise may be infinite."""
    return {"text": json.dumps(launched(content, places))}


def _packed(folder: Path) -> dict[str, str]:
    """The files of a folder, for JSON."""
    return {
        path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def _unpacked(result: dict[str, Any], record: Path | None) -> dict[str, Any]:
    """What was found elsewhere; its recorded baselines are written here.

    A piece that ended otherwise is no catch of a fault, which is in a process of its own.
    """
    for how in ("died", "raised"):
        if how in result:
            return {"lost": result[how], "killed": False, "details": result.get("details", "")}
    result = json.loads(result["text"])
    for name, text in result.pop("recorded", {}).items():
        assert record is not None
        path = (record / name).resolve()
        if record.resolve() not in path.parents:
            raise QregError(f"{name} leads out of {record}")
        write_atomically(path, base64.b64decode(text))
    return result


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if "lost" in result:
        ended = KilledError if result["killed"] else QregError
        raise ended(f"a process of the proof {result['lost']}", details=result["details"])
    return result


class KilledError(QregError):
    """A process of the proof was killed by a signal, for example by an illegal instruction."""


def _variables(limits: Sequence[str]) -> dict[str, str | None]:
    """Those that keep kernels off instructions: the ones asked for, and no others."""
    return {**dict.fromkeys(LIMITS), **dict(limit.split("=", 1) for limit in limits)}


def _observed(content: dict[str, Any]) -> ObservedCase:
    """What the child wrote: strictly, but for infinite noise, which JSON has no word for."""
    noise = content.get("noise")
    found: ObservedCase = decoder(ObservedCase)({**content, "noise": None})
    return replace(found, noise=EnvironmentNoise(**noise) if noise else None)
