"""Choosing the baseline to judge by: that of the same environment, else the closest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from qreg.records.baseline import Approval, Baseline, Promise
from qreg.records.case import Environment
from qreg.records.method import MethodInfo, Need
from qreg.records.verdict import Basis

#: Fields that must be equal for a bit-exact comparison; torch without "+cu130".
SAME = (
    "torch",  # brings the kernels, and oneDNN, FBGEMM and QNNPACK with them
    "system",  # another build of the same version, with another compiler and math library
    "arch",  # other kernels altogether
    "cpu",  # oneDNN and OpenBLAS choose kernels by model, caches and cores
    "cpu_capability",  # the vector width of PyTorch's own kernels: the order of float sums
    "vnni",  # without it pairs of int8 products saturate at 16 bits
    "limits",  # keep kernels from using the instructions above
    "onnxruntime",  # of what it runs: its kernels, and what its optimizer makes of a graph
    "provider",
    "graph_level",
    "threads",  # determine how sums are split, and so their order
)
T = TypeVar("T")
_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def same_environment(one: Environment, other: Environment) -> bool:
    """Whether both environments must give the same bits."""
    return not _differences(one, other)


def choose(
    baselines: Sequence[Baseline], environment: Environment, method: MethodInfo
) -> tuple[Baseline, Basis] | None:
    """The baseline to judge by and the basis of comparison; None where there is none.

    Without one of the same environment it is the closest: fewest differences among vnni, limits
    and cpu_capability; then the nearest torch version; then system, arch, cpu and threads in
    this order; then the latest approved.

    Args:
        method: the facts of the case's method: one whose arithmetic torchao brings gives the
            same bits only under the same torchao.
    """
    found = [(one.snapshot.environment, one.history, one) for one in baselines]
    chosen = _closest(found, environment)
    if chosen and Need.TORCHAO in method.requires:
        return _under_torchao(*chosen, environment)
    return chosen


def choose_promise(
    promises: Sequence[Promise], environment: Environment
) -> tuple[Promise, Basis] | None:
    """The promise to judge by, chosen likewise."""
    return _closest([(one.environment, one.history, one) for one in promises], environment)


def _under_torchao(
    chosen: Baseline, basis: Basis, environment: Environment
) -> tuple[Baseline, Basis]:
    recorded = chosen.snapshot.environment
    if recorded.torchao != environment.torchao:
        versions = (
            f"recorded with torchao {recorded.torchao or 'absent'}, now {environment.torchao}"
        )
        basis = Basis(exact=False, reason=f"{versions}: judged statistically")
    return chosen, basis


def _closest(
    baselines: Sequence[tuple[Environment, tuple[Approval, ...], T]], environment: Environment
) -> tuple[T, Basis] | None:
    if not baselines:
        return None
    latest_first = sorted(baselines, key=lambda one: one[1][-1].date, reverse=True)
    recorded, _, closest = min(latest_first, key=lambda one: _distance(one[0], environment))
    return closest, _basis(recorded, environment)


def torch_version(environment: Environment) -> str:
    """The torch version without its local part."""
    return environment.torch.partition("+")[0]


def _value(environment: Environment, field: str) -> object:
    return torch_version(environment) if field == "torch" else getattr(environment, field)


def _differences(one: Environment, other: Environment) -> tuple[str, ...]:
    return tuple(field for field in SAME if _value(one, field) != _value(other, field))


def _distance(recorded: Environment, current: Environment) -> tuple[object, ...]:
    differ = _differences(recorded, current)
    arithmetic = sum(field in differ for field in ("vnni", "limits", "cpu_capability"))
    rest = (field in differ for field in ("torch", "system", "arch", "cpu", "threads"))
    return (arithmetic, _release_distance(recorded, current), *rest)


def _release_distance(recorded: Environment, current: Environment) -> tuple[int, ...]:
    releases = (_RELEASE.match(environment.torch) for environment in (recorded, current))
    one, other = (tuple(int(n or 0) for n in r.groups()) if r else (0, 0, 0) for r in releases)
    return tuple(abs(a - b) for a, b in zip(one, other, strict=True))


def _basis(recorded: Environment, current: Environment) -> Basis:
    differ = _differences(recorded, current)
    if not differ:
        return Basis(exact=True, reason="same environment: judged bit by bit")
    before, after = (_described(environment, differ) for environment in (recorded, current))
    reason = f"recorded on {before}, now {after.removeprefix('torch ')}: judged statistically"
    return Basis(exact=False, reason=reason)


def _described(environment: Environment, fields: Sequence[str]) -> str:
    vnni = f"{'with' if environment.vnni else 'without'} VNNI"
    capability = environment.cpu_capability or "unknown vector instructions"
    instructions = " ".join(
        text for field, text in (("cpu_capability", capability), ("vnni", vnni)) if field in fields
    )
    threads = f"{environment.threads} thread{'' if environment.threads == 1 else 's'}"
    words = {
        "torch": f"torch {torch_version(environment)}",
        "cpu_capability": instructions,
        "vnni": "" if "cpu_capability" in fields else instructions,
        "limits": " ".join(environment.limits) or "no limits",
        "system": environment.system or "an unknown system",
        "arch": environment.arch or "an unknown architecture",
        "cpu": environment.cpu or "an unknown CPU",
        "onnxruntime": f"onnxruntime {environment.onnxruntime or 'absent'}",
        "provider": environment.provider,
        "graph_level": f"graph optimization {environment.graph_level or 'unknown'}",
        "threads": threads,
    }
    return ", ".join(words[field] for field in words if field in fields and words[field])
