"""Approvals without a command line: requests in, records out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qreg.baselines.store import Store
from qreg.errors import QregError
from qreg.gate.approve import ApprovalRequest, approve
from qreg.gate.proposals import ProposalRequest
from qreg.measure.options import Options
from qreg.records.case import Case
from qreg.selection import CaseChoice
from qreg.settings import Settings


@pytest.fixture
def request_(tmp_path: Path, colours: Path, nets: str, own_cache: Path) -> ApprovalRequest:
    """Of one case of a user's own network and data, really measured."""
    settings = Settings(
        root=tmp_path,
        models=(f"{nets}:make_net",),
        datasets=(str(colours),),
        methods=("fp32",),
        engines=("qnnpack",),
    )
    proposals = ProposalRequest(
        settings, Store(tmp_path / "baselines"), CaseChoice(), Options(threads=1)
    )
    return ApprovalRequest(
        proposals, "first", "2026-11-25T00:00:00+00:00", "", categories=("create",)
    )


def test_a_case_is_created_and_then_unchanged(request_: ApprovalRequest, nets: str) -> None:
    request_.check()
    case = Case("colours", f"{nets}:make_net", "fp32", "qnnpack")
    done = approve(request_)
    assert [one.case for one in done.applied] == [case]
    assert (done.wrong, done.refused, done.proposals.failures) == (0, (), ())
    (baseline,) = request_.proposals.store.read(case)
    assert [one.reason for one in baseline.history] == ["first"]
    again = approve(request_)
    assert (again.applied, again.proposals.unchanged) == ((), (case,))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reason": " "}, "needs a reason"),
        ({"categories": ()}, "is named"),
        ({"accepted": ("no case",)}, "is not a case"),
    ],
)
def test_what_nobody_approved_is_refused(
    request_: ApprovalRequest, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(QregError, match=reason):
        replace(request_, **change).check()


def test_what_is_wanted() -> None:
    plain = ApprovalRequest(None, "r", "d", "")  # type: ignore[arg-type]
    some = replace(plain, categories=("create", "promise"))
    assert [some.wants(one) for one in ("create", "fix", "trim", "promise")] == [1, 0, 0, 1]
    assert replace(plain, categories=("promise",)).only_promises
