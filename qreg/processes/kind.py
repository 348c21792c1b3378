"""The kind of a machine: what of its environment can change numbers, as text."""

from __future__ import annotations

from typing import Any

from qreg.processes.executor import Places, Result
from qreg.records.case import Environment


def kind_sent(content: dict[str, Any], places: Places) -> Result:
    """The kind of the machine that runs this."""
    from qreg.measure.environment import capture_environment

    return {"kind": kind_of(capture_environment())}


def kind_of(environment: Environment) -> str:
    """A short name, equal where the same bits are expected."""
    vnni = "VNNI" if environment.vnni else "no VNNI"
    torch = environment.torch.partition("+")[0]
    words = (
        environment.cpu_capability,
        vnni,
        *environment.limits,
        environment.cpu,
        f"torch {torch}",
    )
    return ", ".join(word.strip() for word in words if word.strip())
