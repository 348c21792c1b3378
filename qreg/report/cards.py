"""One case of a page: its figures, samples, layers, findings; of a verdict or of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from qreg.records.case import Case
from qreg.records.detail import CaseDetail, Histogram, SampleDetail, View, ViewKind
from qreg.records.verdict import Finding
from qreg.report.charts import histogram_chart, sqnr_chart, wave_chart
from qreg.report.page import pages

#: A page stays below 3 MB: bytes of all pictures, and of all cases with them.
PICTURES, CASES = 1_300_000, 2_500_000
# What the short form of a case takes at least, which is left for those that follow.
_SHORT_CASE = 2_000
# Cases whose smaller parts are unfolded from the start.
_UNFOLDED = 5


@dataclass(frozen=True)
class Tile:
    """A figure with its heading, and a line about it."""

    title: str
    figure: str
    more: str = ""


@dataclass(frozen=True)
class Card:
    """A case on a page.

    Attributes:
        number: identifies it on the page: it is found by ``#case-<number>``.
        under: facts below its name.
        order: by what its samples are ordered.
        reference: what it is compared with: "baseline", "fp32".
        layer: the first diverging layer, "" where there is none.
        command: what to run next.
        trace: a traceback, "" where nothing was raised.
    """

    number: int
    case: Case
    badge: str
    tone: str
    under: tuple[str, ...]
    tiles: tuple[Tile, ...]
    detail: CaseDetail
    order: str = ""
    reference: str = "baseline"
    layer: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    trace: str = ""


def card_markup(cards: Sequence[Card]) -> list[Markup]:
    """The cards in full as long as the page stays small, then in short."""
    left, found = CASES, []
    for after, card in enumerate(_budgeted(cards)):
        text = _markup(card, full=True)
        if len(text) > left - (len(cards) - after - 1) * _SHORT_CASE:
            text = _markup(card, full=False)
        left -= len(text)
        found.append(text)
    return found


def _budgeted(cards: Sequence[Card]) -> list[Card]:
    """The cards with as many pictures as fit: the first sample of each, then the second, ..."""
    left, kept = PICTURES, [list[SampleDetail]() for _ in cards]
    for rank in range(max((len(one.detail.samples) for one in cards), default=0)):
        for one, samples in zip(cards, kept, strict=True):
            if rank >= len(one.detail.samples):
                continue
            sample = one.detail.samples[rank]
            size = sum(len(view.data) + 60 * len(view.low) for view in sample.views)
            if size > left:
                sample = replace(sample, views=())
            else:
                left -= size
            samples.append(sample)
    return [
        replace(one, detail=replace(one.detail, samples=tuple(samples)))
        for one, samples in zip(cards, kept, strict=True)
    ]


def _markup(card: Card, *, full: bool) -> Markup:
    detail = card.detail
    text = pages().get_template("case.html").render(
        card=card,
        detail=detail,
        name=str(card.case),
        opened=card.number < _UNFOLDED,
        full=full,
        classes=[one for one in detail.classes if one.now != one.before],
        samples=[_sample(sample) for sample in detail.samples] if full else [],
        sqnr=sqnr_chart(detail.layers, card.layer, reference=card.reference) if full else "",
        histograms=[(h, histogram_chart(h), clip_text(h)) for h in detail.histograms * full],
        size=size_text(detail),
    )  # fmt: skip
    return Markup(text)


def clip_text(histogram: Histogram) -> str:
    """How much of the float values is not representable, now and in the baseline."""
    if histogram.clipped_now is None:
        return "The quantization range is not one for the whole tensor, or it is float."
    before = ""
    if histogram.clipped_before is not None:
        before = f", in the baseline {histogram.clipped_before:.3%}"
    ends = (
        f" ({histogram.range_now[0]:.4g} to {histogram.range_now[1]:.4g})"
        if histogram.range_now
        else ""
    )
    clipped = f"{histogram.clipped_now:.3%}{before}"
    return f"Clipped, outside of what the codes can represent{ends}: {clipped}."


def _sample(sample: SampleDetail) -> dict[str, Any]:
    tone = {True: "bad", False: "good", None: "warn"}[sample.worse]
    said = f"sample {sample.index}{f', {sample.label}' if sample.label else ''}"
    words = {True: "lost", False: "won", None: "wrong before and now"}[sample.worse]
    return {
        "sample": sample,
        "tone": tone,
        "words": words if sample.label else "worse",
        "views": [_view(view, said) for view in sample.views],
    }


def _view(view: View, said: str) -> dict[str, Any]:
    what = f"{said}: {view.name} {view.what}".strip()
    picture = f"data:{view.mime};base64,{view.data}" if view.mime else ""
    wave = wave_chart(view, what) if view.kind is ViewKind.WAVE else ""
    text = view.data if view.kind is ViewKind.TEXT else ""
    return {"view": view, "what": what, "picture": picture, "wave": wave, "text": text}


def alone(detail: CaseDetail) -> str:
    """The figure of a case without a baseline."""
    if detail.value is None:
        return ""
    value = detail.value * 100 if detail.unit == "%" else detail.value
    return f"{detail.measure} {value:.4g} {detail.unit}".strip()


def size_text(detail: CaseDetail) -> str:
    """The size of the file in MB, and what it was where that differs."""
    if detail.file_bytes is None:
        return ""
    now, before = detail.file_bytes, detail.file_bytes_before
    changed = f"{before / 1e6:.3f} → " if before not in (None, now) and before else ""
    return f"{changed}{now / 1e6:.3f} MB"


def speed_up_text(detail: CaseDetail) -> str:
    """The speed-up over fp32, and the promised one."""
    if detail.speed_up is None:
        return ""
    promised = f" (promised {detail.speed_up_before:.2f})" if detail.speed_up_before else ""
    return f"{detail.speed_up:.2f}{promised}"
