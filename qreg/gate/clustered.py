"""Judging on a Ray cluster: what its machines are sent, and the same pool of cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qreg.gate.pool import JudgeRequest, Pool, Status
from qreg.gate.warm import HEAVY, optional_modules
from qreg.processes.cluster import RayExecutor, project_executor
from qreg.records.case import Case


def gate_executor(request: JudgeRequest, cases: Sequence[Case], address: str) -> RayExecutor:
    """Machines that have, or will have, what judging these cases needs.

    Raises:
        QregError: Ray is not installed, there is no cluster, or a file cannot be sent.
    """
    return project_executor(
        address,
        request.settings,
        cases,
        request.options,
        baselines=request.baselines,
        imports=_imports(cases),
    )


def clustered_pool(
    request: JudgeRequest,
    cases: Sequence[Case],
    address: str,
    *,
    show: Callable[[Status], None] | None = None,
) -> Pool:
    """A pool whose cases are judged by the machines of a cluster, each wherever there is room.

    Raises: as `gate_executor`.
    """
    return Pool(request, cases, executor=gate_executor(request, cases, address), show=show)


def _imports(cases: Sequence[Case]) -> tuple[str, ...]:
    """What forks that judge these cases would each import, as `qreg.gate.warm` has it here."""
    return (*HEAVY, *(f"?{name}" for name in optional_modules(cases)))
