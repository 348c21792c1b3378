"""Charts as inline SVG: text and numbers in, markup out, whatever the names contain.

Colours are classes of the page's style sheet, so that charts follow light and dark. Each chart has
a title that screen readers say; what it draws is also in a table of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from qreg.records.detail import Histogram, LayerSqnr, View
from qreg.records.numerics import EQUAL_DB

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 26, 34
# A name in a chart; the whole one is in its tooltip.
_LONGEST = 32
Point = tuple[float, float]


@dataclass(frozen=True)
class _Frame:
    """Maps values to pixels of the chart's inside."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int = _WIDTH
    height: int = _HEIGHT

    def x(self, value: float) -> float:
        span = (self.x1 - self.x0) or 1.0
        return _LEFT + (value - self.x0) / span * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        span = (self.y1 - self.y0) or 1.0
        return self.height - _BOTTOM - (value - self.y0) / span * (self.height - _TOP - _BOTTOM)


def short(text: str, longest: int = _LONGEST) -> str:
    """A text that fits; its end is what distinguishes layers."""
    return text if len(text) <= longest else f"...{text[-longest + 3 :]}"


def svg(
    title: str, parts: Sequence[Markup], *, width: int = _WIDTH, height: int = _HEIGHT
) -> Markup:
    """The whole element."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, title, Markup("").join(parts))


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, kind, text
    )


def _line(a: Point, b: Point, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(
        *a, *b, kind
    )


def _path(points: Sequence[Point], kind: str) -> Markup:
    places = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Markup('<path d="M{}" class="{}"/>').format(places, kind)


def _dot(place: Point, kind: str, title: str, *, radius: float = 3) -> Markup:
    return Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="{}"><title>{}</title></circle>'
    ).format(*place, radius, kind, title)


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between two ends."""
    raw = (high - low) / count or 1.0
    size = 10.0 ** _floor_log10(raw)
    step = next(size * one for one in (1, 2, 5, 10) if size * one >= raw)
    first = int(low / step) - 1
    found = [round(one * step, 10) for one in range(first, first + 4 * count + 4)]
    return [one for one in found if low <= one <= high]


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _y_axis(frame: _Frame, unit: str) -> Iterator[Markup]:
    for tick in _ticks(frame.y0, frame.y1):
        y = frame.y(tick)
        yield _line((_LEFT, y), (frame.width - _RIGHT, y), "grid")
        yield _text(_LEFT - 6, y + 4, f"{tick:g}", anchor="end")
    yield _text(4, 14, unit)


def sqnr_chart(layers: Sequence[LayerSqnr], first: str, *, reference: str = "baseline") -> Markup:
    """SQNR (dB) of each layer in execution order, in the baseline and now.

    Args:
        first: the first diverging layer, which is marked.
        reference: what it was before, in words.
    """
    known = [v for one in layers for v in (one.before, one.now) if v is not None]
    usual = [value for value in known if abs(value) < EQUAL_DB]
    if not known:
        return Markup("")
    low, high = min([0.0, *usual]), max([10.0, *usual]) * 1.1
    frame = _Frame(0, max(1, len(layers) - 1), low, high)
    parts = list(_y_axis(frame, "SQNR dB (higher is better)"))
    marked = next((n for n, one in enumerate(layers) if one.name == first), None)
    if marked is not None:
        parts += _marked(frame, marked, first)
    for kind in ("before", "now"):
        values = [(n, getattr(one, kind)) for n, one in enumerate(layers)]
        for present, run in groupby(values, key=lambda pair: pair[1] is not None):
            if present:
                places = [(frame.x(n), frame.y(min(high, max(low, v)))) for n, v in run]
                parts.append(_path(places, f"line {kind}"))
    radius = 3.5 if len(layers) <= 40 else 2.0
    for n, one in enumerate(layers):
        if one.now is not None:
            place = frame.x(n), frame.y(min(high, max(low, one.now)))
            parts.append(_dot(place, "dot now", _sqnr_text(one), radius=radius))
    parts.append(_text(_LEFT, _HEIGHT - 10, f"first layer: {short(layers[0].name)}"))
    last = f"last: {short(layers[-1].name)}"
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 10, last, anchor="end"))
    if any(one.before is not None for one in layers):
        parts += _legend((("now", "now"), ("before", reference)))
    title = f"SQNR by layer; first diverging layer {first}" if first else "SQNR by layer"
    return svg(short(title, 200), parts)


def _marked(frame: _Frame, position: int, name: str) -> Iterator[Markup]:
    x = frame.x(position)
    yield _line((x, _TOP - 4), (x, _HEIGHT - _BOTTOM), "mark")
    right = x > _WIDTH * 0.6
    place = x - 6 if right else x + 6
    yield _text(
        place, _HEIGHT - _BOTTOM - 8, f"first diverging: {short(name)}",
        anchor="end" if right else "start", kind="marked",
    )  # fmt: skip


def _legend(entries: Sequence[tuple[str, str]]) -> Iterator[Markup]:
    x = float(_WIDTH - _RIGHT)
    for kind, text in reversed(entries):
        x -= 7.0 * len(text) + 36
        yield _line((x, 10), (x + 18, 10), f"line {kind}")
        yield _text(x + 23, 14, text)


def _sqnr_text(one: LayerSqnr) -> str:
    before, now = decibels_text(one.before), decibels_text(one.now)
    return f"{one.name} ({one.kind}): {before} in the baseline, now {now}"


def decibels_text(value: float | None) -> str:
    """An SQNR as text: "38.4 dB", "equal", "unknown"."""
    if value is None:
        return "unknown"
    if abs(value) >= EQUAL_DB:
        return "equal" if value > 0 else "no signal"
    return f"{value:.1f} dB"


def histogram_chart(histogram: Histogram) -> Markup:
    """Counts of the float model's values and of the quantized ones; what is clipped is marked."""
    # a logarithm, or the zeros of a ReLU would hide the rest
    most = math.log10(1 + max(1, *histogram.floating, *histogram.quantized))
    frame = _Frame(histogram.start, histogram.stop, 0.0, most * 1.05)
    parts: list[Markup] = []
    if histogram.range_now:
        parts += _clipped(frame, histogram)
    step = (histogram.stop - histogram.start) / len(histogram.floating)
    for kind, counts in (("floating", histogram.floating), ("quantized", histogram.quantized)):
        places = [(frame.x(histogram.start), frame.y(0))]
        for number, count in enumerate(counts):
            left, right = histogram.start + number * step, histogram.start + (number + 1) * step
            y = frame.y(math.log10(1 + count))
            places += [(frame.x(left), y), (frame.x(right), y)]
        places.append((frame.x(histogram.stop), frame.y(0)))
        parts.append(_path(places, f"area {kind}"))
    base = frame.y(0)
    parts.append(_line((_LEFT, base), (_WIDTH - _RIGHT, base), "axis"))
    for tick in _ticks(histogram.start, histogram.stop, 6):
        parts.append(_text(frame.x(tick), base + 14, f"{tick:g}", anchor="middle"))
    parts += _legend((("floating", "float model"), ("quantized", "quantized, now")))
    for power in range(1, int(most) + 1):
        y = frame.y(math.log10(1 + 10**power))
        parts.append(_line((_LEFT, y), (_WIDTH - _RIGHT, y), "grid"))
        parts.append(_text(_LEFT - 6, y + 4, f"{10**power:,}", anchor="end"))
    parts.append(_text(4, 14, "number of values (log scale)"))
    return svg(short(f"histogram of the {histogram.what} of {histogram.layer}", 200), parts)


def _clipped(frame: _Frame, histogram: Histogram) -> Iterator[Markup]:
    """The values beyond the representable ones, shaded; and the baseline's ends, dashed."""
    assert histogram.range_now is not None
    low, high = (min(histogram.stop, max(histogram.start, end)) for end in histogram.range_now)
    for left, right in ((histogram.start, low), (high, histogram.stop)):
        if right > left:
            yield Markup(
                '<rect x="{:.1f}" y="{}" width="{:.1f}" height="{:.1f}" class="clipped"/>'
            ).format(frame.x(left), _TOP, frame.x(right) - frame.x(left), frame.y(0) - _TOP)
    for end in histogram.range_before or ():
        if histogram.start < end < histogram.stop and histogram.range_before != histogram.range_now:
            yield _line((frame.x(end), _TOP), (frame.x(end), frame.y(0)), "line before")


def wave_chart(view: View, title: str) -> Markup:
    """A waveform: the range of values of each stretch of time."""
    width, height = 192, 64
    step = width / max(1, len(view.low))
    parts = []
    for number, (low, high) in enumerate(zip(view.low, view.high, strict=True)):
        x, middle = (number + 0.5) * step, height / 2
        a, b = middle - high * 0.3, middle - low * 0.3
        parts.append(_line((x, a - 0.5), (x, b + 0.5), "wave"))
    return svg(title, parts, width=width, height=height)


@dataclass(frozen=True)
class Spot:
    """One case in the picture of accuracy, size and speed.

    Attributes:
        name: of the method, said in the tooltip and the legend.
        size: MB.
        value: accuracy (%) or a task's summary; `before` in the baseline.
        speed_up: fp32's time over its own, None where it was not measured.
    """

    name: str
    size: float
    value: float
    before: float | None = None
    speed_up: float | None = None
    kind: str = ""


def trade_off_chart(spots: Sequence[Spot], *, measure: str, title: str) -> Markup:
    """Accuracy against size, the area of a circle says the speed-up; the baseline's hollow."""
    values = [v for s in spots for v in (s.value, s.before) if v is not None]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    room = (high - low) * 0.15 or max(1e-3, abs(high) * 0.02)
    frame = _Frame(0.0, max(s.size for s in spots) * 1.12 or 1.0, low - room, high + room)
    parts = list(_y_axis(frame, measure))
    base = _HEIGHT - _BOTTOM
    parts.append(_line((_LEFT, base), (_WIDTH - _RIGHT, base), "axis"))
    for tick in _ticks(frame.x0, frame.x1, 6):
        parts.append(_text(frame.x(tick), base + 14, f"{tick:g}", anchor="middle"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 4, "size of the file, MB", anchor="end"))
    for number, spot in enumerate(spots):
        parts += _spot(frame, spot, number)
    return svg(short(title, 200), parts)


def _spot(frame: _Frame, spot: Spot, number: int) -> Iterator[Markup]:
    place = frame.x(spot.size), frame.y(spot.value)
    radius = min(14.0, max(3.0, 5.0 * (spot.speed_up or 1.0) ** 0.5))
    if spot.before is not None and spot.before != spot.value:
        there = frame.x(spot.size), frame.y(spot.before)
        yield _line(there, place, "move")
        yield _dot(there, "hollow", f"{spot.name}: {spot.before:.2f} in the baseline", radius=4)
    speed = f", {spot.speed_up:.2f} times as fast as fp32" if spot.speed_up else ""
    text = f"{spot.name}: {spot.value:.2f}, {spot.size:.3f} MB{speed}"
    yield _dot(place, f"spot {spot.kind}", text, radius=radius)
    # names of neighbours are on alternating sides, so that they stay apart
    side = 1 if number % 2 else -1
    y = place[1] + side * (radius + (9 if side > 0 else 3))
    edge = "start" if place[0] < _WIDTH * 0.2 else "end" if place[0] > _WIDTH * 0.8 else "middle"
    yield _text(place[0], y, short(spot.name, 24), anchor=edge)


@dataclass(frozen=True)
class TrendPoint:
    """A value of a trend, what its tooltip says, its style, and whether something changed here."""

    value: float
    said: str
    kind: str
    marked: bool = False


@dataclass(frozen=True)
class Trend:
    """A series over time.

    Attributes:
        starts: indices of the first point of each new level.
        ends: the first and last date.
    """

    title: str
    unit: str
    points: tuple[TrendPoint, ...]
    starts: tuple[int, ...]
    ends: tuple[str, str]


def trend_chart(trend: Trend) -> Markup:
    """A small chart of a series: change points as lines, changes of the environment as dots."""
    values = [one.value for one in trend.points]
    low, high = min(values), max(values)
    room = (high - low) * 0.2 or max(0.5, abs(high) * 0.01)
    frame = _Frame(0, max(1, len(values) - 1), low - room, high + room, height=150)
    base = frame.height - _BOTTOM
    parts = list(_y_axis(frame, trend.unit))
    for start in trend.starts:
        x = (frame.x(start - 1) + frame.x(start)) / 2
        parts.append(_line((x, _TOP - 4), (x, base), "mark"))
        parts.append(_text(x + 4, _TOP + 6, "change", kind="marked"))
    places = [(frame.x(number), frame.y(value)) for number, value in enumerate(values)]
    parts.append(_path(places, "line trend"))
    for place, one in zip(places, trend.points, strict=True):
        if one.marked:
            parts.append(_line((place[0], base - 6), (place[0], base + 6), "axis"))
        parts.append(_dot(place, f"spot {one.kind}", one.said, radius=3.5))
    parts.append(_text(_LEFT, frame.height - 8, trend.ends[0]))
    parts.append(_text(_WIDTH - _RIGHT, frame.height - 8, trend.ends[1], anchor="end"))
    said = f"{len(trend.starts)} change points" if trend.starts else "no change point"
    return svg(short(f"{trend.title}: {said}", 300), parts, height=frame.height)


@dataclass(frozen=True)
class Interval:
    """A value with its interval; `kind` is its style."""

    name: str
    low: float
    value: float
    high: float
    kind: str = "info"


def interval_chart(intervals: Sequence[Interval], *, unit: str, title: str) -> Markup:
    """A row for each value with its interval, and a line at 0."""
    if not intervals:
        return Markup("")
    low, high = (
        min(0.0, *(one.low for one in intervals)),
        max(0.0, *(one.high for one in intervals)),
    )
    room = (high - low) * 0.06 or 1.0
    height, left = _TOP + 24 * len(intervals) + _BOTTOM, 230
    span = (high - low) + 2 * room

    def x(value: float) -> float:
        return left + (value - low + room) / span * (_WIDTH - left - _RIGHT)

    base = height - _BOTTOM
    parts = []
    for tick in _ticks(low - room, high + room, 5):
        parts.append(_line((x(tick), _TOP - 6), (x(tick), base), "axis" if tick == 0 else "grid"))
        parts.append(_text(x(tick), base + 16, f"{tick:g}", anchor="middle"))
    for number, one in enumerate(intervals):
        y = _TOP + 24 * number + 10.0
        parts.append(_text(left - 10, y + 4, short(one.name, 34), anchor="end"))
        said = f"{one.name}: {one.value:+.3g} ({one.low:+.3g} to {one.high:+.3g}) {unit}"
        parts.append(_line((x(one.low), y), (x(one.high), y), f"span {one.kind}"))
        parts.append(_dot((x(one.value), y), f"spot {one.kind}", said, radius=5))
    parts.append(_text(_WIDTH - _RIGHT, 14, unit, anchor="end"))
    return svg(short(title, 200), parts, height=height)
