"""Starting the fresh processes of the proof, and reading their output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from qreg.baselines.store import Store
from qreg.checks.speed_up import is_detectable
from qreg.errors import QregError
from qreg.faults import child
from qreg.faults.noise import EnvironmentNoise
from qreg.faults.results import ObservedCase, TierVerdict
from qreg.measure.environment import LIMITS
from qreg.measure.options import Options
from qreg.metrics.speed_up import SPEED_UP_BATCHES
from qreg.processes.jobs import LostError, read_environment
from qreg.processes.running import run_script
from qreg.processes.sides import HERE, open_side
from qreg.records.baseline import Approval, Promise
from qreg.records.case import Case
from qreg.records.decode import decoder
from qreg.records.verdict import Outcome

_CHILD = Path(child.__file__).resolve()
# All cases of a model in one process, on a busy machine.
_TIMEOUT_S = 3600
_APPROVED = Approval("clean runs", "2000-01-01T00:00:00Z", "", "")


@dataclass(frozen=True)
class Launcher:
    """Starts the processes; all are given the same options."""

    options: Options

    def record(self, cases: Sequence[Case], folder: Path, *, limits: Sequence[str] = ()) -> None:
        """Record clean baselines into a folder.

        Raises:
            QregError: a case could not be observed.
        """
        found = self._run(cases, limits, self.options.threads, record=str(folder))
        for case, one in zip(cases, found["observed"], strict=True):
            if one and one["reason"]:
                raise QregError(
                    f"{case} cannot be built: {one['reason']}",
                    hint="choose cases that `qreg compare` can measure",
                )

    def promise(self, cases: Sequence[Case], folder: Path, *, processes: int) -> set[Case]:
        """Record speed-up promises of clean cases, next to their baselines.

        Returns:
            set: the cases whose promise makes a float fallback detectable.
        """
        batch = min(SPEED_UP_BATCHES)
        found = [
            self._run(cases, (), self.options.threads, speed_ups=batch) for _ in range(processes)
        ]
        environment = read_environment(found[0]["environment"])
        detectable = set()
        for number, case in enumerate(cases):
            logs = tuple(one["log_speed_ups"][number] for one in found)
            promise = Promise(case, environment, batch, logs, (_APPROVED,))
            Store(folder).write_promise(promise)
            detectable |= {case} if is_detectable(promise) else set()
        return detectable

    def faulty(
        self, case: Case, fault: str, against: Path, *, limits: Sequence[str] = ()
    ) -> ObservedCase:
        """Inject a fault into a case; killing the process is an ERROR, like an exception.

        Raises:
            QregError: the process failed for another reason than the fault.
        """
        threads, home = self.options.threads, str(against)
        try:
            found = self._run([case], limits, threads, fault=fault, against=home)
            return _observed(found["observed"][0])
        except KilledError as error:
            died = TierVerdict(Outcome.ERROR)
            return ObservedCase(case, died, died, died, reason=str(error))

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
        more = {"against": str(against), "record": str(record) if record else ""}
        found = self._run(cases, limits, threads or self.options.threads, **more)
        return tuple(map(_observed, found["observed"]))

    def _run(
        self, cases: Sequence[Case], limits: Sequence[str], threads: int, **more: object
    ) -> dict[str, Any]:
        options = replace(self.options, threads=threads, download=False)
        job = {"cases": list(map(astuple, cases)), "options": options.plain(), **more}
        try:
            with open_side(HERE, Path.cwd()) as side:
                return run_script(
                    side,
                    _CHILD,
                    job,
                    threads=threads,
                    timeout=_TIMEOUT_S,
                    variables=_variables(limits),
                )
        except LostError as error:
            ended = KilledError if error.killed else QregError
            raise ended(f"a process of the proof {error}", details=error.details) from error


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
