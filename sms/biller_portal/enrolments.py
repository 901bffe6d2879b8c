"""Pay by text of an account: the number, the consent, the conversation, and what a CSR does about them for a caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from billing import formats, wakes
from billing.actors import Requestor
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import DOORS, customer_or_404, frame
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import PhoneField
from billing.models import Customer
from billing.permissions import Permission
from sms import reports, tasks
from sms.models import Mode, Phone, ProgrammeKind, SmsMode
from sms.operations import announcements, enrolments, phones, programmes

TAB = "biller-account-text"
PAGE = 50

HOW = {
    "phone": "On the telephone: the words were read out and the customer agreed.",
    "person": "In person: the customer read the words and agreed.",
    "paper": "On paper: a signed form is on file.",
    "mail": "By letter or e-mail: what the customer wrote is on file.",
}

CHANNELS = {
    "call": "a telephone call",
    "mail": "a letter or an e-mail",
    "web": "a form on the web",
    "person": "a visit",
}
"""How somebody asked for no more texts, as it is kept: a stop holds by whatever way it came."""

WHICH = {"number": "the number that serves", "pending": "the number that waits"}


class EnrolForm(forms.Form):
    """Where the texts go, and how the customer agreed to them."""

    number = PhoneField(
        label="Mobile number",
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "off", "class": "width-20"}),
        help_text="Ask for it: a number that is on file for calls is not agreed to.",
    )
    how = forms.ChoiceField(label="How the customer agreed", choices=list(HOW.items()), widget=forms.RadioSelect)
    agreed = forms.BooleanField(
        label="The customer agreed to exactly these words",
        error_messages={"required": "Texts need the customer’s consent. Read the words out first."},
    )


class OptOutForm(forms.Form):
    """By which way somebody asked."""

    channel = forms.ChoiceField(
        label="How they asked",
        choices=[(name, words.capitalize()) for name, words in CHANNELS.items()],
        widget=forms.RadioSelect,
    )


@biller_page(Permission.VIEW)
def overview(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw where pay by text stands, what was agreed to, how the phone stands, and what was said."""
    customer = customer_or_404(request, customer_id)
    before = None
    if (written := request.GET.get("before")) is not None:
        before = parse_datetime(written)
        if before is None or before.tzinfo is None:
            raise Http404("Not a moment.")
    mode = _mode_of(customer)
    numbers = {which: number for which, number in _numbers(mode).items() if number}
    said = reports.conversation(customer, numbers.values(), before=before, limit=PAGE + 1)
    context = frame(
        request,
        customer,
        TAB,
        mode=mode,
        state=mode.mode if mode else "none",
        until=mode.pending_until if mode and mode.mode == Mode.PENDING else None,
        facts=_facts(mode) if mode else [],
        consent=_consent(mode) if mode else [],
        phones=[_standing(customer, which, number) for which, number in numbers.items()],
        offered=programmes.offers(customer.biller),
        bubbles=reports.bubbles(reversed(said[:PAGE])),
        older=said[PAGE - 1].created_at.isoformat() if len(said) > PAGE else "",
        newest=before is None,
    )
    return render(request, "biller_portal/texts/account.html", context)


@biller_page(Permission.CHANGE_ENROLMENT)
def enrol(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Enrol a customer who has agreed, or change the number: the words to read out, the number, the consent."""
    customer = customer_or_404(request, customer_id)
    mode = _mode_of(customer)
    programme = programmes.programme_of(customer.biller)
    form = EnrolForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            kept = enrolments.enrol(
                customer=customer,
                number=given["number"],
                consent=enrolments.consent_to(programme, how=HOW[given["how"]], language=customer.language),
                actor=request.actor,
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            wakes.wake(tasks.send)
            was_so = mode is not None and mode.changed_at == kept.changed_at
            number = formats.phone(kept.number)
            messages.success(
                request,
                f"Pay by text was on at {number} already; nothing was changed."
                if was_so
                else f"Pay by text is on at {number}. A text there says so, with HELP and STOP.",
            )
            return redirect(TAB, customer.pk)
    context = frame(
        request,
        customer,
        TAB,
        mode=mode,
        changing=mode is not None and mode.mode != Mode.UNENROLLED,
        form=form,
        terms=enrolments.terms(programme, language=customer.language),
        version=enrolments.CONSENT_VERSION,
        offered=programmes.offers(customer.biller),
    )
    return render(request, "biller_portal/texts/enrol.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.CHANGE_ENROLMENT)
def unenrol(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then end pay by text for the account."""
    customer = customer_or_404(request, customer_id)
    if request.method == "POST":
        return _do(
            request, customer, lambda: enrolments.unenrol(customer=customer, actor=request.actor), "Pay by text is off."
        )
    mode = _mode_of(customer)
    number = mode.number or mode.pending_number if mode else ""
    return _question(
        request,
        customer,
        "Turn pay by text off?",
        "Bills are not texted any more, and this account cannot be paid by text. The phone is told. Other accounts that"
        " share it stay as they are.",
        "Turn pay by text off",
        number=number,
        danger=True,
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def send_bill(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then text the bill now."""
    customer = customer_or_404(request, customer_id)
    if request.method == "POST":
        return _do(
            request,
            customer,
            lambda: announcements.send_now(customer=customer, actor=request.actor),
            "The bill goes out by text: at once, or when the hours for texts begin.",
        )
    mode = _mode_of(customer)
    programme = programmes.programme_of(customer.biller)
    return _question(
        request,
        customer,
        "Text the bill now?",
        "The phone gets what is due on this account, and can pay by answering.",
        "Text the bill",
        number=mode.number if mode else "",
        rows=[
            ("Due", formats.balance(customer.balance, customer.biller.currency), ""),
            ("Hours for texts", f"{_hour(programme.opens)} to {_hour(programme.closes)}, where the phone is", ""),
        ],
    )


@require_POST
@biller_page(Permission.CHANGE_ENROLMENT)
def ask_again(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Text the question for a confirmation once more."""
    customer = customer_or_404(request, customer_id)
    return _do(
        request,
        customer,
        lambda: enrolments.ask_again(customer=customer, actor=request.actor),
        "The text that asks for a YES goes out again.",
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def keep_number(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then give up the new number that waits."""
    customer = customer_or_404(request, customer_id)
    if request.method == "POST":
        return _do(
            request,
            customer,
            lambda: enrolments.keep_number(customer=customer, actor=request.actor),
            "The new number was given up; the old one goes on.",
        )
    mode = _mode_of(customer)
    return _question(
        request,
        customer,
        "Give the new number up?",
        "A YES from it changes nothing any more, and the number that serves now goes on serving.",
        "Give it up",
        number=mode.pending_number if mode else "",
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def opt_out(request: BillerRequest, customer_id: int, which: str) -> HttpResponse:
    """Ask by which way they asked, then send the phone nothing more."""
    customer = customer_or_404(request, customer_id)
    number = _number_or_404(customer, which)
    form = OptOutForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        ended = phones.opt_out(
            biller=customer.biller, number=number, by=CHANNELS[form.cleaned_data["channel"]], actor=request.actor
        )
        told = f" Pay by text ended for {ended} account{'' if ended == 1 else 's'}." if ended else ""
        messages.success(request, f"{formats.phone(number)} gets no more texts.{told}")
        return redirect(TAB, customer.pk)
    others = [one.customer for one in reports.served_by(customer.biller, number) if one.customer_id != customer.pk]
    shared = ", ".join(f"{one.name} ({one.shown_number})" for one in others)
    return _question(
        request,
        customer,
        "Opt this phone out of texts?",
        "Nothing more is sent to it, and pay by text ends for every account that it serves. Only START, texted from the"
        " phone itself, brings it back.",
        "Opt the phone out",
        number=number,
        rows=[("Also ends for", shared, "")] if shared else [],
        form=form,
        danger=True,
        status=422 if form.is_bound else 200,
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def resume(request: BillerRequest, customer_id: int, which: str) -> HttpResponse:
    """Ask, then send to a phone again at which texts did not arrive."""
    customer = customer_or_404(request, customer_id)
    number = _number_or_404(customer, which)
    phone = reports.phone_of(customer.biller, number) or Phone(biller=customer.biller, number=number)
    if request.method == "POST":
        return _do(
            request,
            customer,
            lambda: phones.resume(phone=phone, actor=request.actor),
            f"Texts go to {formats.phone(number)} again.",
        )
    return _question(
        request,
        customer,
        "Send to this phone again?",
        "Ask the customer first whether the number is right and the phone takes texts.",
        "Send again",
        number=number,
        rows=[("Held up because", phone.suspended_for, "")] if phone.suspended_for else [],
    )


def _mode_of(customer: Customer) -> SmsMode | None:
    return SmsMode.objects.filter(customer=customer).first()


def _numbers(mode: SmsMode | None) -> dict[str, str]:
    return {"number": mode.number, "pending": mode.pending_number} if mode else {}


def _number_or_404(customer: Customer, which: str) -> str:
    number = _numbers(_mode_of(customer)).get(which)
    if not number:
        raise Http404("No such number.")
    return number


def _facts(mode: SmsMode) -> list[tuple[str, object]]:
    until = formats.moment(mode.pending_until) if mode.pending_until else ""
    facts = [
        ("Number" if mode.registered else "Number before", formats.phone(mode.number) if mode.number else ""),
        ("Waits for a YES", formats.phone(mode.pending_number) if mode.pending_number else ""),
        ("Until", until),
        ("Ended by", "STOP from the phone" if mode.stopped and not mode.registered else ""),
        ("Changed", formats.moment(mode.changed_at)),
    ]
    return [(label, value) for label, value in facts if value]


def _consent(mode: SmsMode) -> list[tuple[str, object]]:
    facts = [
        ("How", mode.consent_how),
        ("Recorded by" if mode.consent_requestor == Requestor.CSR else "Given by", mode.consent_by),
        ("Through", DOORS[Requestor(mode.consent_requestor)]),
        ("On", formats.moment(mode.consented_at)),
        ("From", mode.consent_address or ""),
        ("Words", f"Version {mode.consent_version}"),
    ]
    return [(label, value) for label, value in facts if value]


def _standing(customer: Customer, which: str, number: str) -> dict[str, Any]:
    """Say how a phone stands, and which other accounts share it."""
    phone = reports.phone_of(customer.biller, number)
    others = [one for one in reports.served_by(customer.biller, number) if one.customer_id != customer.pk]
    return {
        "which": which,
        "number": number,
        "opted_out": phone if phone and phone.refuses(ProgrammeKind.PAY_BY_TEXT) else None,
        "suspended_for": phone.suspended_for if phone else "",
        "others": [{"customer": one.customer, "waits": one.number != number} for one in others],
    }


def _hour(hour: int) -> str:
    return {0: "midnight", 12: "noon", 24: "midnight"}.get(hour, f"{hour % 12} {'am' if hour < 12 else 'pm'}")


def _do(request: BillerRequest, customer: Customer, operation: Callable[[], object], words: str) -> HttpResponse:
    try:
        operation()
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        wakes.wake(tasks.send)
        messages.success(request, words)
    return redirect(TAB, customer.pk)


def _question(
    request: BillerRequest,
    customer: Customer,
    title: str,
    question: str,
    button: str,
    *,
    number: str,
    rows: list[tuple[str, str, str]] | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    shown = [("Account", str(customer), ""), ("Phone", formats.phone(number) if number else "", ""), *(rows or [])]
    context = {
        "title": title,
        "section": "search",
        "question": question,
        "rows": [row for row in shown if row[1]],
        "button": button,
        "back_url": reverse(TAB, args=[customer.pk]),
        **more,
    }
    return render(request, "biller_portal/confirm.html", context, status=status)
