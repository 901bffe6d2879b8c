"""Charts: what is drawn has the figures' proportions, and the table has the figures."""

from __future__ import annotations

from decimal import Decimal
from xml.etree import ElementTree

import pytest
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

from billing import charts, formats
from billing.charts import Series


def drawn(chart: charts.Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg)


def sample(first: list[int], second: list[int]) -> charts.Chart:
    return charts.bars(
        title="Payments",
        summary="Two days.",
        label_heading="Day",
        labels=["Mon", "Tue"],
        series=[Series("Portal", first), Series("AutoPay", second)],
    )


def test_bars_stand_on_each_other_in_proportion() -> None:
    bars = [bar.attrib for bar in drawn(sample([10, 20], [30, 0])).iter("rect")]
    assert len(bars) == 3  # nothing is drawn for nothing
    portal, autopay, tuesday = ({key: float(bar[key]) for key in ("x", "y", "height")} for bar in bars)
    assert autopay["height"] == pytest.approx(3 * portal["height"], abs=0.3)
    assert tuesday["height"] == pytest.approx(2 * portal["height"], abs=0.3)
    assert autopay["y"] + autopay["height"] == pytest.approx(portal["y"], abs=0.2)
    assert portal["x"] == autopay["x"] < tuesday["x"]


def test_a_chart_says_what_it_shows_and_has_its_figures_as_a_table() -> None:
    chart = charts.bars(
        title="Payments <by> day",
        summary="All & more.",
        label_heading="Day",
        labels=["Mon"],
        words=lambda figure: formats.money(Decimal(figure), "USD", language="en"),
        series=[Series("Portal", [Decimal("1000.50")]), Series("AutoPay", [Decimal("0.25")])],
    )
    tree = drawn(chart)
    assert tree.findtext("title") == "Payments <by> day"
    assert tree.findtext("desc") == "All & more."
    assert tree.attrib["role"] == "img"
    assert [title.text for title in tree.iter("title")][1:] == ["Mon: Portal $1,000.50", "Mon: AutoPay $0.25"]
    assert chart.table == [("Mon", ["$1,000.50", "$0.25"], "$1,000.75")]
    page = render_to_string("components/chart.html", {"chart": chart})
    assert '<td class="text-end money">$1,000.75</td>' in page
    assert "style=" not in page
    assert "<script" not in page
    assert "Payments &lt;by&gt; day" in page


def test_the_parts_of_a_whole_fill_it() -> None:
    chart = charts.outcome(
        title="Run",
        summary="",
        label_heading="Outcome",
        series=[
            Series("Taken", [75], "good"),
            Series("Declined", [20], "bad"),
            Series("Open", [5], "quiet"),
            Series("None", [0]),
        ],
    )
    bars = list(drawn(chart).iter("rect"))
    assert [bar.attrib["class"] for bar in bars] == ["tone-good", "tone-bad", "tone-quiet"]
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert sum(widths) == pytest.approx(760, abs=0.5)
    assert widths[0] == pytest.approx(570, abs=0.2)


def test_lines_run_through_every_figure() -> None:
    chart = charts.lines(
        title="T", summary="", label_heading="Hour", labels=["1", "2", "3"], series=[Series("Median", [0.5, 1.0, 0.0])]
    )
    points = [
        tuple(map(float, pair.split(","))) for pair in next(drawn(chart).iter("polyline")).attrib["points"].split()
    ]
    assert points[1][1] < points[0][1] < points[2][1]
    assert chart.table == [("1", ["0.5"], ""), ("2", ["1.0"], ""), ("3", ["0.0"], "")]


def test_a_series_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="AutoPay has 1 figures for 2 labels"):
        sample([1, 2], [1])


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_whatever_the_figures_the_drawing_stays_within_its_frame(figures: list[int]) -> None:
    labels = [str(number) for number in range(len(figures))]
    chart = charts.bars(title="T", summary="", label_heading="L", labels=labels, series=[Series("S", figures)])
    for bar in drawn(chart).iter("rect"):
        x, y, width, height = (float(bar.attrib[key]) for key in ("x", "y", "width", "height"))
        assert 63 <= x <= x + width <= 753
        assert 9.9 <= y <= y + height <= 202.6
