"""Pages for developers, under ``DEBUG`` alone: every part of the shared look, with samples that are not stored."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import django_filters
from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import charts, formats, lists, statuses
from billing.forms import DayField, MoneyField, PhoneField
from billing.models import Biller, Customer, User

NOW = datetime(2026, 11, 22, 19, 30, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
_NAMES = (
    "Alma Reyes",
    "Bernard Okafor",
    "Mrs Jones",
    "Lucía Hernández",
    "O’Neill & Sons",
    "Pham Minh Tuấn",
    "=SUM(A1)",
    "Grace Lindqvist",
)


def _frame(request: HttpRequest, **context: Any) -> dict[str, Any]:
    timezone.activate(ZONE)
    accent = "#" + (request.GET.get("accent") or "0b6e4f")
    biller = Biller(
        name="Maple Falls Utilities",
        slug="maple-falls",
        accent=accent,
        phone="+15555550142",
        email="bills@maplefalls.example",
    )
    return {"biller": biller, "user": User(name="Dana Whitfield", email="dana@maplefalls.example"), **context}


def _customer() -> Customer:
    return Customer(
        pk=7,
        number="104-20",
        display_number="104-20",
        name="Lucía Hernández",
        address1="18 Mill Race Lane",
        city="Maple Falls",
        state="VT",
        zip="05601",
        phone="+15555550123",
        email="lucia@example.com",
        balance=Decimal("-12.40"),
    )


class SampleFilters(lists.Filters):
    """Filters of the sample list."""

    q = django_filters.CharFilter(label=_("Search"), field_name="name", lookup_expr="icontains")
    type = lists.AnyOf(
        label=_("Update"),
        field_name="status",
        choices=[("payment", "Payment"), ("autopay", "AutoPay"), ("paperless", "Paperless")],
    )
    state = lists.AnyOf(label=_("Status"), choices=statuses.choices("record"))
    start = lists.FromDay(label=_("From"), field_name="created_at")
    end = lists.ToDay(label=_("To"), field_name="created_at")
    periods = (("start", "end"),)


_STATES: tuple[tuple[str, object], ...] = (
    ("delivered", None),
    ("retrying", NOW),
    ("waiting", None),
    ("failed", None),
    ("on_hold", None),
    ("withheld", "no service location"),
    ("skipped", "Dana Whitfield"),
    ("sending", None),
)
_SAMPLES = [
    Customer(
        pk=900 - n, name=_NAMES[n % 8], number=f"{104 + n % 40}-{n % 7:02}", created_at=NOW - timedelta(minutes=17 * n)
    )
    for n in range(143)
]


class SampleList(lists.ListPage[Customer]):
    """A list over sample rows."""

    name, title, section = "sample", "DataPump history", "datapump"
    filters = SampleFilters
    orders = (
        lists.Order("newest", _("Newest first"), ("-created_at", "-id")),
        lists.Order("oldest", _("Oldest first"), ("created_at", "id")),
    )
    columns = (
        lists.Moment("when", _("When"), "created_at"),
        lists.Link("account", _("Account"), lambda c: f"{c.number} {c.name}", url=lambda c: "#main"),
        lists.Column("update", _("Update"), lambda c: ("Payment", "AutoPay on", "Paperless on")[c.pk % 3]),
        lists.Column("change", _("What changed"), lambda c: "" if c.pk % 3 == 0 else "off → on"),
        lists.Column("by", _("Made by"), lambda c: ("Payer", "Dana Whitfield", "System")[c.pk % 3]),
        lists.Tag(
            "status", _("Status"), lambda c: _STATES[c.pk % 8][0], noun="record", detail=lambda c: _STATES[c.pk % 8][1]
        ),
        lists.Number("attempts", _("Attempts"), lambda c: c.pk % 4),
        lists.Amount(
            "amount",
            _("Amount"),
            lambda c: Decimal(c.pk) * 7 / 4 if c.pk % 3 == 0 else None,
            currency="biller.currency",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give no rows: the samples are not stored."""
        return Customer.objects.none()

    def fetch(self, queryset: Any, *, order: Sequence[str], bound: lists.Bound | None, limit: int) -> list[Customer]:
        """Give sample rows in the order."""
        falling = order[0].startswith("-")
        rows = sorted(_SAMPLES, key=lambda c: (c.created_at, c.pk), reverse=falling)
        for row in rows:
            row.biller = Biller(currency="USD")
        if bound:
            rows = [
                c
                for c in rows
                if ((c.created_at, c.pk) < bound.values if falling else (c.created_at, c.pk) > bound.values)
            ]
        return rows[:limit]

    def count(self, queryset: Any, most: int) -> int:
        """Count the samples."""
        return min(len(_SAMPLES), most)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give the frame."""
        return _frame(request)


class SampleForm(forms.Form):
    """A form with every kind of field."""

    amount = MoneyField(
        label="Amount to pay", currency="USD", least=Decimal("5.00"), help_text="Your balance is $84.10."
    )
    name = forms.CharField(label="Name on the account", widget=forms.TextInput(attrs={"autocomplete": "name"}))
    email = forms.EmailField(
        label="E-mail for the receipt", required=False, widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    phone = PhoneField(label="Mobile number")
    on = DayField(label="Pay on")
    method = forms.ChoiceField(
        label="Payment method",
        widget=forms.RadioSelect,
        choices=[
            ("card", "Visa •••• 4242, expires 08/28"),
            ("bank", "Checking •••• 6789"),
            ("new", "A new card or bank account"),
        ],
    )
    reason = forms.ChoiceField(label="Reason", choices=[("", "Choose one"), ("a", "Caller asked"), ("b", "Correction")])
    note = forms.CharField(label="Note", required=False, widget=forms.Textarea(attrs={"rows": 2}))
    agree = forms.BooleanField(
        label="I agree that this amount is charged today", help_text="You get a receipt by e-mail."
    )


def _chart_samples() -> list[charts.Chart]:
    days = [formats.day(date(2026, 11, n)).removesuffix(", 2026") for n in range(9, 23)]

    def dollars(figure: charts.Figure) -> str:
        return formats.money(Decimal(str(figure)), "USD")

    return [
        charts.bars(
            title="Payments by day and channel",
            summary="$58,120.00 in 14 days; most of it by AutoPay on the 15th.",
            label_heading="Day",
            labels=days,
            words=dollars,
            axis_words=lambda f: f"${f:,.0f}",
            series=[
                charts.Series(
                    "AutoPay",
                    [Decimal(n) for n in (900, 1100, 800, 950, 1200, 1300, 9400, 2100, 1500, 900, 800, 1000, 950, 700)],
                ),
                charts.Series(
                    "Customer portal",
                    [
                        Decimal(n)
                        for n in (1400, 1350, 1290, 1500, 1800, 2100, 2600, 1900, 1750, 1500, 1350, 1290, 1400, 1100)
                    ],
                ),
                charts.Series(
                    "Biller portal",
                    [Decimal(n) for n in (420, 380, 510, 440, 300, 0, 0, 610, 540, 480, 390, 410, 0, 0)],
                ),
            ],
        ),
        charts.outcome(
            title="Collection run of Nov 22",
            summary="1,962 of 2,000 payments were taken.",
            label_heading="Outcome",
            series=[
                charts.Series("Taken", [1962], "good"),
                charts.Series("Declined", [26], "bad"),
                charts.Series("Outcome unknown", [3], "warning"),
                charts.Series("Not yet", [9], "quiet"),
            ],
        ),
        charts.lines(
            title="DataPump delivery",
            summary="Half of the updates arrive within 0.4 s, 95 % within 1.8 s.",
            label_heading="Hour",
            labels=[f"{h} am" if h < 12 else f"{h - 12 or 12} pm" for h in range(6, 18)],
            words=lambda f: f"{f} s",
            series=[
                charts.Series("Median", [0.3, 0.4, 0.4, 0.5, 0.4, 0.3, 0.4, 0.6, 0.4, 0.4, 0.3, 0.3]),
                charts.Series("95 %", [0.9, 1.1, 1.2, 1.8, 1.4, 1.0, 1.1, 2.4, 1.6, 1.2, 1.0, 0.9]),
            ],
        ),
    ]


def overview(request: HttpRequest) -> HttpResponse:
    """Draw the parts of the biller portal."""
    form = (
        SampleForm({"amount": "3", "phone": "12"})
        if "errors" in request.GET
        else SampleForm(initial={"amount": Decimal("84.10")})
    )
    context = _frame(
        request,
        title="Style guide",
        section="search",
        form=form,
        all_statuses=[
            (noun, [(value, words) for value, words in statuses.choices(noun)]) for noun in statuses.STATUSES
        ],
        customer=_customer(),
        charts=_chart_samples(),
        now=NOW,
        tabs=[
            {"label": "Overview", "url": "#main", "current": True},
            {"label": "Bills", "url": "#main", "count": 14},
            {"label": "Payments", "url": "#main", "count": 1203},
            {"label": "DataPump", "url": "#main", "count": 0},
            {"label": "History", "url": "#main"},
        ],
        flags=[
            {"label": "AutoPay", "tone": "good", "icon": "arrow-path"},
            {"label": "Paperless", "tone": "good", "icon": "envelope"},
            {"label": "Card payments blocked", "tone": "bad", "icon": "no-symbol"},
        ],
        stats=[
            {"label": "Failed updates", "value": "3", "note": "oldest 2 hours", "url": "#main", "tone": "bad"},
            {"label": "Unresolved attempts", "value": "0"},
            {"label": "Paid today", "value": "$12,480.22", "note": "184 payments"},
            {"label": "AutoPay tomorrow", "value": "$31,009.00", "note": "412 bills"},
        ],
        facts=[
            ("Service address", "18 Mill Race Lane"),
            ("Service location", "SL-10420"),
            ("AutoPay since", formats.day(NOW)),
            ("Phone", ""),
        ],
        rows=[
            ("Account", "104-20 Lucía Hernández", ""),
            ("Amount", "$84.10", "#main"),
            ("Method", "Visa •••• 4242", "#main"),
            ("Fee", "None", ""),
        ],
        progress={
            "label": "Loading bills-2026-11.csv",
            "done": 1240,
            "total": 2000,
            "words": "1,240 of 2,000 bills, $104,220.10",
            "live": False,
        },
        entries=[
            {
                "at": NOW,
                "text": "AutoPay turned on",
                "who": "Dana Whitfield (CSR)",
                "tone": "good",
                "icon": "arrow-path",
            },
            {
                "at": NOW - timedelta(hours=3),
                "text": "Payment of $84.10 declined",
                "detail": "The card has expired. No money has been taken.",
                "who": "AutoPay",
                "tone": "bad",
                "icon": "x-circle",
            },
            {
                "at": NOW - timedelta(days=2),
                "text": "Bill 20261120-7 of $84.10 arrived",
                "who": "File 1042",
                "icon": "document-text",
            },
        ],
    )
    return render(request, "styleguide/overview.html", context)


def payer(request: HttpRequest) -> HttpResponse:
    """Draw the parts of the customer portal."""
    form = (
        SampleForm({"amount": "", "phone": "12"})
        if "errors" in request.GET
        else SampleForm(initial={"amount": Decimal("84.10")})
    )
    rows = [
        ("Account", "104-20", ""),
        ("Amount", "$84.10", "#main"),
        ("Payment method", "Visa •••• 4242", "#main"),
        ("Fee", "None", ""),
    ]
    context = _frame(
        request,
        title="Pay your bill",
        section="home",
        form=form,
        customer=_customer(),
        now=NOW,
        rows=rows,
        steps=["Amount", "Method", "Review", "Done"],
        viewing_as="Lucía Hernández" if "as" in request.GET else "",
    )
    return render(request, "styleguide/payer.html", context)


def receipt(request: HttpRequest) -> HttpResponse:
    """Draw a receipt."""
    context = _frame(
        request,
        title="Receipt",
        customer=_customer(),
        now=NOW,
        confirmation=str(uuid.UUID(int=0x019AB3C9D21F04A << 68))[:17],
    )
    return render(request, "styleguide/receipt.html", context)


def question(request: HttpRequest) -> HttpResponse:
    """Draw a question before something is done."""
    context = _frame(
        request,
        title="Send 412 updates again?",
        section="datapump",
        danger=True,
        button="Send 412 updates again",
        back_url=reverse("styleguide"),
        question="412 failed updates match your filters.",
        warning="The biller’s system may already have some of these updates.",
        rows=[("Updates", "412", ""), ("Oldest", "Nov 20, 2026, 9:14 am ET", "")],
    )
    return render(request, "biller_portal/confirm.html", context)


urlpatterns = [
    path("", overview, name="styleguide"),
    path("list/", SampleList.as_view(), name="styleguide-list"),
    path("payer/", payer, name="styleguide-payer"),
    path("receipt/", receipt, name="styleguide-receipt"),
    path("question/", question, name="styleguide-question"),
]
