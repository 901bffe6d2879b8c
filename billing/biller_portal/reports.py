"""Reports: daily totals that add up to three books, payments by channel, ageing of receivables, AutoPay ahead."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from billing import charts, formats, lists, reports
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.links import url_if_any
from billing.money import ZERO
from billing.permissions import Permission
from payments.models import Channel, Tender
from payments.reports.daily_totals import DayCheck, Total, day_checks
from payments.reports.daily_totals import daily_totals as totals_by_day
from payments.reports.forecasts import autopay_forecast
from payments.reports.payments import by_day_and_channel

TABS = (
    ("Daily totals", "biller-reports"),
    ("Payments by channel", "biller-report-channels"),
    ("Ageing", "biller-report-ageing"),
    ("AutoPay forecast", "biller-report-forecast"),
)
LONGEST = 366


class PeriodForm(forms.Form):
    """From when to when, both days included."""

    start = forms.DateField(
        label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    end = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))

    def clean(self) -> dict[str, Any]:
        """Hold the period together."""
        given = super().clean() or self.cleaned_data
        start, end = given.get("start"), given.get("end")
        if start and end and end < start:
            self.add_error("end", "End date must be after start date")
        elif start and end and (end - start).days > LONGEST:
            self.add_error("end", "Choose at most a year at once")
        return given


@dataclass(frozen=True, slots=True)
class Period:
    """The days of a report, both included, and the form that chose them."""

    start: datetime.date
    end: datetime.date
    form: PeriodForm
    good: bool


def period(request: BillerRequest, first: datetime.date, last: datetime.date) -> Period:
    """Read the period from the address; days that are left out are ``first`` and ``last``."""
    form = PeriodForm(request.GET or None, initial={"start": first, "end": last})
    if form.is_bound and not form.is_valid():
        return Period(first, last, form, good=False)
    given = form.cleaned_data if form.is_bound else {}
    start, end = given.get("start") or first, given.get("end") or last
    if given.get("start") and not given.get("end"):
        end = max(end, start)
    if given.get("end") and not given.get("start"):
        start = min(start, end)
    if (end - start).days > LONGEST:
        start = end - datetime.timedelta(days=LONGEST)
    form = form if form.is_bound else PeriodForm(initial={"start": start, "end": end})
    return Period(start, end, form, good=True)


@biller_page(Permission.VIEW)
def daily_totals(request: BillerRequest) -> HttpResponseBase:
    """Draw what came in by business day, route and tender from the journal, and hold it against the other books."""
    biller = request.biller
    today = biller.business_date(timezone.now())
    days = period(request, today - datetime.timedelta(days=13), today)
    totals = totals_by_day(biller=biller, start=days.start, end=days.end) if days.good else []
    if request.GET.get("format") == "csv" and days.good:
        heads = ("business_day", "route", "tender", "payments", "amount", "fees", "taken", "went_back", "currency")
        rows = (
            (one.day, one.route, one.tender, one.count, one.amount, one.fees, one.taken, one.back, one.currency)
            for one in totals
        )
        return _csv("daily-totals", heads, rows)
    checks = day_checks(biller=biller, start=days.start, end=days.end) if days.good else []
    tenders = dict(Tender.choices)
    context = {
        "days_shown": _by_day(totals, checks, tenders),
        "count": sum(one.count for one in totals),
        "amount": sum((one.amount for one in totals), ZERO),
        "fees": sum((one.fees for one in totals), ZERO),
        "taken": sum((one.taken for one in totals), ZERO),
        "back": sum((one.back for one in totals), ZERO),
        "disagree": [one for one in checks if not one.agrees],
        "coming": sum(one.coming_count for one in checks),
        "told": sum((one.told for one in checks), ZERO),
        "told_count": sum(one.told_count for one in checks),
        "cut_off": "" if biller.cut_off == datetime.time(0, 0) else _clock(biller.cut_off),
        "datapump_url": url_if_any("biller-datapump"),
    }
    return _page(request, "daily_totals", "biller-reports", "Daily totals", days, **context)


def _by_day(totals: Sequence[Total], checks: Sequence[DayCheck], tenders: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for check in checks:
        lines = [
            {
                "route": one.route or "No route",
                "tender": tenders.get(one.tender, one.tender),
                "count": one.count,
                "amount": one.amount,
                "fees": one.fees,
                "taken": one.taken,
                "back": one.back,
            }
            for one in totals
            if one.day == check.day
        ]
        back = sum((one.back for one in totals if one.day == check.day), ZERO)
        shown.append({"check": check, "lines": lines, "rows": len(lines) + 1, "back": back})
    return shown


@biller_page(Permission.VIEW)
def channels(request: BillerRequest) -> HttpResponseBase:
    """Draw payments by day and channel."""
    biller = request.biller
    today = timezone.localdate()
    days = period(request, today - datetime.timedelta(days=13), today)
    found = by_day_and_channel(biller=biller, start=days.start, end=days.end) if days.good else {}
    used = sorted({channel for _, channel in found})
    every = [days.start + datetime.timedelta(days=n) for n in range((days.end - days.start).days + 1)]
    if request.GET.get("format") == "csv" and days.good:
        rows = ((day, Channel(channel).label, *found[day, channel]) for day, channel in sorted(found))
        return _csv("payments-by-channel", ("day", "channel", "payments", "amount"), rows)
    totals: list[dict[str, Any]] = [
        {
            "label": Channel(channel).label,
            "count": sum(count for (_, one), (count, _amount) in found.items() if one == channel),
            "amount": sum((amount for (_, one), (_count, amount) in found.items() if one == channel), ZERO),
        }
        for channel in used
    ]
    count, amount = sum(one["count"] for one in totals), sum((one["amount"] for one in totals), ZERO)
    chart = charts.bars(
        title="Payments by day and channel",
        summary=f"{formats.money(amount, biller.currency)} in {formats.number(count)} payments.",
        label_heading="Day",
        labels=[_short(day) for day in every],
        words=lambda figure: formats.money(Decimal(figure), biller.currency),
        axis_words=lambda figure: f"{formats.money(Decimal(figure), biller.currency).removesuffix('.00')}",
        series=[
            charts.Series(Channel(channel).label, [found.get((day, channel), (0, ZERO))[1] for day in every])
            for channel in used
        ],
    )
    context = {"chart": chart if found else None, "totals": totals, "count": count, "amount": amount}
    return _page(request, "channels", "biller-report-channels", "Payments by channel", days, **context)


@biller_page(Permission.VIEW)
def ageing(request: BillerRequest) -> HttpResponseBase:
    """Draw the open receivables by how long they are past due."""
    biller = request.biller
    bands, credit = reports.ageing(biller=biller, today=timezone.localdate())
    if request.GET.get("format") == "csv":
        return _csv(
            "ageing", ("band", "items", "amount"), ((one.label, one.count, one.total) for one in (*bands, credit))
        )
    owed = sum((one.total for one in bands), ZERO)
    late = sum((one.total for one in bands[1:]), ZERO)
    chart = charts.bars(
        title="Ageing of receivables",
        summary=f"{formats.money(late, biller.currency)} of {formats.money(owed, biller.currency)} is past due.",
        label_heading="Past due",
        labels=[one.label for one in bands],
        words=lambda figure: formats.money(Decimal(figure), biller.currency),
        axis_words=lambda figure: f"{formats.money(Decimal(figure), biller.currency).removesuffix('.00')}",
        series=[charts.Series("Open", [one.total for one in bands])],
    )
    context = {
        "bands": bands,
        "credits": credit,
        "owed": owed,
        "net": owed + credit.total,
        "chart": chart if owed else None,
    }
    return _page(request, "ageing", "biller-report-ageing", "Ageing of receivables", None, **context)


@biller_page(Permission.VIEW)
def forecast(request: BillerRequest) -> HttpResponseBase:
    """Draw what AutoPay would collect on the next days."""
    biller = request.biller
    today = biller.business_date(timezone.now())
    days = period(request, today, today + datetime.timedelta(days=29))
    found = autopay_forecast(biller=biller, start=days.start, end=days.end) if days.good else []
    if request.GET.get("format") == "csv" and days.good:
        return _csv(
            "autopay-forecast",
            ("collection_day", "bills", "amount"),
            ((one.day, one.count, one.amount) for one in found),
        )
    amounts = {one.day: one.amount for one in found}
    every = [days.start + datetime.timedelta(days=n) for n in range((days.end - days.start).days + 1)]
    total = sum(amounts.values(), ZERO)
    chart = charts.bars(
        title="AutoPay ahead",
        summary=f"{formats.money(total, biller.currency)} for {formats.number(sum(one.count for one in found))} bills.",
        label_heading="Collection day",
        labels=[_short(day) for day in every],
        words=lambda figure: formats.money(Decimal(figure), biller.currency),
        axis_words=lambda figure: f"{formats.money(Decimal(figure), biller.currency).removesuffix('.00')}",
        series=[charts.Series("AutoPay", [amounts.get(day, ZERO) for day in every])],
    )
    context = {
        "found": found,
        "total": total,
        "count": sum(one.count for one in found),
        "chart": chart if found else None,
    }
    return _page(request, "forecast", "biller-report-forecast", "AutoPay forecast", days, **context)


def _page(
    request: BillerRequest, template: str, tab: str, title: str, days: Period | None, **context: Any
) -> HttpResponse:
    query = request.GET.copy()
    query["format"] = "csv"
    whole = {
        "title": title,
        "section": "reports",
        "tabs": [{"label": label, "url": reverse(name), "current": name == tab} for label, name in TABS],
        "currency": request.biller.currency,
        "csv_url": f"{request.path}?{query.urlencode()}",
        "days": days,
        "form": days.form if days else None,
        **context,
    }
    wrong = days is not None and not days.good
    return render(request, f"biller_portal/reports/{template}.html", whole, status=422 if wrong else 200)


def _csv(name: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """Give a report of some hundred lines as a file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([lists.csv_cell(value) for value in row] for row in rows)
    response = HttpResponse("\ufeff" + text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.localdate()}.csv"'
    return response


def _short(day: datetime.date) -> str:
    return formats.day(day).rpartition(",")[0]


def _clock(at: datetime.time) -> str:
    return formats.clock(datetime.datetime.combine(timezone.localdate(), at, tzinfo=timezone.get_current_timezone()))
