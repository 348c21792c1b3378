"""Instructions per call, counted by callgrind: a second signal, never the verdict."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD, Options
from qreg.processes.jobs import Job, LostError
from qreg.processes.running import run_child
from qreg.processes.sides import Side, open_side
from qreg.processes.temporary import temporary_folder
from qreg.records.case import Case
from qreg.speed.records import Counted

#: Bursts of each case: the first finds memory that was never asked for, the median leaves it out.
_BURSTS, _WARM_UP = 3, 3
_TOTALS = re.compile(rb"^totals: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class CountRequest:
    """What to count, and how.

    Attributes:
        calls: per case and burst.
        options: how to measure; callgrind counts one thread.
        timeout: seconds that one process may take; importing PyTorch takes most of them.
    """

    cases: tuple[Case, ...]
    options: Options = ONE_THREAD
    calls: int = 10
    timeout: float = 900.0


def count_instructions(
    request: CountRequest, sides: Sequence[str], project: Path
) -> tuple[Counted, ...]:
    """Count instructions on one side, or on a baseline and a candidate.

    Raises:
        QregError: valgrind is not installed, or a side does not exist or cannot run the cases.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise QregError(
            "valgrind is not installed",
            hint="on Linux: apt-get install valgrind (or dnf, or apk)",
        )
    counts = []
    for number, given in enumerate(sides):
        request.options.progress(number, len(sides), f"counting {given} (takes minutes)")
        with open_side(given, project) as side:
            counts.append(_counted(request, side, valgrind))
    before = counts[0] if len(counts) > 1 else ((),) * len(request.cases)
    return tuple(map(Counted, request.cases, before, counts[-1]))


def _counted(request: CountRequest, side: Side, valgrind: str) -> tuple[tuple[float, ...], ...]:
    """For each case, the instructions per call in each burst."""
    with temporary_folder("callgrind") as folder:
        try:
            run_child(
                side,
                _job(request),
                timeout=request.timeout,
                under=_callgrind(valgrind, Path(folder)),
            )
        except LostError as error:
            hint = "if it ran out of time, raise --timeout: valgrind is about 50 times slower"
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
        # callgrind is toggled from one thread and counts that thread only
        options=replace(request.options, threads=1),
        count=True,
    )


def _callgrind(valgrind: str, folder: Path) -> tuple[str, ...]:
    # string hashing is randomized per process unless PYTHONHASHSEED is fixed
    fixed = ("env", "PYTHONHASHSEED=0", valgrind, "--quiet", "--tool=callgrind")
    return (*fixed, "--collect-atstart=no", f"--callgrind-out-file={folder / 'out'}")


def _dumps(folder: Path) -> list[Path]:
    """The counts dumped during the run, in order: out.1, out.2, ..."""
    return sorted(folder.glob("out.*"), key=lambda path: int(path.suffix[1:]))


def parse_totals(content: bytes) -> int:
    """The instruction count in one callgrind file.

    Raises:
        QregError: it has no total, or several.
    """
    totals = _TOTALS.findall(content)
    if len(totals) != 1:
        start = os.fsdecode(content[:60])
        raise QregError(f"callgrind wrote {len(totals)} totals where one was expected: {start!r}")
    return int(totals[0])
