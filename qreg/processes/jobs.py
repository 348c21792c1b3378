"""Jobs for child processes, and how children are started."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from qreg.measure.options import Options
from qreg.processes import child
from qreg.processes.sides import Side
from qreg.records.case import Case, Environment
from qreg.records.decode import MismatchError, decoder, shown

#: The default script of a child.
CHILD = Path(child.__file__).resolve()
# Like `python child.py`, but without putting the script's folder first on sys.path.
_START = (
    "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
)


@dataclass(frozen=True)
class Job:
    """A job for a child process.

    Attributes:
        calls: timed calls per round, for each case.
        warm_up: untimed calls before each round.
        options: how to measure; the side's own settings say the rest.
        extra: for each case, a number N of extra layers and k: they run on every k-th call.
        serial: indices of the cases that run on a single thread, however many the process has.
        keep: number of call times to return for each case.
        processor: the processor to pin to after setting up, None for any.
        count: count instructions instead of timing; the child runs under callgrind.
    """

    cases: tuple[Case, ...]
    calls: tuple[int, ...]
    rounds: int
    warm_up: int
    options: Options
    extra: tuple[tuple[int, int], ...] = ()
    serial: tuple[int, ...] = ()
    keep: int = 0
    processor: int | None = None
    count: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """The job as JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        cases = list(map(astuple, self.cases))
        return {**plain, "cases": cases, "options": self.options.plain()}


class LostError(Exception):
    """A child process returned no result; the text says how it ended and at which stage."""

    def __init__(self, text: str, *, stage: str, details: str = "", killed: bool = False) -> None:
        super().__init__(text)
        self.stage, self.details, self.killed = stage, details, killed


def read_environment(content: object) -> Environment:
    """The environment that a side's process wrote; another revision may say more of it, or less.

    Raises:
        MismatchError: it is none.
    """
    if not isinstance(content, dict):
        raise MismatchError("an environment", shown(content))
    less: dict[str, Any] = {"vnni": False, "threads": 0, "limits": []}
    names = [one.name for one in fields(Environment)]
    known = {name: content.get(name, less.get(name, "")) for name in names}
    environment: Environment = decoder(Environment)(known)
    return environment


@dataclass(frozen=True)
class _Percentiles:
    """Seconds per call of a case, as a child writes them."""

    p5: float
    p50: float
    p95: float
    calls: int

    def __post_init__(self) -> None:
        if not 0 < self.p5 <= self.p50 <= self.p95 or not self.calls:
            raise ValueError(f"times contradict each other: {self}")


_SECONDS = decoder(tuple[_Percentiles, ...])
_KEPT = decoder(tuple[tuple[float, ...], ...])


def check_times(result: Mapping[str, Any], cases: int) -> None:
    """Check what a timing child wrote: an interpreter that the user names may write anything.

    Raises:
        LostError: it is not what this number of cases gives.
    """
    try:
        read_environment(result.get("environment"))
        counts = len(_SECONDS(result.get("seconds"))), len(_KEPT(result.get("kept")))
        if counts != (cases, cases):
            raise MismatchError(f"times of {cases} cases", f"{counts}")
    except MismatchError as error:
        raise LostError(f"wrote a result that cannot be read: {error}", stage="reading") from error


def command(side: Side, *arguments: str, script: Path = CHILD) -> list[str]:
    """The command line that runs a script on a side."""
    return [side.python, "-c", _START, str(script.resolve()), *arguments]


def environment(
    side: Side, threads: int, variables: Mapping[str, str | None] | None = None
) -> dict[str, str]:
    """The environment variables of a side's processes.

    Args:
        threads: of kernels; 0 as they choose.
        variables: further ones, or None for those to leave out.
    """
    paths: Sequence[str] = [*map(str, side.paths), os.environ.get("PYTHONPATH", "")]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if threads else ()
    pinned = dict.fromkeys(names, str(threads))
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONEXECUTABLE")}
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONWARNINGS": "ignore"}
    if side.python != sys.executable:
        kept.pop("VIRTUAL_ENV", None)
    all_of_them = {**kept, **pinned, **own, **(variables or {})}
    return {name: value for name, value in all_of_them.items() if value is not None}
