"""Layers against the baseline's: quantization parameters, stored weights, outputs, SQNR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qreg.compare.tolerances import SCALE, SQNR_DB, ZERO_POINT
from qreg.judgements import Check, Finding, Outcome
from qreg.numerics import Layer, Quantizer

Pairs = list[tuple[Layer, Layer]]


@dataclass(frozen=True)
class _Moved:
    """One parameter of a layer that is not what it was."""

    what: str
    expected: str
    observed: str


def judge_parameters(
    now: Sequence[Layer], before: Sequence[Layer], *, exact: bool
) -> Iterator[Finding]:
    """Name the first layer whose quantization parameters or stored weights moved.

    Exactly, every bit of them; else scales and zero points within `SCALE` and `ZERO_POINT`, and
    the weights' codes equal where their scales are.
    """
    moved = [(here, _moved_parameter(here, there, exact)) for here, there in _pairs(now, before)]
    found = [(layer, what) for layer, what in moved if what is not None]
    if found:
        first, what = found[0]
        yield Finding(
            check=Check.PARAMETERS,
            outcome=Outcome.REGRESSED,
            expected=what.expected,
            observed=what.observed,
            allowed="equal" if exact else f"scales within {SCALE:.1%}, zero points {ZERO_POINT}",
            where=f"{first.name}: {what.what}{_more(len(found))}",
        )


def judge_layers(
    now: Sequence[Layer], before: Sequence[Layer], *, exact: bool
) -> Iterator[Finding]:
    """Name the first layer whose output moved: in a bit, or in SQNR by more than `SQNR_DB`."""
    pairs = _pairs(now, before)
    if exact:
        moved = [(a, b) for a, b in pairs if a.output_digest != b.output_digest]
    else:
        moved = [(a, b) for a, b in pairs if _sqnr_change(a, b) < -SQNR_DB]
    if not moved:
        return
    here, there = moved[0]
    yield Finding(
        check=Check.LAYERS,
        outcome=Outcome.REGRESSED,
        expected=f"output {there.output_digest}, SQNR {_db(there)}",
        observed=f"output {here.output_digest}, SQNR {_db(here)}",
        allowed="equal" if exact else f"an SQNR at most {SQNR_DB:g} dB lower",
        where=f"{here.name}{_more(len(moved))}",
    )


def first_moved(now: Sequence[Layer], before: Sequence[Layer], *, exact: bool) -> str:
    """The first layer, in the order they run, that moved in any way; "" where none did."""
    for here, there in _pairs(now, before):
        if _moved_parameter(here, there, exact) is not None:
            return here.name
        if exact and here.output_digest != there.output_digest:
            return here.name
        if not exact and abs(_sqnr_change(here, there)) > SQNR_DB:
            return here.name
    return ""


def _pairs(now: Sequence[Layer], before: Sequence[Layer]) -> Pairs:
    there = {layer.name: layer for layer in before}
    return [(layer, there[layer.name]) for layer in now if layer.name in there]


def _moved_parameter(here: Layer, there: Layer, exact: bool) -> _Moved | None:
    for what, a, b in (
        ("weight", here.weight, there.weight),
        ("output", here.output, there.output),
    ):
        moved = _moved_quantizer(what, a, b, exact)
        if moved:
            return moved
    same_scales = here.weight is not None and here.weight == there.weight
    if (exact or same_scales) and here.weight_digest != there.weight_digest:
        return _Moved("weight values", there.weight_digest or "none", here.weight_digest or "none")
    if (exact or same_scales) and here.bias_digest != there.bias_digest:
        return _Moved("bias", there.bias_digest or "none", here.bias_digest or "none")
    return None


def _moved_quantizer(
    what: str, here: Quantizer | None, there: Quantizer | None, exact: bool
) -> _Moved | None:
    if here == there:
        return None
    if here is None or there is None:
        return _Moved(what, _scheme(there), _scheme(here))
    if _scheme(here) != _scheme(there) or len(here.scales) != len(there.scales):
        return _Moved(what, _scheme(there), _scheme(here))
    a, b = np.array(here.scales), np.array(there.scales)
    zeros = np.abs(np.array(here.zero_points) - np.array(there.zero_points))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a / b - 1.0))
    # turned round, so that a scale that is no number is not within
    if exact or not (apart.max() <= SCALE and zeros.max() <= ZERO_POINT):
        worst = int(np.argmax(np.maximum(apart, zeros)))
        name = f"{what} of channel {worst}" if len(a) > 1 else what
        return _Moved(name, _one(there, worst), _one(here, worst))
    return None


def _scheme(quantizer: Quantizer | None) -> str:
    return f"{quantizer.qscheme} {quantizer.dtype}" if quantizer else "float"


def _one(quantizer: Quantizer, channel: int) -> str:
    return f"scale {quantizer.scales[channel]:.9g}, zero point {quantizer.zero_points[channel]}"


def _sqnr_change(here: Layer, there: Layer) -> float:
    if here.sqnr_db is None or there.sqnr_db is None:
        return 0.0
    return here.sqnr_db - there.sqnr_db


def _db(layer: Layer) -> str:
    return "unknown" if layer.sqnr_db is None else f"{layer.sqnr_db:.2f} dB"


def _more(count: int) -> str:
    return f", the first of {count}" if count > 1 else ""
