"""Size compared with the baseline's: each stored tensor, and the rest of the file."""

from __future__ import annotations

from collections.abc import Iterator

from qreg.records.measurement import Size
from qreg.records.verdict import Check, Finding, Outcome

Key = tuple[str, str, str]


def judge_size(observed: Size, baseline: Size, *, same_version: bool) -> Iterator[Finding]:
    """Tensor sizes must always be the same; the file's under the same PyTorch."""
    here, there = _by_key(observed), _by_key(baseline)
    changed = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    if changed:
        total, expected = sum(here.values()), sum(there.values())
        yield _finding(
            total < expected,
            f"{expected:,} bytes",
            f"{total:,} bytes",
            _where(changed, here, there),
        )
    elif same_version and observed != baseline:
        smaller = observed.file_bytes < baseline.file_bytes
        expected, total = baseline.file_bytes, observed.file_bytes
        where = "the file's container" if total != expected else "order or kinds of the tensors"
        yield _finding(smaller, f"{expected:,} bytes", f"{total:,} bytes", where)


def _finding(smaller: bool, expected: str, observed: str, where: str) -> Finding:
    return Finding(
        check=Check.SIZE,
        outcome=Outcome.IMPROVED if smaller else Outcome.REGRESSED,
        expected=expected,
        observed=observed,
        allowed="equal",
        where=where,
    )


def _by_key(size: Size) -> dict[Key, int]:
    sizes: dict[Key, int] = {}
    for tensor in size.tensors:
        key = tensor.layer, tensor.role.value, tensor.dtype
        sizes[key] = sizes.get(key, 0) + tensor.bytes
    return sizes


def _where(changed: list[Key], observed: dict[Key, int], baseline: dict[Key, int]) -> str:
    texts = [
        f"{layer or 'model'} {role} {dtype}: {baseline.get(key, 0):,} -> {observed.get(key, 0):,}"
        for key in changed[:3]
        for layer, role, dtype in [key]
    ]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return "; ".join(texts) + more
