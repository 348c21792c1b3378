"""The page of a run of the gate: what moved, worst first, with samples, layers and causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from qreg.checks.score import amount, step
from qreg.gate.report import next_command
from qreg.records.detail import CaseDetail, Histogram, SampleDetail, View, ViewKind
from qreg.records.verdict import Outcome, Verdict
from qreg.report.charts import (
    Spot,
    histogram_chart,
    sqnr_chart,
    trade_off_chart,
    wave_chart,
)
from qreg.report.page import pages, render

#: A page stays below 3 MB: bytes of all pictures, and of all cases with them.
PICTURES, CASES = 1_300_000, 2_500_000
# What the short form of a case takes at least, which is left for those that follow.
_SHORT_CASE = 2_000
#: The style of each outcome.
TONES = {
    Outcome.PASS: "good",
    Outcome.IMPROVED: "info",
    Outcome.NO_BASELINE: "warn",
    Outcome.INCONCLUSIVE: "warn",
    Outcome.INCOMPARABLE: "bad",
    Outcome.REGRESSED: "bad",
    Outcome.ERROR: "bad",
}
_SAID = {
    Outcome.PASS: ("passes", "pass"),
    Outcome.IMPROVED: ("improved", "improved"),
    Outcome.NO_BASELINE: ("has no baseline", "have no baseline"),
    Outcome.INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
    Outcome.INCOMPARABLE: ("cannot be compared", "cannot be compared"),
    Outcome.REGRESSED: ("regressed", "regressed"),
    Outcome.ERROR: ("failed", "failed"),
}


@dataclass(frozen=True)
class Judgement:
    """A case on the page: its verdict, and what was collected for it."""

    verdict: Verdict
    detail: CaseDetail

    @property
    def order(self) -> tuple[int, float, str]:
        """The worst first: by outcome, then by the number of samples that changed."""
        return -self.verdict.outcome.severity, -_severity(self), str(self.verdict.case)


def gate_page(
    found: Sequence[tuple[Verdict, CaseDetail | None]],
    *,
    created: str,
    lines: Sequence[str] = (),
    title: str = "qreg: quantized models against their baselines",
) -> str:
    """The whole page.

    Args:
        lines: the summary of the run, as the terminal has it.
    """
    cases = [Judgement(one, detail or CaseDetail(one.case)) for one, detail in found]
    cases.sort(key=lambda one: one.order)
    outcomes = Counter(one.verdict.outcome for one in cases)
    worst = cases[0].verdict.outcome if cases else Outcome.PASS
    return render(
        "gate.html",
        title=title,
        created=created,
        tone=TONES[worst],
        headline=headline(outcomes),
        moved=[_moved_line(one) for one in cases[:3] if one.verdict.outcome is not Outcome.PASS],
        rows=[_row(number, one) for number, one in enumerate(cases)],
        outcomes=[o.value for o in sorted(outcomes, key=lambda o: -o.severity)],
        models=sorted({one.verdict.case.model for one in cases}),
        methods=sorted({one.verdict.case.method for one in cases}),
        cases=list(_cards(cases)),
        pictures=list(_trade_offs(cases)),
        lines=lines,
    )


def headline(outcomes: Counter[Outcome]) -> str:
    """``2 of 13 cases regressed, 1 failed``; ``all 13 cases pass``."""
    total = sum(outcomes.values())
    if not total:
        return "no case was judged"
    order = sorted(outcomes, key=lambda outcome: -outcome.severity)
    if order == [Outcome.PASS]:
        return f"All {total} cases pass" if total > 1 else "The case passes"
    of = f"of {total} case{'' if total == 1 else 's'} "
    parts = [f"{outcomes[o]} {of * (o is order[0])}{_SAID[o][outcomes[o] > 1]}" for o in order]
    return ", ".join(parts)


def _severity(one: Judgement) -> float:
    accuracy, score = one.verdict.accuracy, one.verdict.score
    if accuracy:
        return -accuracy.change + len(one.verdict.moved) * 1e-6
    return float(score.worse) / score.total if score else 0.0


def _moved_line(one: Judgement) -> dict[str, str]:
    case = one.verdict.case
    return {
        "outcome": one.verdict.outcome.value,
        "tone": TONES[one.verdict.outcome],
        "model": case.model,
        "method": f"{case.method}@{case.engine}",
        "dataset": case.dataset,
        "quality": quality(one.verdict),
        "layer": one.verdict.layer,
        "samples": samples_text(one),
    }


def quality(verdict: Verdict) -> str:
    """``accuracy 64.20 → 59.10 % (-5.10 points)``; "" where there is no such number."""
    accuracy, score = verdict.accuracy, verdict.score
    if accuracy:
        return f"accuracy {both(verdict)} ({accuracy.change * 100:+.2f} points)"
    if score:
        return f"{score.summary} {both(verdict)} ({step(score, score.change)})"
    return ""


def both(verdict: Verdict) -> str:
    """``64.20 → 59.10 %``: the baseline's figure and the one now."""
    accuracy, score = verdict.accuracy, verdict.score
    if accuracy:
        before, now = (n / accuracy.total * 100 for n in (accuracy.expected, accuracy.observed))
        return f"{before:.2f} → {now:.2f} %"
    return f"{amount(score, score.expected)} → {amount(score, score.observed)}" if score else ""


def interval(verdict: Verdict) -> str:
    """The interval of the change, and what could have been detected."""
    accuracy, score = verdict.accuracy, verdict.score
    if accuracy:
        return (
            f"{accuracy.change * 100:+.2f} points ({accuracy.low * 100:+.2f} to "
            f"{accuracy.high * 100:+.2f}); smallest detectable drop "
            f"{accuracy.detectable * 100:.2f}; {accuracy.total} samples"
        )
    if score:
        least = step(score, score.detectable).lstrip("+")
        return (
            f"{step(score, score.change)} ({step(score, score.low)} to {step(score, score.high)}); "
            f"smallest detectable change {least}; {score.total} samples"
        )
    return ""


def samples_text(one: Judgement) -> str:
    """How many samples changed, and which way."""
    accuracy, score = one.verdict.accuracy, one.verdict.score
    if one.verdict.moved:
        turned = f"{accuracy.lost} lost, {accuracy.won} won" if accuracy else ""
        return f"{len(one.verdict.moved)} samples flipped{f' ({turned})' if turned else ''}"
    if score and score.worse + score.better:
        return f"{score.worse} samples worse, {score.better} better"
    return ""


def _row(number: int, one: Judgement) -> dict[str, Any]:
    verdict = one.verdict
    return {
        "case": verdict.case,
        "name": str(verdict.case),
        "anchor": f"case-{number}" if verdict.outcome is not Outcome.PASS else "",
        "outcome": verdict.outcome.value,
        "tone": TONES[verdict.outcome],
        "quality": quality(verdict) or _alone(one.detail),
        "layer": verdict.layer,
        "samples": samples_text(one),
        "size": _size(one.detail),
        "speed": _speed(one.detail),
    }


def _alone(detail: CaseDetail) -> str:
    """The figure of a case without a baseline."""
    if detail.value is None:
        return ""
    value = detail.value * 100 if detail.unit == "%" else detail.value
    return f"{detail.measure} {value:.4g} {detail.unit}".strip()


def _size(detail: CaseDetail) -> str:
    if detail.file_bytes is None:
        return ""
    now, before = detail.file_bytes, detail.file_bytes_before
    changed = f"{before / 1e6:.3f} → " if before not in (None, now) and before else ""
    return f"{changed}{now / 1e6:.3f} MB"


def _speed(detail: CaseDetail) -> str:
    if detail.speed_up is None:
        return ""
    promised = f" (promised {detail.speed_up_before:.2f})" if detail.speed_up_before else ""
    return f"{detail.speed_up:.2f}{promised}"


def _cards(cases: Sequence[Judgement]) -> Iterator[Markup]:
    """The cases that did not pass: in full as long as the page stays small, then in short."""
    shown = [(n, one) for n, one in enumerate(cases) if one.verdict.outcome is not Outcome.PASS]
    pictured = _budgeted([one for _, one in shown])
    left = CASES
    for after, ((number, _), one) in enumerate(zip(shown, pictured, strict=True)):
        text = _card(number, one, full=True)
        reserve = (len(shown) - after - 1) * _SHORT_CASE
        if len(text) > left - reserve:
            text = _card(number, one, full=False)
        left -= len(text)
        yield text


def _budgeted(cases: Sequence[Judgement]) -> list[Judgement]:
    """The cases with as many pictures as fit: the first sample of each, then the second, ..."""
    left, kept = PICTURES, [list[SampleDetail]() for _ in cases]
    for rank in range(max((len(one.detail.samples) for one in cases), default=0)):
        for one, samples in zip(cases, kept, strict=True):
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
        for one, samples in zip(cases, kept, strict=True)
    ]


def _card(number: int, one: Judgement, *, full: bool) -> Markup:
    verdict, detail = one.verdict, one.detail
    classes = [c for c in detail.classes if c.now != c.before]
    text = pages().get_template("case.html").render(
        case=verdict.case,
        name=str(verdict.case),
        anchor=f"case-{number}",
        opened=number < 5,
        full=full,
        outcome=verdict.outcome.value,
        tone=TONES[verdict.outcome],
        verdict=verdict,
        detail=detail,
        both=both(verdict),
        measure=detail.measure,
        interval=interval(verdict),
        alone=_alone(detail),
        samples_text=samples_text(one),
        size=_size(detail),
        speed=_speed(detail),
        classes=classes,
        samples=[_sample(sample) for sample in detail.samples] if full else [],
        sqnr=sqnr_chart(detail.layers, verdict.layer) if full else "",
        histograms=[(h, histogram_chart(h), clip_text(h)) for h in detail.histograms * full],
        next=next_command(verdict),
    )  # fmt: skip
    return Markup(text)


def clip_text(found: Histogram) -> str:
    """How much of the float values is not representable, now and in the baseline."""
    if found.clipped_now is None:
        return "The quantization range is not one for the whole tensor, or it is float."
    before = ""
    if found.clipped_before is not None:
        before = f", in the baseline {found.clipped_before:.3%}"
    ends = f" ({found.range_now[0]:.4g} to {found.range_now[1]:.4g})" if found.range_now else ""
    return (
        f"Clipped, outside of what the codes can represent{ends}: {found.clipped_now:.3%}{before}."
    )


def _sample(sample: SampleDetail) -> dict[str, Any]:
    tone = {True: "bad", False: "good", None: "warn"}[sample.worse]
    said = f"sample {sample.index}{f', {sample.label}' if sample.label else ''}"
    words = {True: "lost", False: "won", None: "wrong before and now"}[sample.worse]
    return {
        "sample": sample,
        "tone": tone,
        "words": words if sample.label else "worse",
        "views": [_shown(view, said) for view in sample.views],
    }


def _shown(view: View, said: str) -> dict[str, Any]:
    what = f"{said}: {view.name} {view.what}".strip()
    picture = f"data:{view.mime};base64,{view.data}" if view.mime else ""
    wave = wave_chart(view, what) if view.kind is ViewKind.WAVE else ""
    text = view.data if view.kind is ViewKind.TEXT else ""
    return {"view": view, "what": what, "picture": picture, "wave": wave, "text": text}


def _trade_offs(cases: Sequence[Judgement]) -> Iterator[tuple[str, Markup]]:
    """For each dataset and model the picture of accuracy, size and speed."""
    groups: dict[tuple[str, str], list[Judgement]] = {}
    for one in cases:
        if one.detail.value is not None and one.detail.file_bytes:
            groups.setdefault((one.verdict.case.dataset, one.verdict.case.model), []).append(one)
    several = {key: found for key, found in groups.items() if len(found) > 1}
    for (dataset, model), found in list(several.items())[:12]:
        title = f"{model} on {dataset}: {found[0].detail.measure}, size and speed"
        yield (
            title,
            trade_off_chart(
                [_spot(one) for one in found],
                measure=f"{found[0].detail.measure} {found[0].detail.unit}".strip(),
                title=title,
            ),
        )


def _spot(one: Judgement) -> Spot:
    detail, case = one.detail, one.verdict.case
    factor = 100.0 if detail.unit == "%" else 1.0
    assert detail.value is not None
    assert detail.file_bytes is not None
    return Spot(
        name=f"{case.method}@{case.engine}",
        size=detail.file_bytes / 1e6,
        value=detail.value * factor,
        before=None if detail.value_before is None else detail.value_before * factor,
        speed_up=detail.speed_up,
        kind=TONES[one.verdict.outcome],
    )
