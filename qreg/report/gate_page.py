"""The page of a run of the gate: what moved, worst first, with samples, layers and causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from qreg.checks.score import amount, step
from qreg.gate.report import next_command
from qreg.records.detail import CaseDetail
from qreg.records.verdict import Outcome, Verdict
from qreg.report.cards import Card, Tile, alone, card_markup, size_text, speed_up_text
from qreg.report.charts import Spot, trade_off_chart
from qreg.report.page import render

#: The note of a verdict that names the layer.
FIRST_LAYER = "first diverging layer: "
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
    judged: Sequence[tuple[Verdict, CaseDetail | None]],
    *,
    created: str,
    lines: Sequence[str] = (),
    title: str = "qreg: quantized models against their baselines",
) -> str:
    """The whole page.

    Args:
        lines: the summary of the run, as the terminal has it.
    """
    cases = [Judgement(one, detail or CaseDetail(one.case)) for one, detail in judged]
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
        cases=card_markup([_card(n, one) for n, one in enumerate(cases) if _shown(one)]),
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


def _shown(one: Judgement) -> bool:
    return one.verdict.outcome is not Outcome.PASS


def _card(number: int, one: Judgement) -> Card:
    verdict, detail = one.verdict, one.detail
    basis = (verdict.basis.reason,) if verdict.basis else ()
    weights = (f"weights: {verdict.weights}",) if verdict.weights else ()
    told = [note for note in verdict.notes if verdict.layer and note.startswith(FIRST_LAYER)]
    rest = tuple(note for note in verdict.notes if note not in told)
    return Card(
        number=number,
        case=verdict.case,
        badge=verdict.outcome.value,
        tone=TONES[verdict.outcome],
        under=(*basis, *weights),
        tiles=tuple(_tiles(one, told[0].removeprefix(FIRST_LAYER) if told else "")),
        detail=detail,
        order="lost ones first, the most clearly decided first"
        if verdict.moved
        else "the worst first",
        layer=verdict.layer,
        findings=verdict.findings,
        notes=(*rest, *verdict.data_notes, *detail.notes),
        command=next_command(verdict),
        trace=verdict.details,
    )


def _tiles(one: Judgement, told: str) -> Iterator[Tile]:
    verdict, detail = one.verdict, one.detail
    if figure := both(verdict) or alone(detail):
        yield Tile(detail.measure or "quality", figure, interval(verdict))
    if verdict.layer:
        yield Tile("first diverging layer", verdict.layer, told.removeprefix(verdict.layer).strip())
    if said := samples_text(one):
        accuracy, flips, more = verdict.accuracy, len(verdict.moved), ""
        if accuracy and flips:
            same = flips - accuracy.lost - accuracy.won
            more = f"{accuracy.lost} lost, {accuracy.won} won, {same} wrong before and now"
        yield Tile("samples", said.partition(" (")[0], more)
    if size := size_text(detail):
        speed = speed_up_text(detail)
        yield Tile("size", size, f"{speed} times as fast as fp32" if speed else "")


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
        "quality": quality(verdict) or alone(one.detail),
        "layer": verdict.layer,
        "samples": samples_text(one),
        "size": size_text(one.detail),
        "speed": speed_up_text(one.detail),
    }


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
