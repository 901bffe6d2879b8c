"""The demonstration's own pages: what runs and who can sign in, and the other side of each wire.

They are open to whoever reaches them, because the demonstration runs on one machine and nothing in it is real; they are
not there at all unless ``DEMO=1``.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from billing import formats, tenancy
from billing.models import Biller, Customer, GuestSecret
from config.demo import people, towns
from config.demo.doors import Door, Processor, SimulatorError, Simulators
from config.demo.forms import MethodForm, ProcessorForm, fault_forms
from payments.gateways.test_numbers import ACCOUNTS, CARDS
from payments.models import Instrument

NEWEST = 20
_ACCOUNTS_TO_TRY = 3


@never_cache
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    """Show what runs, who can sign in with the codes of this moment, and cards to try."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.filter(slug__in=[town.slug for town in towns.TOWNS]).order_by("number"))
        guests = [_guests(biller) for biller in billers]
    simulators = Simulators.of_settings()
    return render(
        request,
        "demo/overview.html",
        {
            "title": "Demonstration",
            "section": "overview",
            "places": _places(),
            "simulators": [_standing(one.door) for one in simulators.all()],
            "sign_ins": people.sign_ins(),
            "seconds": people.seconds_left() + 1,
            "guests": guests,
            "cards": list(CARDS.values()),
            "accounts": list(ACCOUNTS.values()),
            "mail": getattr(settings, "EMAIL_FILE_PATH", ""),
        },
    )  # fmt: skip


def _places() -> list[tuple[str, str, str]]:
    return [
        ("Customer portal", "/", "Pay a bill as a guest, or sign in as a payer."),
        (
            "Biller portal",
            reverse("biller-search"),
            "Search first; accounts, payments, runs, DataPump history, reports.",
        ),
        ("Telephone", reverse("demo-phone"), "Text with a biller as a payer does, from any of several phones."),
        (
            "Red Mesa’s own portal",
            reverse("demo-portal"),
            "Arrive at Ratepayer from there without a second sign-in, and go back.",
        ),
        ("Administration", reverse("admin:index"), "Billers, routes, reason codes, beat’s schedules."),
        ("API", reverse("api-docs"), "For machines; the demonstration’s key was printed when it was made."),
        ("Health", reverse("health"), "What a load balancer asks."),
    ]


def _standing(door: Door) -> dict[str, Any]:
    try:
        door.ask("/control")
    except SimulatorError:
        return {"name": door.name, "url": door.url, "well": False}
    return {"name": door.name, "url": door.url, "well": True}


def _guests(biller: Biller) -> dict[str, Any]:
    """Give a few accounts that owe something, with what a guest must know of them."""
    secret = {GuestSecret.ZIP: "zip", GuestSecret.PHONE: "phone"}.get(GuestSecret(biller.guest_secret), "")
    owing = Customer.objects.filter(biller=biller, balance__gt=0, blocks_card=False, blocks_bank=False)
    if secret:
        owing = owing.exclude(**{secret: ""})
    owing = owing.filter(autopay_enrolments__isnull=True).order_by("pk")
    return {
        "biller": biller,
        "url": reverse("customer-find", args=[biller.slug]),
        "secret": biller.get_guest_secret_display(),
        "accounts": [
            {"number": one.shown_number, "name": one.name, "balance": one.balance, "secret": _secret(one, secret)}
            for one in owing[:_ACCOUNTS_TO_TRY]
        ],
    }


def _secret(customer: Customer, field: str) -> str:
    return customer.zip if field == "zip" else customer.phone[-4:] if field == "phone" else ""


# --- The processor ---------------------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def processor(request: HttpRequest) -> HttpResponse:
    """Show the simulated processor's book and its switches; POST sets the switches."""
    door = Simulators.of_settings().processor
    try:
        switches = door.switches()
        if request.method != "POST":
            return _processor_page(request, door, switches)
        form, faults = ProcessorForm(request.POST), fault_forms(switches, request.POST)
        # Each form looks at its own fields, so that every error is found.
        if not all([form.is_valid(), *(one.is_valid() for one in faults)]):
            return _processor_page(request, door, switches, form=form, faults=faults, status=422)
        door.change(**form.changes(), faults={one.name: one.setting() for one in faults})
    except SimulatorError as error:
        return silent(request, "The processor", "processor", error)
    messages.success(request, "The processor’s switches are set.")
    return redirect("demo-processor")


@require_POST
def heal_processor(request: HttpRequest) -> HttpResponse:
    """Switch every fault of the processor off."""
    try:
        Simulators.of_settings().processor.change(heal=True, duplicate_detection=True)
    except SimulatorError as error:
        return silent(request, "The processor", "processor", error)
    messages.success(request, "The processor does everything right again.")
    return redirect("demo-processor")


@require_POST
def change_methods(request: HttpRequest) -> HttpResponse:
    """Let the cards and bank accounts of one account behave otherwise from now on."""
    door = Simulators.of_settings().processor
    try:
        switches = door.switches()
        form = MethodForm(request.POST, outcomes=switches["outcomes"])
        if form.is_valid():
            with tenancy.acting_for(tenancy.EVERY_BILLER):
                kept = Instrument.objects.filter(customer__number=form.cleaned_data["account"]).on_file()
                tokens = list(kept.values_list("token", flat=True))
            if not tokens:
                form.add_error("account", "This account has no method on file. Enter another number.")
        if not form.is_valid():
            return _processor_page(request, door, switches, methods=form, status=422)
        changed = door.change_tokens(dict.fromkeys(tokens, form.cleaned_data["outcome"]))
    except SimulatorError as error:
        return silent(request, "The processor", "processor", error)
    messages.success(request, f"Methods that do something else from now on: {len(changed)}.")
    return redirect("demo-processor")


def _processor_page(
    request: HttpRequest,
    door: Processor,
    switches: Mapping[str, Any],
    *,
    form: ProcessorForm | None = None,
    faults: Sequence[Any] | None = None,
    methods: MethodForm | None = None,
    status: int = 200,
) -> HttpResponse:
    book = door.book()
    initial = {name: switches[name] for name in ("duplicate_detection", "cvv_fails", "avs")}
    forms = [form or ProcessorForm(initial=initial), *(faults or fault_forms(switches)),
             methods or MethodForm(outcomes=switches["outcomes"])]  # fmt: skip
    context = {
        "title": "The simulated processor",
        "section": "processor",
        "stats": _processor_stats(book),
        "totals": [{**one, "amount": Decimal(one["amount"])} for one in book["totals"]],
        "rows": [_charge(row, switches["messages"]) for row in sorted(book["rows"], key=_last, reverse=True)[:NEWEST]],
        "form": forms[0],
        "faults": forms[1:-1],
        "methods": forms[-1],
        "forms": forms,
        "misbehaves": bool(switches["faults"]),
        "still": "still" in request.GET,
    }
    return render(request, "demo/processor.html", context, status=status)


def _processor_stats(book: Mapping[str, Any]) -> list[dict[str, Any]]:
    charged: dict[str, Decimal] = {}
    for one in book["totals"]:
        charged[one["currency"]] = charged.get(one["currency"], Decimal(0)) + Decimal(one["amount"])
    amounts = " ".join(formats.money(amount, currency) for currency, amount in charged.items())
    twice = book["charged_twice"]
    return [
        {"label": "Charged", "value": formats.number(sum(one["payments"] for one in book["totals"]))},
        {"label": "Amount", "value": amounts or "–"},
        {"label": "Charged twice", "value": formats.number(twice), "tone": "bad" if twice else "good"},
        {"label": "Requests held back", "value": formats.number(book["held"])},
    ]


def _last(row: Mapping[str, Any]) -> str:
    return str(row["last_at"])


def _charge(row: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    return {
        **row,
        "amount": Decimal(row["amount"]),
        "at": datetime.datetime.fromisoformat(row["last_at"]),
        "said": words.get(row["code"], row["code"]),
        "good": row["times_charged"] == 1,
    }


def silent(request: HttpRequest, title: str, section: str, error: SimulatorError) -> HttpResponse:
    """Say that a simulator does not answer, or refuses."""
    return render(request, "demo/silent.html", {"title": title, "section": section, "error": str(error)}, status=503)
