"""Telephones in the browser: what is shown on the phones of the simulated network, and how the network misbehaves."""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from billing import formats
from config.demo.doors import SimulatorError, Simulators, Telephone
from config.demo.forms import CONDITIONS, ConditionForm, NetworkForm, PhoneForm, TypeForm, fault_forms
from config.demo.pages import silent

NEWEST = 100
_TITLE = "Telephone"
# What became of a text that was typed: by the state of the webhook that tells of it.
_HEARD = {
    "told": "Delivered",
    "pending": "On its way",
    "failed": "Not delivered: the biller did not take it",
    "lost": "Lost on its way",
    "": "Nobody has this number",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """One phone in one's hand: the phone, whom it texts with, and everything it shows, oldest first."""

    phones: Sequence[Mapping[str, Any]]
    phone: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    line: Mapping[str, Any] | None
    texts: Sequence[Mapping[str, Any]]

    @property
    def query(self) -> str:
        """The part of an address that says which phone it is, and with whom it texts."""
        return _query(self.phone["number"], self.line["number"] if self.line else "")

    def thread(self) -> list[dict[str, Any]]:
        """Give the newest texts with the line, ready to be shown."""
        mine = [text for text in self.texts if self.line and text["line"] == self.line["number"]]
        return [
            {
                **text,
                "typed": text["direction"] == "in",
                "at": datetime.datetime.fromisoformat(text["at"]),
                "state": _HEARD[text["heard"]] if text["direction"] == "in" else "",
            }
            for text in mine[-NEWEST:]
        ]

    def threads(self) -> list[dict[str, Any]]:
        """Give every line with how many texts the phone shows of it."""
        return [
            {
                **line,
                "name": line["name"] or formats.phone(line["number"]),
                "url": _address(_query(self.phone["number"], line["number"])),
                "current": line is self.line,
                "count": sum(text["line"] == line["number"] for text in self.texts),
            }
            for line in self.lines
        ]

    def others(self) -> list[dict[str, Any]]:
        """Give every phone with its address, this one among them."""
        return [
            {
                **one,
                "url": _address(_query(one["number"], self.line["number"] if self.line else "")),
                "current": one is self.phone,
                "wrong": CONDITIONS[one["condition"]] if one["condition"] else "",
            }
            for one in self.phones
        ]


def _query(phone: str, line: str) -> str:
    return urlencode({"phone": phone, **({"line": line} if line else {})})


def _address(query: str) -> str:
    return f"{reverse('demo-phone')}?{query}"


def _screen(request: HttpRequest, telephone: Telephone) -> Screen:
    """Give the phone and the line that the address names, else those of the newest text."""
    phones, lines = telephone.phones(), telephone.lines()
    phone = _named(phones, request.GET.get("phone", "")) or max(phones, key=lambda one: int(one["last"]))
    texts = telephone.conversation(phone["number"])
    line = _named(lines, request.GET.get("line", "")) or _named(lines, texts[-1]["line"] if texts else "")
    return Screen(phones, phone, lines, line or (lines[0] if lines else None), texts)


def _named(rows: Sequence[dict[str, Any]], number: str) -> dict[str, Any] | None:
    if not number:
        return None
    for row in rows:
        if row["number"] == number:
            return row
    raise Http404("No phone or line has this number.")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def phone(request: HttpRequest) -> HttpResponse:
    """Show a telephone and its conversation with a biller; POST types a text on it.

    Whoever asks again while nothing has changed gets 204.
    """
    telephone = Simulators.of_settings().telephone
    try:
        screen = _screen(request, telephone)
        if request.method != "POST":
            return _page(request, telephone, screen)
        form = TypeForm(request.POST)
        if screen.line is None or not form.is_valid():
            return _page(request, telephone, screen, typing=form, status=422)
        telephone.type(screen.phone["number"], line=screen.line["number"], body=form.cleaned_data["body"])
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    # Whoever types goes on typing.
    return redirect(f"{_address(screen.query)}#id_body")


@require_POST
def add_phone(request: HttpRequest) -> HttpResponse:
    """Add a telephone, and take it in hand."""
    telephone = Simulators.of_settings().telephone
    form = PhoneForm(request.POST)
    try:
        screen = _screen(request, telephone)
        if form.is_valid() and any(one["number"] == form.cleaned_data["number"] for one in screen.phones):
            form.add_error("number", "There is a telephone with this number already. Enter another number.")
        if not form.is_valid():
            return _page(request, telephone, screen, adding=form, status=422)
        telephone.add_phone(form.cleaned_data["number"], form.cleaned_data["name"])
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    messages.success(request, "The telephone is there.")
    return redirect(_address(_query(form.cleaned_data["number"], screen.line["number"] if screen.line else "")))


@require_POST
def change_condition(request: HttpRequest) -> HttpResponse:
    """Say what is wrong with the telephone in hand, or that nothing is."""
    telephone = Simulators.of_settings().telephone
    try:
        screen = _screen(request, telephone)
        form = ConditionForm(request.POST, known=telephone.switches()["known_conditions"])
        if not form.is_valid():
            return _page(request, telephone, screen, condition=form, status=422)
        telephone.set_condition(screen.phone["number"], form.cleaned_data["condition"])
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    messages.success(
        request, f"{formats.phone(screen.phone['number'])}: {CONDITIONS[form.cleaned_data['condition']].lower()}."
    )
    return redirect(_address(screen.query))


@require_POST
def change_network(request: HttpRequest) -> HttpResponse:
    """Set the switches of the network."""
    telephone = Simulators.of_settings().telephone
    try:
        screen = _screen(request, telephone)
        form, faults = NetworkForm(request.POST), fault_forms(telephone.switches(), request.POST)
        # Each form looks at its own fields, so that every error is found.
        if not all([form.is_valid(), *(one.is_valid() for one in faults)]):
            return _page(request, telephone, screen, network=form, faults=faults, status=422)
        telephone.change(**form.changes(), faults={one.name: one.setting() for one in faults})
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    messages.success(request, "The network’s switches are set.")
    return redirect(_address(screen.query))


@require_POST
def heal(request: HttpRequest) -> HttpResponse:
    """Switch every fault of the network off, and let every phone work."""
    telephone = Simulators.of_settings().telephone
    try:
        screen = _screen(request, telephone)
        telephone.change(heal=True, managed_opt_out=False, recognises_repeats=True, latency_seconds=0.0)
        for one in screen.phones:
            if one["condition"]:
                telephone.set_condition(one["number"], "")
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    messages.success(request, "The network does everything right again, and every telephone works.")
    return redirect(_address(screen.query))


@require_POST
def redeliver(request: HttpRequest) -> HttpResponse:
    """Have the network tell again what we had not taken."""
    telephone = Simulators.of_settings().telephone
    try:
        screen = _screen(request, telephone)
        count = telephone.redeliver()
    except SimulatorError as error:
        return silent(request, _TITLE, "phone", error)
    messages.success(request, f"Told again: {count}.")
    return redirect(_address(screen.query))


def _page(
    request: HttpRequest,
    telephone: Telephone,
    screen: Screen,
    *,
    typing: TypeForm | None = None,
    adding: PhoneForm | None = None,
    condition: ConditionForm | None = None,
    network: NetworkForm | None = None,
    faults: Sequence[forms.Form] | None = None,
    status: int = 200,
) -> HttpResponse:
    totals = telephone.totals()
    seen = f"{zlib.crc32(repr((screen.phones, screen.lines, screen.texts, totals)).encode()):08x}"
    if request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    switches = telephone.switches()
    typing = typing or TypeForm()
    adding = adding or PhoneForm()
    condition = condition or ConditionForm(
        initial={"condition": screen.phone["condition"]}, known=switches["known_conditions"]
    )
    network = network or NetworkForm(initial=switches)
    # What may happen to texts on their way stands before what senders may meet with.
    faults = sorted(faults or fault_forms(switches), key=lambda one: "on" not in one.fields)
    thread = screen.thread()
    context = {
        "title": _TITLE,
        "section": "phone",
        "screen": screen,
        "phone": screen.phone,
        "line": screen.line,
        "query": screen.query,
        "seen": seen,
        "phones": screen.others(),
        "threads": screen.threads(),
        "thread": thread,
        "newest": thread[-1] if thread and not thread[-1]["typed"] else None,
        "stats": _stats(totals),
        "misses": totals["webhooks"]["failed"],
        "typing": typing,
        "adding": adding,
        "condition": condition,
        "network": network,
        "faults": faults,
        "forms": [typing, adding, condition, network, *faults],
        "misbehaves": any(one["probability"] or one["next"] for one in switches["faults"].values()),
        "still": "still" in request.GET,
    }
    return render(request, "demo/phone.html", context, status=status)


def _stats(totals: Mapping[str, Any]) -> list[dict[str, Any]]:
    webhooks = totals["webhooks"]
    return [
        {"label": "Texts taken", "value": formats.number(totals["taken"])},
        {"label": "Arrived", "value": formats.number(totals["arrived"])},
        {"label": "Not delivered", "value": formats.number(totals["not_delivered"])},
        {"label": "Lost", "value": formats.number(totals["lost"])},
        {"label": "Typed", "value": formats.number(totals["typed"])},
        {
            "label": "Webhooks told",
            "value": formats.number(webhooks["told"]),
            "note": f"{webhooks['pending']} on their way, {webhooks['failed']} given up, {webhooks['lost']} lost",
        },
    ]
