"""Several versions, each compared with the next; and the releases between those that differ."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from qreg.errors import QregError
from qreg.processes.sides import open_side
from qreg.speed.records import SideRecord
from qreg.upgrade.check import KeptSides, check_upgrade
from qreg.upgrade.index import between, releases
from qreg.upgrade.matrix.records import Appearance, BisectionTrial, Change, MatrixReport, PairRecord
from qreg.upgrade.matrix.rule import Answer, bracket, changes_of, has_change, next_positions
from qreg.upgrade.records import UpgradeReport
from qreg.upgrade.releases import OVERLAYS, is_version, overlay_packages, short_side
from qreg.upgrade.running import UpgradeRequest

_TORCH = "torch"


@dataclass(frozen=True)
class MatrixRequest:
    """What to compare, and how.

    Attributes:
        versions: two or more sides, each once.
        template: of each comparison, but for its sides.
        bisect: whether to find the first release that has each change.
        releases: to try in between, in their order; empty for those of the package index.
    """

    versions: tuple[str, ...]
    template: UpgradeRequest
    bisect: bool = False
    releases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.versions) < 2:
            raise QregError(
                "--matrix names one version", hint="name two or more: --matrix 2.14.1,2.15.0"
            )
        named = (*self.versions, *self.releases)
        if again := next((one for one in named if named.count(one) > 1), ""):
            raise QregError(f"{again} is named twice", hint="each version is compared once")
        others = [one for one in self.releases if not is_version(one)]
        if others and len(self.versions) > 2:
            raise QregError(
                f"--releases {others[0]}: between which versions of the matrix is not known",
                hint="name versions, or two entries in --matrix",
            )


#: Two sides.
Sides = tuple[str, str]


class Comparer(Protocol):
    """Compares pairs of sides, in any order."""

    #: How many releases of a pair are worth comparing at a time.
    at_once: int

    def add(self, requests: Sequence[UpgradeRequest]) -> None:
        """Have these compared, after those before."""

    def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
        """Results until all that was added, also meanwhile, has one."""


class LocalComparer:
    """Compares on this machine, one pair after the other."""

    at_once = 1

    def __init__(self) -> None:
        self._waiting: list[UpgradeRequest] = []

    def add(self, requests: Sequence[UpgradeRequest]) -> None:
        self._waiting += requests

    def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
        with KeptSides() as kept:
            while self._waiting:
                request = self._waiting.pop(0)
                try:
                    yield request, check_upgrade(request, kept)
                except QregError as error:
                    kept.close()
                    yield request, error


def check_entries(request: MatrixRequest) -> None:
    """Refuse what is neither a version nor an interpreter of this machine, before all else.

    Raises:
        QregError: with what was tried.
    """
    for one in (*request.versions, *request.releases):
        if not is_version(one) and not overlay_packages(one):
            with open_side(one, request.template.project, revisions=False):
                pass


@dataclass
class _PairProgress:
    """A pair while it is worked on."""

    sides: Sides
    record: PairRecord | None = None
    changes: tuple[Change, ...] = ()
    between: tuple[str, ...] = ()
    started: set[int] = field(default_factory=set)
    trials: dict[int, BisectionTrial] = field(default_factory=dict)
    answers: dict[Change, dict[int, Answer]] = field(default_factory=dict)

    def wanted(self) -> tuple[int, ...]:
        """Positions to compare next; those that run already are not wanted again."""
        found = next_positions(self.answers.values(), len(self.between) + 1)
        return tuple(at for at in found if at not in self.started)

    def appearances(self, number: int) -> Iterator[Appearance]:
        names = (self.sides[0], *self.between, self.sides[1])
        for change in self.changes:
            found = bracket(self.answers[change], len(names) - 1)
            yield Appearance(
                change=change,
                pair=number,
                first=names[found.first],
                before=names[found.before],
                between=tuple(names[at] for at in sorted((*found.untried, *found.unknown))),
                gone=tuple(names[at] for at in found.gone),
            )


def compare_matrix(request: MatrixRequest, comparer: Comparer) -> MatrixReport:
    """Compare each version with the next, and find what appears where.

    A pair that cannot be compared is in the report with the reason, and so is a release.

    Raises:
        QregError: the releases in between cannot be listed.
    """
    start = time.monotonic()
    index = _index(request)
    pairs = [
        _PairProgress(sides) for sides in zip(request.versions, request.versions[1:], strict=False)
    ]
    skipped: dict[str, None] = {}
    places = {pair.sides: (number, -1) for number, pair in enumerate(pairs)}
    comparer.add([_between(request, pair.sides) for pair in pairs])
    for asked, found in comparer.results():
        number, position = places[asked.baseline, asked.candidate]
        pair = pairs[number]
        if position < 0:
            _take_pair(pair, found)
            if pair.changes and request.bisect:
                pair.between, why = _releases(pair, request, index)
                skipped.update(dict.fromkeys(why))
        else:
            _take_trial(pair, number, position, found)
        for at in pair.wanted()[: comparer.at_once] if request.bisect else ():
            pair.started.add(at)
            sides = (pair.sides[0], pair.between[at - 1])
            places[sides] = (number, at)
            comparer.add([replace(_between(request, sides), speed=None)])
    return MatrixReport(
        versions=request.versions,
        pairs=tuple(pair.record for pair in pairs if pair.record is not None),
        bisected=request.bisect,
        appearances=tuple(x for number, pair in enumerate(pairs) for x in pair.appearances(number)),
        trials=tuple(pair.trials[at] for pair in pairs for at in sorted(pair.trials)),
        skipped=tuple(skipped),
        seconds=time.monotonic() - start,
    )


def _take_pair(pair: _PairProgress, report: UpgradeReport | QregError) -> None:
    if isinstance(report, QregError):
        pair.record = PairRecord(*pair.sides, None, _reason(report))
        return
    pair.record = PairRecord(*pair.sides, report)
    pair.changes = changes_of(report)
    pair.answers = {change: {} for change in pair.changes}


def _take_trial(
    pair: _PairProgress, number: int, position: int, report: UpgradeReport | QregError
) -> None:
    release = pair.between[position - 1]
    if isinstance(report, QregError):
        pair.trials[position] = BisectionTrial(number, release, None, _reason(report))
        for answers in pair.answers.values():
            answers[position] = None
        return
    pair.trials[position] = BisectionTrial(number, release, report.level, seconds=report.seconds)
    for change, answers in pair.answers.items():
        answers[position] = has_change(change, report)


def _reason(error: QregError) -> str:
    return str(error) or type(error).__name__


def _between(request: MatrixRequest, sides: Sides) -> UpgradeRequest:
    """The comparison of two sides, whose names are in its progress."""
    baseline, candidate = sides
    show = request.template.options.progress

    def named(done: int, total: int, what: str) -> None:
        show(done, total, f"{short_side(baseline)} -> {short_side(candidate)}: {what}")

    options = replace(request.template.options, progress=named)
    return replace(request.template, baseline=baseline, candidate=candidate, options=options)


def _index(request: MatrixRequest) -> Mapping[str, tuple[str, ...]]:
    """The releases of the packages that the versions are of; asked first, so that it fails then."""
    if not request.bisect or request.releases:
        return {}
    packages = {_package(one) for one in request.versions} - {""}
    return {package: releases(package) for package in sorted(packages)}


def _package(side: str) -> str:
    """What a side is a version of; "" of several packages."""
    found = overlay_packages(side)
    if not found:
        return _TORCH
    return found[0].partition("==")[0] if len(found) == 1 else ""


def _releases(
    pair: _PairProgress, request: MatrixRequest, index: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], list[str]]:
    """What to try between the sides of a pair, as sides; or why nothing can be."""
    others = tuple(one for one in request.releases if not is_version(one))
    if others or (request.releases and len(request.versions) == 2):
        return request.releases, []
    assert pair.record is not None
    report = pair.record.report
    assert report is not None
    packages = {_package(one) for one in pair.sides}
    name = next((one for one in packages if one in OVERLAYS), _TORCH)
    where = " -> ".join(map(short_side, pair.sides))
    if "" in packages or len(packages - {_TORCH}) > 1:
        return (), [f"{where}: not versions of one package, so that nothing is in between"]
    records = (report.baseline, report.candidate)
    ends = [_found(*each, name) for each in zip(pair.sides, records, strict=True)]
    if not all(ends):
        return (), [f"{where}: one of them has no version of {name} that is known"]
    found = between(ends[0], ends[1], request.releases or index.get(name, ()))
    return tuple(one if name == _TORCH else f"{name}=={one}" for one in found), []


def _found(name: str, side: SideRecord, package: str) -> str:
    """The version of a package on a side, "" where it is not known."""
    named = dict(one.split("==") for one in overlay_packages(name))
    return named.get(package) or str(getattr(side.environment, package, "") or "")
