"""Cases, which a person decides because no rule may, and the attempts that have no result yet."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats, lists, statuses
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import account_url
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import Customer
from billing.permissions import Permission
from payments.biller_portal.payments import attempt_status
from payments.gateways.base import Command
from payments.models import AttemptState, Case, CaseKind, CaseState, Route
from payments.operations import cases, unbooked_charges
from payments.results import in_words


class CaseFilters(lists.Filters):
    """The filters of the list of cases."""

    state = lists.AnyOf(label="Status", choices=statuses.choices("case"))
    kind = django_filters.ChoiceFilter(label="Kind", choices=CaseKind.choices, empty_label="Any")
    start = lists.FromDay(label="Opened from", field_name="opened_at")
    end = lists.ToDay(label="Opened to", field_name="opened_at")
    periods = (("start", "end"),)


def _amount(found: Case) -> Decimal | None:
    """Give the money that a case is about; nothing where the processor did not say."""
    if found.attempt is not None:
        return found.attempt.amount
    return Decimal(found.facts["amount"]) if "amount" in found.facts else None


class CaseList(StaffPage, lists.ListPage[Case]):
    """Every case of the biller."""

    name, title, section = "cases", "Cases", "runs"
    filters = CaseFilters
    orders = (
        lists.Order("newest", "Newest first", ("-opened_at", "-id")),
        lists.Order("oldest", "Oldest first", ("opened_at", "id")),
    )
    columns = (
        lists.Link("kind", "Case", "get_kind_display", url=lambda one: reverse("biller-case", args=[one.pk])),
        lists.Moment("opened", "Opened", "opened_at"),
        lists.Link(
            "account",
            "Account",
            lambda one: one.customer.shown_number if one.customer else one.facts.get("account", ""),
            url=lambda one: account_url(one.customer_id) if one.customer_id else None,
            nowrap=True,
        ),
        lists.Column("name", "Name", lambda one: one.customer.name if one.customer else ""),
        lists.Amount("amount", "Amount", _amount, currency="biller.currency"),
        lists.Tag("status", "Status", "state", noun="case"),
        lists.Column("outcome", "What came of it", "outcome"),
        lists.Column("closed_by", "Closed by", "closed_by"),
    )
    empty_heading = "No cases"
    empty_text = "A case opens where nobody can tell whether a payment was taken, or the processor contradicts itself."
    template_name = "biller_portal/cases/list.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's cases."""
        mine = Case.objects.visible_to(request.user).filter(biller=self.request.biller)
        return mine.select_related("customer", "attempt", "biller")


class DecideForm(forms.Form):
    """What a person found out about a charge of unknown outcome."""

    outcome = forms.ChoiceField(
        label="What happened to the money",
        choices=[
            ("charged", "It was taken: book the payment"),
            ("not_charged", "It was not taken: fail the payment and free the bill"),
        ],
        widget=forms.RadioSelect,
    )
    approval_code = WordsField(
        label="Approval code",
        max_length=60,
        required=False,
        help_text="As the processor shows it, where the money moved.",
    )
    evidence = WordsField(
        label="How you know",
        max_length=150,
        help_text="The processor’s report and its day, its web page, a call and with whom. Kept with the payment.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, command: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (words := _CHOICES.get(command)) is not None:
            self.fields["outcome"].choices = words  # type: ignore[attr-defined]  # a choice field
            if len(words) == 1:
                self.fields["outcome"].initial = words[0][0]
        if command in {Command.AUTHORIZE, Command.RELEASE}:
            del self.fields["approval_code"]


# What a person can find out about attempts that do not both ask for the money and take it.
_CHOICES: dict[str, list[tuple[str, str]]] = {
    Command.AUTHORIZE: [("not_charged", "No money moves by it: fail the payment and free the bill")],
    Command.DEPOSIT: [
        ("charged", "It was taken: book the payment"),
        ("not_charged", "It was not taken: leave it authorized for the next deposit"),
    ],
    Command.REFUND: [
        ("charged", "The money went back: record the refund"),
        ("not_charged", "It did not go back: the refund may be made again"),
    ],
    Command.RELEASE: [("not_charged", "No money moves by it: leave it authorized for the next deposit or release")],
}


class UnbookedForm(forms.Form):
    """What a person found out about a charge that only the processor has."""

    outcome = forms.ChoiceField(
        label="Whose charge it is",
        choices=[
            ("record", "A customer’s: record it as their payment"),
            ("other", "Nobody’s here, or it was given back: record nothing"),
        ],
        widget=forms.RadioSelect,
    )
    account = WordsField(
        label="Account", max_length=60, required=False, help_text="Whose payment it is, where it is recorded."
    )
    evidence = WordsField(
        label="How you know",
        max_length=150,
        help_text="The processor’s report and its day, its web page, a call and with whom. Kept with the case.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def clean(self) -> dict[str, Any]:
        """Ask for the account where there is to be a payment."""
        given = super().clean() or self.cleaned_data
        if given.get("outcome") == "record" and not given.get("account"):
            self.add_error("account", "Enter the account whose payment it is")
        return given


# What contradicting answers come to, by what was asked; for all else the first answer counts until a person puts it right.
_CONFLICTS: dict[str, str] = {
    Command.AUTHORIZE: "Nobody is charged by an authorization, and what the bank holds is given back by itself: close the case.",
    Command.RELEASE: "Whatever is true, nobody is charged: close the case, then release the payment again on its own page.",
}
_FIRST_COUNTS = (
    "The first answer counts here. Ask the processor which is true; where it is the other one, put it right by a payment, a"
    " refund or an adjustment. Then close the case."
)


class ConflictForm(forms.Form):
    """What a person found out about contradicting answers, or a payment that the processor does not name."""

    evidence = WordsField(
        label="What you found out and did",
        max_length=190,
        help_text="Closing the case changes no payment.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


@biller_page(Permission.VIEW)
def case(request: BillerRequest, case_id: uuid.UUID) -> HttpResponse:
    """Draw one case; whoever may decide it does so on its own page."""
    found = _case_or_404(request, case_id)
    return render(request, "biller_portal/cases/case.html", _context(request, found, form=_form(found)))


@biller_page(Permission.CLOSE_CASE)
def close(request: BillerRequest, case_id: uuid.UUID) -> HttpResponse:
    """Close a case as the form says."""
    found = _case_or_404(request, case_id)
    if request.method != "POST":
        return redirect("biller-case", found.pk)
    form = _form(found, request.POST)
    if form.is_valid():
        try:
            _decide(request, found, form.cleaned_data)
        except DomainError as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        else:
            messages.success(request, "The case is closed.")
            return redirect("biller-case", found.pk)
    return render(request, "biller_portal/cases/case.html", _context(request, found, form=form), status=422)


def _decide(request: BillerRequest, found: Case, given: dict[str, Any]) -> None:
    now = timezone.now()
    if found.kind == CaseKind.UNBOOKED_CHARGE and given["outcome"] == "record":
        account = Q(display_number=given["account"]) | Q(number=given["account"])
        named = list(Customer.objects.filter(account, biller=request.biller).select_related("biller")[:2])
        if not named:
            raise cases.CaseRefused("There is no such account.", field="account")
        if len(named) > 1:
            raise cases.CaseRefused(
                "Two accounts go by this number: one calls itself so, the other is so in your own system. Ask an administrator.",
                field="account",
            )
        customer = named[0]
        unbooked_charges.record_unbooked(
            case=found, customer=customer, evidence=given["evidence"], actor=request.actor, now=now
        )
    elif found.kind in {CaseKind.UNBOOKED_CHARGE, CaseKind.MISSING_CHARGE}:
        unbooked_charges.close_reconciled(case=found, outcome=given["evidence"], actor=request.actor, now=now)
    elif found.kind == CaseKind.CONFLICTING_ANSWER:
        cases.close_conflict(case=found, outcome=given["evidence"], actor=request.actor, now=now)
    elif given["outcome"] == "charged":
        cases.close_as_charged(
            case=found, approval_code=given["approval_code"], evidence=given["evidence"], actor=request.actor, now=now
        )
    else:
        cases.close_as_not_charged(case=found, evidence=given["evidence"], actor=request.actor, now=now)


def _form(found: Case, given: Any = None) -> forms.Form:
    if found.attempt is None:
        return UnbookedForm(given)
    if found.kind != CaseKind.UNKNOWN_OUTCOME:
        return ConflictForm(given)
    return DecideForm(given, command=found.attempt.command)


def _context(request: BillerRequest, found: Case, **more: Any) -> dict[str, Any]:
    attempt = found.attempt
    currency = found.biller.currency
    amount = _amount(found)
    common = {
        "title": found.get_kind_display(),
        "section": "runs",
        "case": found,
        "amount": amount,
        "may_close": request.may(Permission.CLOSE_CASE) and found.state == CaseState.OPEN,
        **more,
    }
    if attempt is None:
        return {**common, "facts": _facts_of_theirs(found, amount)}
    undecided = found.state == CaseState.OPEN and found.kind == CaseKind.UNKNOWN_OUTCOME
    until = cases.not_before(attempt) if undecided else None
    facts: list[tuple[str, object]] = [
        ("Why", found.reason),
        ("Opened", formats.moment(found.opened_at)),
        ("Account", str(found.customer)),
        ("Amount", formats.money(attempt.amount, currency)),
        ("Method", str(attempt.payment.instrument or "")),
        ("Route", str(attempt.route)),
        ("Our reference there", str(attempt.pk)),
        ("First sent", formats.moment(attempt.created_at)),
        ("Last sent", formats.moment(attempt.sent_at) if attempt.sent_at else ""),
        ("“Not taken” from", formats.moment(until) if until is not None and until > timezone.now() else ""),
        ("Look-ups", formats.number(attempt.lookups)),
        ("Last look-up", formats.moment(attempt.looked_up_at) if attempt.looked_up_at else ""),
        ("Result", in_words(attempt.result)),
        ("The processor’s reference", attempt.processor_reference),
    ]
    return {
        **common,
        "attempt": attempt,
        "attempt_status": attempt_status(attempt),
        "facts": [(label, value) for label, value in facts if value],
        "advice": _CONFLICTS.get(attempt.command, _FIRST_COUNTS) if found.kind == CaseKind.CONFLICTING_ANSWER else "",
        "ended": attempt.state in {AttemptState.APPLIED, AttemptState.ABANDONED},
    }


def _facts_of_theirs(found: Case, amount: Decimal | None) -> list[tuple[str, object]]:
    """Give what the processor says of a charge that our book does not have."""
    told = found.facts
    route = Route.objects.filter(biller_id=found.biller_id, pk=told.get("route") or 0).first()
    at = datetime.datetime.fromisoformat(told["at"]) if "at" in told else None
    facts: list[tuple[str, object]] = [
        ("Why", found.reason),
        ("Opened", formats.moment(found.opened_at)),
        ("Amount", formats.money(amount, told.get("currency") or found.biller.currency) if amount is not None else ""),
        ("Account, as the processor has it", told.get("account", "")),
        ("Command", told.get("command", "")),
        ("Charged", formats.moment(at) if at else ""),
        ("Route", str(route) if route else ""),
        ("The processor’s name of it", found.key),
        ("The processor’s reference", told.get("reference", "")),
        ("Approval code", told.get("approval_code", "")),
    ]
    return [(label, value) for label, value in facts if value]


def _case_or_404(request: BillerRequest, case_id: uuid.UUID) -> Case:
    mine = Case.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(
        mine.select_related("customer", "biller", "attempt__route", "attempt__payment__instrument"), pk=case_id
    )
