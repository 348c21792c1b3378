"""From two interpreters to the report of what an upgrade would change."""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
from qreg.upgrade.running import RunningSides, UpgradeRequest, started_sides
from qreg.upgrade.venvs import add_packages, overlay_python, venv_python

_ONNX = ("onnx", "onnxruntime")


def check_upgrade(request: UpgradeRequest) -> UpgradeReport:
    """Compare two PyTorch versions.

    Raises:
        QregError: a side does not exist, cannot be installed, or cannot import PyTorch.
    """
    with opened_sides(request) as sides:
        start = time.monotonic()
        part = sides.compare(request)
        return report_of([part], request.cases, time.monotonic() - start)


@contextlib.contextmanager
def opened_sides(request: UpgradeRequest) -> Iterator[OpenedSides]:
    """The two sides of a request, whose processes can compare these cases and further ones.

    Raises:
        QregError: as `check_upgrade`.
    """
    with (
        _sides(request) as sides,
        temporary_folder("upgrade") as folder,
        started_sides(request, sides, folder) as running,
    ):
        yield OpenedSides(sides, running, folder)


@dataclass(frozen=True)
class OpenedSides:
    """Two sides whose processes wait for cases, and a folder for their files."""

    sides: tuple[Side, Side]
    running: RunningSides
    folder: Path

    def compare(self, request: UpgradeRequest) -> ReportPart:
        """Compare the cases of a request between these sides.

        Raises:
            QregError: a side's process ends, or writes what cannot be read.
        """
        running = self.running
        folders = tuple(Path(self.folder, letter) for letter in "AB")
        cases = [{"number": n, "names": astuple(one)} for n, one in enumerate(request.cases)]
        try:
            running.run("make", cases, folders, interface=request.interface)
            environments = running.environments(folders)
            if cases:
                running.run("cross", cases, folders)
            pairs = read_pairs(request.cases, _labels(request, environments), folders)
            if unknown := unexplained_cases(pairs, cases):
                running.run("look", unknown, folders)
                pairs = with_inspections(pairs, folders)
            first, second = self.sides
            speed = request.speed(first.python, second.python) if request.speed else None
            records = tuple(map(_record, self.sides, environments))
            return _part((records[0], records[1]), folders, pairs, speed, request.family)
        finally:
            for one in folders:
                shutil.rmtree(one, ignore_errors=True)


@contextlib.contextmanager
def _sides(request: UpgradeRequest) -> Iterator[tuple[Side, Side]]:
    given = [_interpreter(x, request) for x in (request.baseline, request.candidate)]
    with ExitStack() as stack:
        opened = [
            stack.enter_context(open_side(x, request.project, revisions=False)) for x in given
        ]
        yield opened[0], opened[1]


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
