"""What a child is asked to do, and how it is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from qreg.measure.options import Options
from qreg.processes import child
from qreg.processes.sides import Side
from qreg.records.case import Case

#: What a child runs, unless another script is named.
CHILD = Path(child.__file__).resolve()
# As `python child.py` would, but without putting the folder of this file before all others.
_START = (
    "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
)


@dataclass(frozen=True)
class Job:
    """What a child is asked to do.

    Attributes:
        calls: in each round, of each case.
        warm_up: calls before them that are not timed.
        options: how to measure; the side's own settings say the rest.
        extra: how many layers more, and in every how manyth call, of each case.
        serial: places of the cases that run on one thread, whatever the process has.
        keep: of each case's calls so many are returned.
        processor: the one it runs on once everything is made, None for any.
        count: not timed: callgrind counts them, under which the child runs.
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
        """As the child reads it."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        cases = list(map(astuple, self.cases))
        return {**plain, "cases": cases, "options": self.options.plain()}


class LostError(Exception):
    """A child that gave no result; the text says how it ended, and at what."""

    def __init__(self, text: str, *, stage: str, details: str = "") -> None:
        super().__init__(text)
        self.stage, self.details = stage, details


def command(side: Side, *arguments: str, script: Path = CHILD) -> list[str]:
    """How a script is started on a side."""
    return [side.python, "-c", _START, str(script.resolve()), *arguments]


def environment(side: Side, threads: int) -> dict[str, str]:
    """The environment variables of a side's processes."""
    paths: Sequence[str] = [*map(str, side.paths), os.environ.get("PYTHONPATH", "")]
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONEXECUTABLE")}
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONWARNINGS": "ignore"}
    if side.python != sys.executable:
        kept.pop("VIRTUAL_ENV", None)
    return {**kept, **pinned, **own}
