"""Small charts, drawn here as SVG: no script, no inline style, colours from the stylesheet by class.

Each chart carries a title, a sentence that says what it shows, and its figures as a table for those who read rather
than look. ``templates/components/chart.html`` draws one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

Figure = int | float | Decimal

_WIDTH, _HEIGHT = 760, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 28
COLOURS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One row of figures; ``tone`` is one of ``billing.statuses`` where its colour means something."""

    label: str
    figures: Sequence[Figure]
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart: ``svg`` for the eye, ``labels`` and ``series`` again as a table, ``legend`` of (class, label)."""

    title: str
    summary: str
    svg: SafeString
    label_heading: str
    labels: Sequence[str]
    series: Sequence[Series]
    legend: list[tuple[str, str]]
    words: Callable[[Figure], str] = field(repr=False)
    totals: bool = True

    @property
    def table(self) -> list[tuple[str, list[str], str]]:
        """Give the rows of the table: label, figures in words, their sum in words."""
        rows = []
        for index, label in enumerate(self.labels):
            figures = [series.figures[index] for series in self.series]
            rows.append(
                (label, [self.words(figure) for figure in figures], self.words(_sum(figures)) if self.totals else "")
            )
        return rows


def bars(
    *,
    title: str,
    summary: str,
    label_heading: str,
    labels: Sequence[str],
    series: Sequence[Series],
    words: Callable[[Figure], str] = lambda figure: f"{figure:,}",
    axis_words: Callable[[Figure], str] | None = None,
) -> Chart:
    """Draw upright bars, one a label, with the series stacked on each other: payments by day and channel.

    :raises ValueError: a series has not one figure for each label.
    """
    _check(labels, series)
    top, ticks = _scale(max((float(_sum([s.figures[i] for s in series])) for i in range(len(labels))), default=0.0))
    across = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    thick = min(across * 0.7, 48)
    shapes = []
    for index, label in enumerate(labels):
        foot = 0.0
        for number, one in enumerate(series):
            size = float(one.figures[index])
            if size <= 0:
                continue
            head = foot + size
            shapes.append(
                format_html(
                    '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
                    _class(one, number),
                    _f(_LEFT + across * index + (across - thick) / 2),
                    _f(_y(head, top)),
                    _f(thick),
                    _f(max(0.5, _y(foot, top) - _y(head, top))),
                    f"{label}: {one.label} {words(one.figures[index])}",
                )
            )
            foot = head
    drawn = _grid(top, ticks, axis_words or words) + _join(shapes) + _labels(labels, across)
    return _chart(title, summary, label_heading, labels, series, words, drawn)


def outcome(
    *,
    title: str,
    summary: str,
    label_heading: str,
    series: Sequence[Series],
    words: Callable[[Figure], str] = lambda figure: f"{figure:,}",
) -> Chart:
    """Draw one lying bar that shows the parts of a whole: how a collection run ended. Each series has one figure."""
    _check([title], series)
    whole = float(_sum([s.figures[0] for s in series])) or 1.0
    place, shapes = 0.0, []
    for number, one in enumerate(series):
        width = float(one.figures[0]) / whole * _WIDTH
        if width > 0:
            shapes.append(
                format_html(
                    '<rect class="{}" x="{}" y="0" width="{}" height="28"><title>{}</title></rect>',
                    _class(one, number),
                    _f(place),
                    _f(max(width, 1.5)),
                    f"{one.label}: {words(one.figures[0])}",
                )
            )
        place += width
    return _chart(title, summary, label_heading, [_("All")], series, words, _join(shapes), height=28)


def lines(
    *,
    title: str,
    summary: str,
    label_heading: str,
    labels: Sequence[str],
    series: Sequence[Series],
    words: Callable[[Figure], str] = lambda figure: f"{figure:,}",
) -> Chart:
    """Draw one line a series over the labels: delivery latency, hour by hour.

    :raises ValueError: a series has not one figure for each label.
    """
    _check(labels, series)
    top, ticks = _scale(max((float(f) for one in series for f in one.figures), default=0.0))
    across = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    shapes = []
    for number, one in enumerate(series):
        points = [(_LEFT + across * (i + 0.5), _y(float(figure), top)) for i, figure in enumerate(one.figures)]
        shapes.append(
            format_html(
                '<polyline class="{} line" points="{}"></polyline>',
                _class(one, number),
                " ".join(f"{_f(x)},{_f(y)}" for x, y in points),
            )
        )
        for label, figure, (x, y) in zip(labels, one.figures, points, strict=True):
            shapes.append(
                format_html(
                    '<circle class="{}" cx="{}" cy="{}" r="3"><title>{}</title></circle>',
                    _class(one, number),
                    _f(x),
                    _f(y),
                    f"{label}: {one.label} {words(figure)}",
                )
            )
    drawn = _grid(top, ticks, words) + _join(shapes) + _labels(labels, across)
    return _chart(title, summary, label_heading, labels, series, words, drawn, totals=False)


def _chart(
    title: str,
    summary: str,
    label_heading: str,
    labels: Sequence[str],
    series: Sequence[Series],
    words: Callable[[Figure], str],
    drawn: SafeString,
    *,
    height: int = _HEIGHT,
    totals: bool = True,
) -> Chart:
    svg = format_html(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="{}" role="img" aria-label="{}">'
        "<title>{}</title><desc>{}</desc>{}</svg>",
        "drawing" if height == _HEIGHT else "drawing drawing-flat",
        _WIDTH,
        height,
        "xMidYMid" if height == _HEIGHT else "none",
        f"{title}. {summary}",
        title,
        summary,
        drawn,
    )
    legend = [(_class(one, number), one.label) for number, one in enumerate(series)]
    return Chart(title, summary, svg, label_heading, labels, series, legend, words, totals and len(series) > 1)


def _check(labels: Sequence[str], series: Sequence[Series]) -> None:
    for one in series:
        if len(one.figures) != len(labels):
            raise ValueError(f"{one.label} has {len(one.figures)} figures for {len(labels)} labels.")


def _class(series: Series, number: int) -> str:
    return f"tone-{series.tone}" if series.tone else f"colour-{number % COLOURS + 1}"


def _scale(most: float) -> tuple[float, list[float]]:
    """Give the top of the axis and its ticks: three to five round steps that hold the largest figure."""
    if most <= 0:
        return 1.0, [0.0]
    rough = most / 4
    power: float = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough - 1e-12)
    count = math.ceil(most / step - 1e-9)
    return step * count, [step * index for index in range(count + 1)]


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP)


def _grid(top: float, ticks: list[float], words: Callable[[Figure], str]) -> SafeString:
    return format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"></line>'
        '<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>',
        (
            (
                _LEFT,
                _WIDTH - _RIGHT,
                _f(_y(tick, top)),
                _f(_y(tick, top)),
                _LEFT - 6,
                _f(_y(tick, top) + 4),
                words(_whole(tick)),
            )
            for tick in ticks
        ),
    )


def _labels(labels: Sequence[str], across: float) -> SafeString:
    # As many as fit without touching; the stylesheet leaves out the minor ones where the chart is narrow.
    every = max(1, math.ceil(64 / across)) if labels else 1
    return format_html_join(
        "",
        '<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (
                "axis" if index % (every * 3) == 0 else "axis axis-minor",
                _f(_LEFT + across * (index + 0.5)),
                _HEIGHT - 8,
                label,
            )
            for index, label in enumerate(labels)
            if index % every == 0
        ),
    )


def _whole(value: float) -> Figure:
    return int(value) if value == int(value) else value


def _sum(figures: Sequence[Figure]) -> Figure:
    total: Figure = Decimal(0) if any(isinstance(figure, Decimal) for figure in figures) else 0
    for figure in figures:
        total = total + figure  # type: ignore[operator]  # figures of one chart are all of one type
    return total


def _join(shapes: list[SafeString]) -> SafeString:
    return format_html_join("", "{}", ((shape,) for shape in shapes))


def _f(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
