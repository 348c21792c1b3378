"""Which pairs are compared, in which order, and what is made of the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qreg.errors import QregError
from qreg.measure.options import ONE_THREAD
from qreg.records.case import Case
from qreg.upgrade.matrix import run
from qreg.upgrade.matrix.run import MatrixRequest, check_entries, compare_matrix
from qreg.upgrade.records import Cause, ChangeKind, InterfaceChange, UpgradeLevel, UpgradeReport
from qreg.upgrade.running import UpgradeRequest
from tests.unit.upgrade.report.upgrade_report import REPORT, case, side
from tests.unit.upgrade.test_check import _in_forks

TEMPLATE = UpgradeRequest((), "", "", Path("project"))
RELEASES = tuple(f"2.{minor}.0" for minor in range(6, 23))
Compare = Callable[[str, str], UpgradeReport]


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def _report(baseline: str, candidate: str) -> UpgradeReport:
    """Observers change in 2.11, a function is deprecated in 2.17 and the kernels in 2.20."""

    def crosses(minor: int) -> bool:
        return _minor(baseline) < minor <= _minor(candidate)

    causes = [cause for at, cause in ((11, Cause.OBSERVERS), (20, Cause.KERNELS)) if crosses(at)]
    level = UpgradeLevel.SAFE
    if causes:
        level = UpgradeLevel.UNSAFE if causes[0] is Cause.OBSERVERS else UpgradeLevel.DIFFERENT
    warning = InterfaceChange(ChangeKind.DEPRECATED, "f", "", "goes away")
    return replace(
        REPORT,
        baseline=side(baseline),
        candidate=side(candidate),
        level=level,
        cases=(case(level, causes=tuple(causes), findings=("why",) * len(causes)),),
        interface=(warning,) if crosses(17) else (),
    )


class Recorded:
    """Answers from a function, and knows what was asked; the last that was added comes first."""

    def __init__(self, compare: Compare = _report, at_once: int = 1) -> None:
        self.compare, self.at_once = compare, at_once
        self.asked: list[tuple[str, str]] = []
        self._waiting: list[UpgradeRequest] = []

    def add(self, requests: Sequence[UpgradeRequest]) -> None:
        self._waiting += requests

    def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
        while self._waiting:
            one = self._waiting.pop()
            self.asked.append((one.baseline, one.candidate))
            try:
                yield one, self.compare(one.baseline, one.candidate)
            except QregError as error:
                yield one, error


@pytest.fixture(autouse=True)
def index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def releases(package: str) -> tuple[str, ...]:
        asked.append(package)
        return RELEASES

    monkeypatch.setattr(run, "releases", releases)
    return asked


@pytest.mark.parametrize("at_once", [1, 100])
def test_each_difference_has_its_first_version(index: list[str], at_once: int) -> None:
    comparer = Recorded(at_once=at_once)
    request = MatrixRequest(("2.6.0", "2.14.0", "2.22.0"), TEMPLATE, bisect=True)
    found = compare_matrix(request, comparer)
    first = {(one.pair, one.change.what): (one.first, one.before) for one in found.appearances}
    assert first == {
        (0, "observers"): ("2.11.0", "2.10.0"),
        (1, "deprecated"): ("2.17.0", "2.16.0"),
        (1, "kernels"): ("2.20.0", "2.19.0"),
    }
    assert all(one.exact and not one.gone for one in found.appearances)
    assert len(comparer.asked) == len(set(comparer.asked)) == 2 + len(found.trials)
    assert len(found.trials) <= 3 * math.ceil(math.log2(8))
    assert found.level is UpgradeLevel.UNSAFE
    assert index == ["torch"]


def test_without_bisect_the_first_version_is_the_pair_s_later_one(index: list[str]) -> None:
    comparer = Recorded()
    found = compare_matrix(MatrixRequest(("2.6.0", "2.14.0", "2.15.0"), TEMPLATE), comparer)
    assert [(one.first, one.before) for one in found.appearances] == [("2.14.0", "2.6.0")]
    assert sorted(comparer.asked) == [("2.14.0", "2.15.0"), ("2.6.0", "2.14.0")]
    assert not found.trials
    assert not index


def test_what_cannot_be_installed_is_named_and_stepped_over() -> None:
    def compare(baseline: str, candidate: str) -> UpgradeReport:
        if candidate in ("2.10.0", "2.14.0"):
            raise QregError(f"pip cannot install torch=={candidate}")
        return _report(baseline, candidate)

    request = MatrixRequest(("2.6.0", "2.22.0"), TEMPLATE, bisect=True)
    found = compare_matrix(request, Recorded(compare))
    observers = next(one for one in found.appearances if one.change.what == "observers")
    assert (observers.first, observers.before, observers.between) == (
        "2.11.0",
        "2.9.0",
        ("2.10.0",),
    )
    kernels = next(one for one in found.appearances if one.change.what == "kernels")
    assert (kernels.first, kernels.between) == ("2.20.0", ())
    failed = {one.release: one.failed for one in found.trials if one.level is None}
    assert failed["2.10.0"] == "pip cannot install torch==2.10.0"

    request = MatrixRequest(("2.9.0", "2.14.0", "2.15.0"), TEMPLATE)
    found = compare_matrix(request, Recorded(compare))
    assert [pair.failed for pair in found.pairs] == ["pip cannot install torch==2.14.0", ""]


def test_the_releases_that_are_named_are_tried_and_no_others(index: list[str]) -> None:
    comparer = Recorded()
    request = MatrixRequest(
        ("2.6.0", "2.14.0", "2.22.0"), TEMPLATE, bisect=True, releases=("2.10.0", "2.18.0")
    )
    found = compare_matrix(request, comparer)
    assert {one.release for one in found.trials} == {"2.10.0", "2.18.0"}
    assert not index
    first = {one.change.what: (one.first, one.before) for one in found.appearances}
    assert first["deprecated"] == ("2.18.0", "2.14.0")
    assert first["observers"] == ("2.14.0", "2.10.0")


def test_versions_of_a_package_are_sides_and_a_mixture_has_nothing_in_between(
    index: list[str],
) -> None:
    def compare(baseline: str, candidate: str) -> UpgradeReport:
        return _report(baseline.rpartition("=")[2], candidate.rpartition("=")[2])

    request = MatrixRequest(("torchao==2.6.0", "torchao==2.14.0"), TEMPLATE, bisect=True)
    comparer = Recorded(compare)
    found = compare_matrix(request, comparer)
    assert [one.first for one in found.appearances] == ["torchao==2.11.0"]
    assert index == ["torchao"]
    assert ("torchao==2.6.0", "torchao==2.10.0") in comparer.asked
    mixed = MatrixRequest(("torchao==2.6.0", "onnx==2.14.0"), TEMPLATE, bisect=True)
    found = compare_matrix(mixed, Recorded(compare))
    assert not found.trials
    assert "not versions of one package" in found.skipped[0]


def test_what_is_no_matrix_is_refused() -> None:
    for versions, match in ((("2.6.0",), "one version"), (("2.6.0", "2.7.0", "2.6.0"), "twice")):
        with pytest.raises(QregError, match=match):
            MatrixRequest(versions, TEMPLATE)
    with pytest.raises(QregError, match="between which versions"):
        MatrixRequest(("2.6.0", "2.7.0", "2.8.0"), TEMPLATE, bisect=True, releases=("./venv",))
    with pytest.raises(QregError, match="'no-such-python' is not an interpreter"):
        check_entries(MatrixRequest(("2.6.0", "no-such-python"), TEMPLATE))
    check_entries(MatrixRequest(("2.6.0", ".", "torchao==0.17.0"), TEMPLATE))


def test_the_progress_names_the_pair() -> None:
    shown: list[str] = []
    options = replace(ONE_THREAD, progress=lambda done, total, what: shown.append(what))

    class Showing(Recorded):
        def results(self) -> Iterator[tuple[UpgradeRequest, UpgradeReport | QregError]]:
            for request in self._waiting:
                request.options.progress(0, 1, "quantizing")
            yield from super().results()

    template = replace(TEMPLATE, options=options)
    compare_matrix(MatrixRequest(("2.6.0", "2.7.0", "2.8.0"), template), Showing())
    assert shown == ["2.6.0 -> 2.7.0: quantizing", "2.7.0 -> 2.8.0: quantizing"]


_WIDER = """
before = m.HistogramObserver.calculate_qparams
def wider(self):
    scale, zero_point = before(self)
    return scale * 1.05, zero_point
m.HistogramObserver.calculate_qparams = wider
"""
_KERNEL = """
run = m.Linear.forward
def other_rounding(self, x):
    import torch
    y = run(self, x)
    codes = y.int_repr()
    codes[:, 3] ^= 1
    return torch._make_per_tensor_quantized_tensor(codes, y.q_scale(), y.q_zero_point())
m.Linear.forward = other_rounding
"""


_SIDES = {
    "2.1.0": {},
    "2.2.0": {"torch.ao.quantization.observer": _WIDER},
    "2.3.0": {"torch.ao.quantization.observer": _WIDER},
    "2.4.0": {
        "torch.ao.quantization.observer": _WIDER,
        "torch.ao.nn.quantized.modules.linear": _KERNEL,
    },
}


@pytest.mark.slow
def test_what_is_changed_in_this_pytorch_is_found_where_it_was_changed() -> None:
    """Of releases that are this one with changes, one observes and one computes differently."""
    cases = (Case("shapes10", "linear_100", "static", "fbgemm"),)
    comparer = Recorded(lambda _, candidate: _in_forks(_SIDES[candidate], cases))
    request = MatrixRequest(
        ("2.0.0", "2.4.0"), TEMPLATE, bisect=True, releases=("2.1.0", "2.2.0", "2.3.0")
    )
    found = compare_matrix(request, comparer)
    first = {one.change.what: (one.first, one.before) for one in found.appearances}
    assert first["observers"] == ("2.2.0", "2.1.0")
    assert first["kernels"] == ("2.4.0", "2.3.0")
    assert found.level is UpgradeLevel.UNSAFE
