"""Instructions a call, counted by callgrind: a second signal beside time, and never the verdict."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import Job, LostError
from qreg.processes.running import run_child
from qreg.processes.sides import Side, open_side
from qreg.records.case import Case
from qreg.speed.records import Counted

#: Bursts of each case: the first finds memory that was never asked for, the median leaves it out.
_BURSTS, _WARM_UP = 3, 3
_TOTALS = re.compile(rb"^totals: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class CountRequest:
    """What is to be counted.

    Attributes:
        calls: of each case, in each burst.
        options: how to measure; callgrind counts one thread.
        timeout: seconds that one process may take; most of them go into importing PyTorch.
    """

    cases: tuple[Case, ...]
    options: Options = ONE_THREAD
    calls: int = 10
    timeout: float = 900.0


def count_instructions(
    request: CountRequest, sides: Sequence[str], project: Path
) -> tuple[Counted, ...]:
    """Count the cases on one side, or on the baseline's and the candidate's.

    Raises:
        QregError: there is no valgrind, or a side does not exist or cannot run the cases.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise QregError(
            "valgrind is not installed",
            hint="install it where it exists (Linux): apt-get install valgrind, or dnf or apk",
        )
    found = []
    for number, given in enumerate(sides):
        request.options.progress(number, len(sides), f"counting {given}, minutes")
        with open_side(given, project) as side:
            found.append(_counted(request, side, valgrind))
    before = found[0] if len(found) > 1 else ((),) * len(request.cases)
    return tuple(map(Counted, request.cases, before, found[-1]))


def _counted(request: CountRequest, side: Side, valgrind: str) -> tuple[tuple[float, ...], ...]:
    """Of each case, the instructions a call in each burst."""
    with tempfile.TemporaryDirectory(prefix="qreg-callgrind-") as folder:
        try:
            run_child(
                side,
                _job(request),
                timeout=request.timeout,
                under=_callgrind(valgrind, Path(folder)),
            )
        except LostError as error:
            hint = "a longer --timeout, if it was too short; valgrind runs some 50 times slower"
            raise QregError(f"{side}: {error}", hint=hint) from error
        totals = [parse_totals(path.read_bytes()) for path in _dumps(Path(folder))]
    cases = len(request.cases)
    if len(totals) != _BURSTS * cases:
        raise QregError(f"{side}: callgrind wrote {len(totals)} counts of {_BURSTS * cases}")
    return tuple(tuple(one / request.calls for one in totals[n::cases]) for n in range(cases))


def _job(request: CountRequest) -> Job:
    return Job(
        cases=request.cases,
        calls=(request.calls,) * len(request.cases),
        rounds=_BURSTS,
        warm_up=_WARM_UP,
        # callgrind is told by one thread, and counts that one
        options=replace(request.options, threads=1),
        count=True,
    )


def _callgrind(valgrind: str, folder: Path) -> tuple[str, ...]:
    # dictionaries of text take another course in every process, unless they are told not to
    fixed = ("env", "PYTHONHASHSEED=0", valgrind, "--quiet", "--tool=callgrind")
    return (*fixed, "--collect-atstart=no", f"--callgrind-out-file={folder / 'out'}")


def _dumps(folder: Path) -> list[Path]:
    """What was written in the middle of the run, in its order: out.1, out.2, ..."""
    return sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))


def parse_totals(content: bytes) -> int:
    """The instructions in one file of callgrind.

    Raises:
        QregError: it has no total, or several.
    """
    found = _TOTALS.findall(content)
    if len(found) != 1:
        said = os.fsdecode(content[:60])
        raise QregError(f"callgrind wrote {len(found)} totals where one was expected: {said!r}")
    return int(found[0])
