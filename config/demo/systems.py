"""The billers' own systems in the browser: the simulated CIS, and the simulated receiver of webhooks.

Their books, and the rules by which they misbehave.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from billing import formats
from config.demo import towns
from config.demo.books import PAYMENT_EVENT
from config.demo.doors import Cis, Receiver, SimulatorError, Simulators
from config.demo.forms import EVENTS, OPERATIONS, LeftForm, RuleForm
from config.demo.pages import NEWEST, silent

# --- The CIS ---------------------------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cis(request: HttpRequest) -> HttpResponse:
    """Show what the simulated CIS has heard, and the rules by which it misbehaves; POST adds one."""
    door = Simulators.of_settings().cis
    try:
        switches = door.switches()
        if request.method != "POST":
            return _cis_page(request, door, switches)
        form = _operation_rule(switches, request.POST)
        if not form.is_valid():
            return _cis_page(request, door, switches, form=form, status=422)
        door.change([*_rules(switches), form.rule()], seed=switches["seed"])
    except SimulatorError as error:
        return silent(request, "The biller’s system", "cis", error)
    messages.success(request, "The rule is in force.")
    return redirect("demo-cis")


@require_POST
def change_left(request: HttpRequest) -> HttpResponse:
    """Say what is left on a prepaid account at the CIS from now on, as using it up does; it is read when next asked for."""
    door = Simulators.of_settings().cis
    try:
        form = LeftForm(request.POST)
        used = {one["account"]: one["a_day"] for one in door.book()["prepaid"]}
        if request.POST.get("account") not in used:
            messages.error(request, "This account is not prepaid.")
            return redirect("demo-cis")
        if not form.is_valid():
            return _cis_page(request, door, door.switches(), left=form, status=422)
        account = form.cleaned_data["account"]
        door.set_prepaid(account, left=form.cleaned_data["left"], a_day=Decimal(used[account]))
    except SimulatorError as error:
        return silent(request, "The biller’s system", "cis", error)
    messages.success(request, "The biller’s system says so when it is asked next: open the account.")
    return redirect("demo-cis")


@require_POST
def heal_cis(request: HttpRequest) -> HttpResponse:
    """Take every rule off, so that the CIS does everything right."""
    try:
        Simulators.of_settings().cis.change([])
    except SimulatorError as error:
        return silent(request, "The biller’s system", "cis", error)
    messages.success(request, "The CIS does everything right again.")
    return redirect("demo-cis")


def _rules(switches: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the rules in force as they can be set again."""
    return [{name: value for name, value in rule.items() if name != "fired"} for rule in switches["rules"]]


def _operation_rule(switches: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> RuleForm:
    return RuleForm(data, actions=switches["actions"], named="operation", kinds=OPERATIONS)


def _prepaid(row: Mapping[str, Any], refused: LeftForm | None) -> dict[str, Any]:
    if refused is not None and refused.data.get("account") == row["account"]:
        form = refused
    else:
        initial = {"account": row["account"], "left": row["left"]}
        form = LeftForm(initial=initial, auto_id=f"id_%s_{row['account']}")
    return {**row, "left": Decimal(row["left"]), "a_day": Decimal(row["a_day"]), "form": form}


def _cis_page(
    request: HttpRequest,
    door: Cis,
    switches: Mapping[str, Any],
    *,
    form: RuleForm | None = None,
    left: LeftForm | None = None,
    status: int = 200,
) -> HttpResponse:
    book = door.book()
    totals = book["totals"]
    currency = _currency()
    context = {
        "title": "The simulated CIS",
        "section": "cis",
        "currency": currency,
        "stats": [
            {"label": "Payments", "value": formats.number(totals["payments"])},
            {"label": "Amount", "value": formats.money(Decimal(totals["amount"]), currency)},
            {"label": "Heard again", "value": formats.number(totals["repeats"]), "note": "and not booked again"},
            {"label": "Comments", "value": formats.number(totals["comments"])},
            {"label": "Paperless changes", "value": formats.number(totals["paperless"])},
            {"label": "Bills printed", "value": formats.number(len(book["prints"])), "note": "as PDF"},
        ],
        "payments": [_heard(row, "first_received_at") for row in _newest(book["payments"])],
        "comments": [_heard(row, "received_at") for row in _newest(book["comments"])],
        "paperless": [_heard(row, "received_at") for row in _newest(book["paperless"])],
        "prepaid": [_prepaid(row, left) for row in book["prepaid"]],
        "left": left,
        "rules": switches["rules"],
        "form": form or _operation_rule(switches),
        "still": "still" in request.GET,
    }
    return render(request, "demo/cis.html", context, status=status)


# --- The receiver of webhooks ----------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def receiver(request: HttpRequest) -> HttpResponse:
    """Show what the simulated receiver was told by webhooks, and the rules by which it misbehaves; POST adds one."""
    door = Simulators.of_settings().receiver
    try:
        switches = door.switches()
        if request.method != "POST":
            return _receiver_page(request, door, switches)
        form = _event_rule(switches, request.POST)
        if not form.is_valid():
            return _receiver_page(request, door, switches, form=form, status=422)
        door.change([*_rules(switches), form.rule()], seed=switches["seed"])
    except SimulatorError as error:
        return silent(request, "The receiver of webhooks", "receiver", error)
    messages.success(request, "The rule is in force.")
    return redirect("demo-receiver")


@require_POST
def heal_receiver(request: HttpRequest) -> HttpResponse:
    """Take every rule off, so that the receiver does everything right."""
    try:
        Simulators.of_settings().receiver.change([])
    except SimulatorError as error:
        return silent(request, "The receiver of webhooks", "receiver", error)
    messages.success(request, "The receiver does everything right again.")
    return redirect("demo-receiver")


def _event_rule(switches: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> RuleForm:
    return RuleForm(data, actions=switches["actions"], named="type", kinds=EVENTS)


def _receiver_page(
    request: HttpRequest,
    door: Receiver,
    switches: Mapping[str, Any],
    *,
    form: RuleForm | None = None,
    status: int = 200,
) -> HttpResponse:
    book = door.book()
    totals = book["totals"]
    paid = sum((Decimal(one["data"]["amount"]) for one in book["events"] if one["type"] == PAYMENT_EVENT), Decimal(0))
    others = sum(count for type_, count in totals["events"].items() if type_ != PAYMENT_EVENT)
    context = {
        "title": "The simulated receiver",
        "section": "receiver",
        "stats": [
            {"label": "Payments", "value": formats.number(totals["events"].get(PAYMENT_EVENT, 0))},
            {"label": "Amount", "value": formats.money(paid, _currency())},
            {"label": "Other events", "value": formats.number(others)},
            {"label": "Heard again", "value": formats.number(totals["repeats"]), "note": "and not booked again"},
        ],
        "events": [_event(row) for row in _newest(book["events"])],
        "rules": switches["rules"],
        "form": form or _event_rule(switches),
        "still": "still" in request.GET,
    }
    return render(request, "demo/receiver.html", context, status=status)


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give an event as the page shows it: what it says of its account, word by word. A payment's id is the webhook's."""
    says = {name: value for name, value in row["data"].items() if name not in {"account", "payment_id"} and value != ""}
    return {**_heard(row, "first_received_at"), "account": row["data"]["account"], "says": says}


def _currency() -> str:
    """Give the billers' currency, which the books of their systems do not know."""
    return str(towns.MAPLE_FALLS.columns.get("currency", "USD"))


def _newest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(reversed(rows[-NEWEST:]))


def _heard(row: Mapping[str, Any], moment: str) -> dict[str, Any]:
    found = {**row, "at": datetime.datetime.fromisoformat(row[moment])}
    if "amount" in row:
        found["amount"] = Decimal(row["amount"])
    return found
