"""Reports that machines send become one, of all cases between the same sides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from qreg.errors import QregError
from qreg.processes.executor import Piece, Result
from qreg.processes.sending import default_settings
from qreg.records.decode import plain
from qreg.upgrade.clustered import ClusterComparer, _ordered, _read, check_on_cluster
from qreg.upgrade.parts import ReportPart, report_of
from qreg.upgrade.records import WORKS, Answer, CaseUpgrade, ChangeKind, UpgradeLevel
from qreg.upgrade.running import UpgradeRequest
from tests.unit.upgrade.report.upgrade_report import CASE, REPORT, case

_PROBE = Answer("torch.thing", WORKS, signature="(a)")
_HELD = Answer("scales are positive", "holds")
_INTERFACE = ReportPart(
    baseline=REPORT.baseline,
    candidate=REPORT.candidate,
    cases=(),
    probes=((_PROBE,), (replace(_PROBE, outcome="raises AttributeError: thing"),)),
    warned=((), ()),
    odd=((), ()),
    properties=((_HELD,), (_HELD,)),
)


def _part(*cases: CaseUpgrade, warns: str = "") -> ReportPart:
    """Of some cases, for all of which only the candidate warns."""
    quiet = tuple(Answer(str(one.case), WORKS) for one in cases)
    warned = tuple(replace(one, warnings=(warns,) if warns else ()) for one in quiet)
    nothing: tuple[tuple[Answer, ...], tuple[Answer, ...]] = ((), ())
    return replace(
        _INTERFACE, cases=cases, probes=nothing, properties=nothing, warned=(quiet, warned)
    )


def test_cases_and_changes_of_all_are_in_one_report_with_its_level() -> None:
    worse = case(UpgradeLevel.UNSAFE, case=replace(CASE, model="resnet20"), findings=("lost",))
    order = [one.case for one in (*REPORT.cases, worse)]
    parts = [_part(worse, warns="old"), _INTERFACE, _part(*REPORT.cases, warns="old")]
    found = report_of(parts, order, 7.0)
    assert found.cases == (*REPORT.cases, worse)
    assert found.level is UpgradeLevel.UNSAFE
    assert "resnet20" in found.reasons[0]
    assert (found.seconds, found.probes, found.properties) == (7.0, 1, 1)
    removed, warning = found.interface
    assert (removed.kind, removed.name) == (ChangeKind.REMOVED, "torch.thing")
    # one line of all that emit it, in the order of the cases
    assert (warning.after, warning.name) == ("old", f"{order[0]} and {len(order) - 1} more")
    assert found == report_of(parts[::-1], order, 7.0)


def test_a_warning_that_the_old_version_emits_elsewhere_is_not_new() -> None:
    probe = replace(_PROBE, warnings=("old",))
    parts = [replace(_INTERFACE, probes=((probe,), (probe,))), _part(*REPORT.cases, warns="old")]
    assert not report_of(parts, [one.case for one in REPORT.cases], 1.0).interface


def test_a_part_travels_as_it_is_and_what_went_wrong_is_said() -> None:
    part = _part(*REPORT.cases, warns="old")
    assert _read("a", json.loads(json.dumps(plain(part)))) == part
    with pytest.raises(QregError, match="d/net: cannot be installed") as caught:
        _read("d/net", {"error": "cannot be installed", "hint": "look"})
    assert caught.value.hint == "look"
    with pytest.raises(QregError, match="d/net: was lost 5 times"):
        _read("d/net", {"died": "was lost 5 times", "details": ""})
    with pytest.raises(QregError, match="the report of its machine"):
        _read("d/net", {"cases": 1})


class Machines:
    """Answers each piece with a part of its cases, the last that was added first."""

    def __init__(self, bad: str = "", room: int = 2) -> None:
        self.pieces: list[Piece] = []
        self._room = room
        self._bad, self._waiting = bad, list[Piece]()

    def most_common_kind(self) -> str:
        return "a kind"

    def room(self, kind: str) -> int:
        assert kind == "a kind"
        return self._room

    def add(self, pieces: Sequence[Piece], *, first: bool = False) -> None:
        self.pieces += pieces
        self._waiting += pieces

    def poll(self) -> Iterator[tuple[Piece, Result]]:
        if self._waiting:
            piece = self._waiting.pop()
            yield piece, self._answer(piece)

    def wait(self) -> None:
        pass

    def _answer(self, piece: Piece) -> Result:
        if self._bad and self._bad in piece.name:
            return {"error": "pip cannot install torch", "hint": "look"}
        cases = json.loads(piece.content)["cases"]
        found = [case(case=replace(CASE, model=names[1], method=names[2])) for names in cases]
        part = _INTERFACE if json.loads(piece.content)["interface"] else _part(*found)
        answer: Result = json.loads(json.dumps(plain(part)))
        return answer

    def step(self) -> str:
        return "1 machines"


CASES = tuple(
    replace(CASE, model=model, method=method)
    for model in ("linear_100", "simple_cnn")
    for method in ("fp32", "static")
)


def _request(baseline: str, candidate: str, folder: Path) -> UpgradeRequest:
    return UpgradeRequest(CASES, baseline, candidate, folder)


def _comparer(machines: Machines, folder: Path) -> ClusterComparer:
    return ClusterComparer(machines, default_settings(folder))  # type: ignore[arg-type]


def test_models_and_the_interface_of_each_pair_are_pieces_of_one_run(tmp_path: Path) -> None:
    machines = Machines()
    comparer = _comparer(machines, tmp_path)
    comparer.add([_request("1.0.0", "2.0.0", tmp_path), _request("2.0.0", "3.0.0", tmp_path)])
    results = comparer.results()
    request, report = next(results)
    assert (request.baseline, request.candidate) == ("2.0.0", "3.0.0")
    assert not isinstance(report, QregError)
    assert tuple(one.case for one in report.cases) == CASES  # in their order
    assert (report.probes, report.properties) == (1, 1)
    comparer.add([_request("1.0.0", "1.5.0", tmp_path)])  # meanwhile
    found = {request.candidate for request, _ in results}
    assert found == {"1.5.0", "2.0.0"}
    assert len(machines.pieces) == len({one.name for one in machines.pieces}) == 15
    assert {one.environment for one in machines.pieces} == {"a kind"}
    contents: list[dict[str, Any]] = [json.loads(one.content) for one in machines.pieces]
    # one family of tests, however they are spread over machines
    assert {one["family"] for one in contents} == {len(CASES)}
    for sides in (["1.0.0", "2.0.0"], ["2.0.0", "3.0.0"], ["1.0.0", "1.5.0"]):
        parts = [(x["cases"], x["interface"]) for x in contents if x["sides"] == sides]
        assert sorted(parts) == [([], True), *(([list(astuple(one))], False) for one in CASES)]


def test_all_cases_are_handed_out_while_no_machine_is_there(tmp_path: Path) -> None:
    machines = Machines(room=0)
    _comparer(machines, tmp_path).add([_request("1.0.0", "2.0.0", tmp_path)])
    contents: list[dict[str, Any]] = [json.loads(one.content) for one in machines.pieces]
    sent = [case for one in contents for case in one["cases"]]
    assert sent == [list(astuple(one)) for one in CASES]


def test_one_pair_comes_after_the_other_and_a_machine_keeps_its_sides(tmp_path: Path) -> None:
    machines = Machines()
    pairs = [_request(f"{n}.0.0", f"{n + 1}.0.0", tmp_path) for n in range(1, 5)]
    _comparer(machines, tmp_path).add(pairs)
    firsts = [json.loads(one.content)["sides"][0] for one in machines.pieces]
    assert firsts == sorted(firsts)  # so that a version's processes serve both of its pairs
    assert {one.process for one in machines.pieces} == {"upgrade"}
    # so that each goes to the machine that is free first
    assert {one.group for one in machines.pieces} == {""}


def test_the_largest_units_come_first_and_none_is_empty(tmp_path: Path) -> None:
    cases = tuple(
        replace(CASE, model=f"net{n}", method=method)
        for n in range(5)
        for method in ("fp32", "static")
    )
    request = replace(_request("1.0.0", "2.0.0", tmp_path), cases=cases)
    sizes = {"net4": 900, "net3": 600, "net2": 300}
    parts = _ordered([request], 2, size=lambda case: sizes.get(case.model, 0))
    costs = [unit.cost for unit in parts]
    assert costs == sorted(costs, reverse=True)
    loads = [0.0, 0.0]  # of two machines, each of which takes the next one when it is free
    for cost in costs:
        loads[loads.index(min(loads))] += cost
    assert max(loads) - min(loads) <= min(costs)
    sent = [case for unit in parts for case in unit.cases]
    assert sorted(sent, key=cases.index) == list(cases)
    # a machine that is lost costs a part of its work, even if it is all of one large network
    assert max(unit.cost for unit in parts if len(unit.cases) > 1) <= sum(loads) / 2 / 4
    alone = _ordered([replace(request, cases=cases[:8])], 1, size=lambda _: 0)
    assert [len(unit.cases) for unit in alone] == [0] + [1] * 8
    many = _ordered([request], 100, size=lambda _: 0)
    assert [len(unit.cases) for unit in many] == [0] + [1] * 10


def test_a_pair_that_a_machine_cannot_compare_costs_that_pair(tmp_path: Path) -> None:
    comparer = _comparer(Machines(bad="3.0.0: shapes10/simple_cnn"), tmp_path)
    comparer.add([_request("1.0.0", "2.0.0", tmp_path), _request("2.0.0", "3.0.0", tmp_path)])
    found = {request.candidate: report for request, report in comparer.results()}
    assert not isinstance(found["2.0.0"], QregError)
    assert "pip cannot install torch" in str(found["3.0.0"])
    machines: Any = Machines(bad="linear_100")
    settings = default_settings(tmp_path)
    with pytest.raises(QregError, match="pip cannot install") as caught:
        check_on_cluster(machines, _request("1.0.0", "2.0.0", tmp_path), settings)
    assert caught.value.hint == "look"


def test_times_are_not_compared_on_a_cluster(tmp_path: Path) -> None:
    timed = replace(_request("1.0.0", "2.0.0", tmp_path), speed=lambda *_: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(QregError, match="--speed compares times"):
        _comparer(Machines(), tmp_path).add([timed])
