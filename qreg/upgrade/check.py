"""From two interpreters to the report of what an upgrade would change."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from qreg.artifacts.names import ONNXRUNTIME
from qreg.processes.jobs import read_environment
from qreg.processes.sides import Side, open_side
from qreg.processes.temporary import temporary_folder
from qreg.speed.records import SideRecord, SpeedRun
from qreg.upgrade.compare.pair import CasePair
from qreg.upgrade.judging import (
    judge_pairs,
    read_pairs,
    unexplained_cases,
    warning_answers,
    with_inspections,
)
from qreg.upgrade.parts import ReportPart, report_of
from qreg.upgrade.reading import read_answers
from qreg.upgrade.records import AnswerKind, UpgradeReport
from qreg.upgrade.releases import is_version, overlay_packages
from qreg.upgrade.running import (
    SIDE_OPTIONS,
    RunningSides,
    SideProcess,
    UpgradeRequest,
    started_side,
)
from qreg.upgrade.venvs import add_packages, overlay_python, venv_python

_ONNX = ("onnx", "onnxruntime")
# Two pairs that have a side in common; a process of each takes some 0.5 GB.
_MOST = 3


def check_upgrade(request: UpgradeRequest, kept: KeptSides | None = None) -> UpgradeReport:
    """Compare two PyTorch versions.

    Args:
        kept: sides that wait, for this comparison and others.

    Raises:
        QregError: a side does not exist, cannot be installed, or cannot import PyTorch.
    """
    with ExitStack() as stack:
        sides = (kept or stack.enter_context(KeptSides())).pair(request)
        start = time.monotonic()
        part = sides.compare(request)
        return report_of([part], request.cases, time.monotonic() - start)


class KeptSides:
    """Sides whose processes wait for cases of one comparison after the other.

    A version of a matrix is in two comparisons, and starting a process of it takes longer than
    most cases.
    """

    def __init__(self) -> None:
        self._sides: dict[str, tuple[ExitStack, Side]] = {}
        self._processes: dict[str, SideProcess] = {}

    def __enter__(self) -> KeptSides:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pair(self, request: UpgradeRequest) -> OpenedSides:
        """The sides of a request; those that were not named for the longest time are ended.

        Raises:
            QregError: as `check_upgrade`.
        """
        keys, names = _keys(request), (request.baseline, request.candidate)
        known = [key for key in self._sides if key not in keys]
        self.close(known[: max(0, len(known) + len(set(keys)) - _MOST)])
        for key, name in zip(keys, names, strict=True):
            if key not in self._sides:
                side, stack = _side(name, request), ExitStack()
                self._sides[key] = stack, stack.enter_context(side)
            else:
                self._sides[key] = self._sides.pop(key)  # the last that was named
        # both exist by now, and both start at the same time
        for key, option in zip(keys, SIDE_OPTIONS, strict=True):
            if key not in self._processes:
                stack, opened = self._sides[key]
                process = started_side(option, request, opened)
                self._processes[key] = stack.enter_context(process)
        return OpenedSides(RunningSides(tuple(self._processes[key] for key in keys)))

    def close(self, keys: Sequence[str] | None = None) -> None:
        """End those of some sides, or all."""
        for key in list(self._sides) if keys is None else keys:
            self._processes.pop(key, None)
            self._sides.pop(key)[0].close()


def _keys(request: UpgradeRequest) -> tuple[str, str]:
    """What processes of both sides are for; two of the same interpreter are two."""
    shared = (str(request.project), request.options.plain(), request.timeout)
    same = request.baseline == request.candidate
    first, second = (
        json.dumps([name, again, onnx_packages(request), *shared])
        for name, again in ((request.baseline, False), (request.candidate, same))
    )
    return first, second


@dataclass(frozen=True)
class OpenedSides:
    """Two sides whose processes wait for cases."""

    running: RunningSides

    def compare(self, request: UpgradeRequest) -> ReportPart:
        """Compare the cases of a request between these sides.

        Raises:
            QregError: a side's process ends, or writes what cannot be read.
        """
        with temporary_folder("upgrade") as folder:
            return self._compared(request, tuple(folder / letter for letter in "AB"))

    def _compared(self, request: UpgradeRequest, folders: tuple[Path, ...]) -> ReportPart:
        running = self.running
        cases = [{"number": n, "names": astuple(one)} for n, one in enumerate(request.cases)]
        running.run("make", cases, folders, request)
        environments = running.environments(folders)
        if cases:
            running.run("cross", cases, folders, request)
        pairs = read_pairs(request.cases, _labels(request, environments), folders)
        if unknown := unexplained_cases(pairs, cases):
            running.run("look", unknown, folders, request)
            pairs = with_inspections(pairs, folders)
        first, second = sides = [one.side for one in running.processes]
        speed = request.speed(first.python, second.python) if request.speed else None
        records = tuple(map(_record, sides, environments))
        return _part((records[0], records[1]), folders, pairs, speed, request.family)


def _side(name: str, request: UpgradeRequest) -> AbstractContextManager[Side]:
    return open_side(_interpreter(name, request), request.project, revisions=False)


def _interpreter(name: str, request: UpgradeRequest) -> str:
    show = request.options.progress
    if is_version(name) and (packages := onnx_packages(request)):
        add_packages(name, packages, show=show)
    if packages := overlay_packages(name):
        return str(overlay_python(packages, show=show))
    return str(venv_python(name, show=show)) if is_version(name) else name


def onnx_packages(request: UpgradeRequest) -> tuple[str, ...]:
    """onnx and onnxruntime as they are here, where a case needs them: only PyTorch shall differ."""
    if not any(one.engine == ONNXRUNTIME or ".onnx" in one.model for one in request.cases):
        return ()
    try:
        return tuple(f"{name}=={importlib.metadata.version(name)}" for name in _ONNX)
    except importlib.metadata.PackageNotFoundError:
        return ()  # their cases are reported as unavailable


def _labels(request: UpgradeRequest, environments: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Both versions, or letters where they are equal."""
    first, second = (found["torch"].partition("+")[0] for found in environments)
    if first != second:
        return first, second
    given = request.baseline, request.candidate
    if any(map(overlay_packages, given)):
        return given[0].replace("==", " "), given[1].replace("==", " ")
    return "A", "B"


def _record(side: Side, content: dict[str, Any]) -> SideRecord:
    return SideRecord(side.name, side.python, side.commit, read_environment(content))


def _part(
    records: tuple[SideRecord, SideRecord],
    folders: Sequence[Path],
    pairs: Sequence[CasePair],
    speed: SpeedRun | None,
    family: int,
) -> ReportPart:
    probes, odd, properties = (
        (read_answers(folders[0], kind), read_answers(folders[1], kind)) for kind in AnswerKind
    )
    return ReportPart(
        baseline=records[0],
        candidate=records[1],
        cases=judge_pairs(pairs, family),
        probes=probes,
        warned=(tuple(warning_answers(pairs, 0)), tuple(warning_answers(pairs, 1))),
        odd=odd,
        properties=properties,
        speed=speed,
    )
