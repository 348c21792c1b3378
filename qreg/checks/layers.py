"""Layers compared with the baseline's: quantization parameters, stored weights, outputs, SQNR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qreg.checks.tolerances import STORED_SCALE, Tolerances
from qreg.records.numerics import Layer, Quantizer
from qreg.records.verdict import Check, Finding, Outcome

Pairs = list[tuple[Layer, Layer]]


@dataclass(frozen=True)
class _Moved:
    """A changed parameter of a layer."""

    what: str
    expected: str
    observed: str


def judge_parameters(
    observed: Sequence[Layer], baseline: Sequence[Layer], allowed: Tolerances
) -> Iterator[Finding]:
    """Report the first layer whose quantization parameters or stored weights changed.

    Even if not exact, weight codes must be equal where their scales are.
    """
    moved = [
        (here, _moved_parameter(here, there, allowed)) for here, there in _pairs(observed, baseline)
    ]
    found = [(layer, what) for layer, what in moved if what is not None]
    if found:
        first, what = found[0]
        yield Finding(
            check=Check.PARAMETERS,
            outcome=Outcome.REGRESSED,
            expected=what.expected,
            observed=what.observed,
            allowed="equal" if allowed.exact else _allowed_text(allowed),
            where=f"{first.name}: {what.what}{_more(len(found))}",
        )


def judge_layers(
    observed: Sequence[Layer], baseline: Sequence[Layer], allowed: Tolerances
) -> Iterator[Finding]:
    """Report the first layer whose output changed: in any bit, or in SQNR beyond tolerance."""
    moved = [(a, b) for a, b in _pairs(observed, baseline) if _moved_output(a, b, allowed)]
    worse = [(a, b) for a, b in moved if allowed.exact or _sqnr_change(a, b) < 0]
    if not moved:
        return
    here, there = (worse or moved)[0]
    yield Finding(
        check=Check.LAYERS,
        outcome=Outcome.REGRESSED if worse else Outcome.IMPROVED,
        expected=_output(there, allowed.exact),
        observed=_output(here, allowed.exact),
        allowed="equal" if allowed.exact else f"an SQNR within {allowed.sqnr_db:g} dB",
        where=f"{here.name}{_more(len(worse or moved))}",
    )


def first_moved(observed: Sequence[Layer], baseline: Sequence[Layer], allowed: Tolerances) -> str:
    """The first layer, in execution order, that changed in any way; "" where none did."""
    return next((name for name, _ in moved_layers(observed, baseline, allowed)), "")


def moved_layers(
    observed: Sequence[Layer], baseline: Sequence[Layer], allowed: Tolerances
) -> tuple[tuple[str, bool], ...]:
    """All layers that changed in any way, in execution order, and whether their parameters did.

    Of the others only the output changed: they may just pass on what they are given.
    """
    return tuple(
        (here.name, own)
        for here, there in _pairs(observed, baseline)
        if (own := _moved_parameter(here, there, allowed) is not None)
        or _moved_output(here, there, allowed)
    )


def _pairs(observed: Sequence[Layer], baseline: Sequence[Layer]) -> Pairs:
    there = {layer.name: layer for layer in baseline}
    return [(layer, there[layer.name]) for layer in observed if layer.name in there]


def _moved_output(observed: Layer, baseline: Layer, allowed: Tolerances) -> bool:
    if allowed.exact:
        return (
            observed.output_digest != baseline.output_digest or observed.sqnr_db != baseline.sqnr_db
        )
    return abs(_sqnr_change(observed, baseline)) > allowed.sqnr_db


def _moved_parameter(observed: Layer, baseline: Layer, allowed: Tolerances) -> _Moved | None:
    stored, exact = (0.0 if allowed.exact else STORED_SCALE), allowed.exact
    moved = _moved_quantizer(
        "weight", observed.weight, baseline.weight, stored, 0
    ) or _moved_quantizer(
        "output", observed.output, baseline.output, allowed.scale, allowed.zero_point
    )
    if moved:
        return moved
    same_scales = observed.weight is not None and observed.weight == baseline.weight
    if (exact or same_scales) and observed.weight_digest != baseline.weight_digest:
        return _Moved(
            "weight values", baseline.weight_digest or "none", observed.weight_digest or "none"
        )
    if (exact or same_scales) and observed.bias_digest != baseline.bias_digest:
        return _Moved("bias", baseline.bias_digest or "none", observed.bias_digest or "none")
    return None


def _moved_quantizer(
    what: str, observed: Quantizer | None, baseline: Quantizer | None, scale: float, zero_point: int
) -> _Moved | None:
    if observed == baseline:
        return None
    if observed is None or baseline is None or _scheme(observed) != _scheme(baseline):
        return _Moved(what, _scheme(baseline), _scheme(observed))
    if len(observed.scales) != len(baseline.scales):
        return _Moved(what, f"{len(baseline.scales)} channels", f"{len(observed.scales)} channels")
    a, b = np.array(observed.scales), np.array(baseline.scales)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b) / np.abs(b))
    zeros = np.abs(np.array(observed.zero_points) - np.array(baseline.zero_points))
    if bool((apart <= scale).all() and (zeros <= zero_point).all()):
        return None
    worst = int(np.argmax(np.maximum(apart, zeros)))
    name = f"{what} of channel {worst}" if len(apart) > 1 else what
    return _Moved(name, _one(baseline, worst), _one(observed, worst))


def _allowed_text(allowed: Tolerances) -> str:
    return (
        f"weight scales within {STORED_SCALE:g}, activation scales within {allowed.scale:g} "
        f"(relative), zero points within {allowed.zero_point}"
    )


def _scheme(quantizer: Quantizer | None) -> str:
    return f"{quantizer.qscheme} {quantizer.dtype}" if quantizer else "float"


def _one(quantizer: Quantizer, channel: int) -> str:
    return f"scale {quantizer.scales[channel]:.9g}, zero point {quantizer.zero_points[channel]}"


def _sqnr_change(observed: Layer, baseline: Layer) -> float:
    if observed.sqnr_db is None or baseline.sqnr_db is None:
        return 0.0
    return observed.sqnr_db - baseline.sqnr_db


def _output(layer: Layer, exact: bool) -> str:
    sqnr = "unknown" if layer.sqnr_db is None else f"{layer.sqnr_db:.2f} dB"
    return f"output {layer.output_digest}, SQNR {sqnr}" if exact else f"SQNR {sqnr}"


def _more(count: int) -> str:
    return f", the first of {count}" if count > 1 else ""
