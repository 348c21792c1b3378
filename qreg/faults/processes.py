"""Starting the fresh processes of the proof, and reading their output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qreg.baselines.store import Store
from qreg.checks.speed_up import is_detectable
from qreg.errors import QregError
from qreg.faults.noise import EnvironmentNoise
from qreg.faults.results import TIERS, Judged, Observed
from qreg.measure.environment import LIMITS
from qreg.measure.options import Options
from qreg.metrics.speed_up import SPEED_UP_BATCHES
from qreg.processes.jobs import read_environment
from qreg.records.baseline import Approval, Promise
from qreg.records.case import Case
from qreg.records.verdict import Outcome

_LINES = 12
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
        found = self._run(cases, ["--record", str(folder)], limits, self.options.threads)
        for one in found:
            if one.get("reason"):
                raise QregError(
                    f"{Case(**one['case'])} cannot be built: {one['reason']}",
                    hint="choose cases that `qreg compare` can measure",
                )

    def promise(self, cases: Sequence[Case], folder: Path, *, processes: int) -> set[Case]:
        """Record speed-up promises of clean cases, next to their baselines.

        Returns:
            set: the cases whose promise makes a float fallback detectable.
        """
        batch = min(SPEED_UP_BATCHES)
        found = [
            self._run(cases, ["--speed-ups", str(batch)], (), self.options.threads)
            for _ in range(processes)
        ]
        environment = read_environment(found[0][0]["environment"])
        detectable = set()
        for number, case in enumerate(cases):
            logs = tuple(one[number]["log_speed_up"] for one in found)
            promise = Promise(case, environment, batch, logs, (_APPROVED,))
            Store(folder).write_promise(promise)
            detectable |= {case} if is_detectable(promise) else set()
        return detectable

    def faulty(
        self, case: Case, fault: str, against: Path, *, limits: Sequence[str] = ()
    ) -> Observed:
        """Inject a fault into a case; killing the process is an ERROR, like an exception.

        Raises:
            QregError: the process failed for another reason than the fault.
        """
        more = ["--fault", fault, "--against", str(against)]
        try:
            return _observed(self._run([case], more, limits, self.options.threads)[0])
        except KilledError as error:
            died = Judged(Outcome.ERROR)
            return Observed(case, died, died, died, reason=str(error))

    def clean(
        self,
        cases: Sequence[Case],
        against: Path,
        *,
        limits: Sequence[str] = (),
        threads: int = 0,
        record: Path | None = None,
    ) -> tuple[Observed, ...]:
        """Judge clean cases in one process by the baselines in a folder; optionally record them."""
        more = ["--against", str(against), *(["--record", str(record)] if record else [])]
        found = self._run(cases, more, limits, threads or self.options.threads)
        return tuple(_observed(one) for one in found)

    def _run(
        self, cases: Iterable[Case], more: Sequence[str], limits: Sequence[str], threads: int
    ) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "qreg.faults.child", *more]
        for case in cases:
            command += ["--case", case.dataset, case.model, case.method, case.engine]
        options = replace(self.options, threads=threads, download=False)
        command += ["--options", json.dumps(options.plain())]
        done = subprocess.run(command, env=_environment(limits), capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-_LINES:]
            ended = KilledError if done.returncode < 0 else QregError
            raise ended(f"process ended with {done.returncode}: " + " | ".join(last))
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


class KilledError(QregError):
    """A process of the proof was killed by a signal, for example by an illegal instruction."""


def _environment(limits: Sequence[str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LIMITS}
    return kept | dict(limit.split("=", 1) for limit in limits)


def _observed(plain: dict[str, Any]) -> Observed:
    tiers = {
        tier: Judged(Outcome(plain[tier]["outcome"]), tuple(plain[tier]["checks"]))
        for tier in TIERS
    }
    noise = EnvironmentNoise(**plain["noise"]) if plain["noise"] else None
    case = Case(**plain["case"])
    return Observed(**{**plain, **tiers, "case": case, "noise": noise})
