"""Cases, which a person decides because no rule may, and the attempts that have no result yet."""

from __future__ import annotations

import uuid
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats, lists, statuses
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import account_url
from billing.errors import DomainError
from billing.forms import WordsField
from billing.permissions import Permission
from payments.biller_portal.payments import attempt_status, result_in_words
from payments.gateways.base import Command
from payments.models import Attempt, AttemptState, Case, CaseKind, CaseState
from payments.operations import cases
from payments.reports import unresolved_attempts


class CaseFilters(lists.Filters):
    """The filters of the list of cases."""

    state = lists.AnyOf(label="Status", choices=statuses.choices("case"))
    kind = django_filters.ChoiceFilter(label="Kind", choices=CaseKind.choices, empty_label="Any")
    start = lists.FromDay(label="Opened from", field_name="opened_at")
    end = lists.ToDay(label="Opened to", field_name="opened_at")
    periods = (("start", "end"),)


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
            "account", "Account", "customer.shown_number", url=lambda one: account_url(one.customer_id), nowrap=True
        ),
        lists.Column("name", "Name", "customer.name"),
        lists.Amount("amount", "Amount", "attempt.amount", currency="biller.currency"),
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


def _open_case(attempt: Attempt) -> Case | None:
    return next((case for case in attempt.cases.all() if case.state == CaseState.OPEN), None)


def _case_url(attempt: Attempt) -> str | None:
    found = _open_case(attempt)
    return reverse("biller-case", args=[found.pk]) if found else None


class UnresolvedList(StaffPage, lists.ListPage[Attempt]):
    """Attempts that have had no result for five minutes or more; each is looked up until it has one, or is a case."""

    name, title, section = "unresolved", "Unresolved attempts", "runs"
    orders = (
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
    )
    columns = (
        lists.Link(
            "payment",
            "Payment",
            "payment.confirmation",
            url=lambda one: reverse("biller-payment", args=[one.payment_id]),
            nowrap=True,
        ),
        lists.Column(
            "age",
            "Age",
            lambda one: formats.ago((timezone.now() - one.created_at).total_seconds()),
            exported=False,
            nowrap=True,
        ),
        lists.Moment("sent", "Last sent", "sent_at"),
        lists.Link(
            "account",
            "Account",
            "payment.customer.shown_number",
            url=lambda one: account_url(one.payment.customer_id),
            nowrap=True,
        ),
        lists.Amount("amount", "Amount", "amount", currency="biller.currency"),
        lists.Column("command", "Command", "command"),
        lists.Tag("status", "Status", attempt_status, noun="attempt"),
        lists.Column("result", "Result", lambda one: result_in_words(one.result)),
        lists.Number("lookups", "Look-ups", "lookups"),
        lists.Moment("looked_up", "Last look-up", "looked_up_at"),
        lists.Column("route", "Route", "route"),
        lists.Link("case", "Case", lambda one: "Open case" if _open_case(one) else "", url=_case_url),
    )
    empty_heading = "Nothing is unresolved"
    empty_text = "Every attempt older than five minutes has its result."
    template_name = "biller_portal/cases/list.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's unresolved attempts with their cases."""
        mine = unresolved_attempts(biller=self.request.biller, now=timezone.now()).visible_to(request.user)
        return mine.select_related("payment__customer", "route", "biller").prefetch_related("cases")


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
        help_text="As the processor shows it, where the money was taken.",
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
        if command == Command.AUTHORIZE:
            del self.fields["approval_code"]


# What a person can find out about attempts that do not both ask for the money and take it.
_CHOICES: dict[str, list[tuple[str, str]]] = {
    Command.AUTHORIZE: [("not_charged", "No money moves by it: fail the payment and free the bill")],
    Command.DEPOSIT: [
        ("charged", "It was taken: book the payment"),
        ("not_charged", "It was not taken: leave it authorized for the next deposit"),
    ],
}


class ConflictForm(forms.Form):
    """What a person found out about contradicting answers."""

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
    if found.kind == CaseKind.CONFLICTING_ANSWER:
        cases.close_conflict(case=found, outcome=given["evidence"], actor=request.actor, now=now)
    elif given["outcome"] == "charged":
        cases.close_as_charged(
            case=found, approval_code=given["approval_code"], evidence=given["evidence"], actor=request.actor, now=now
        )
    else:
        cases.close_as_not_charged(case=found, evidence=given["evidence"], actor=request.actor, now=now)


def _form(found: Case, given: Any = None) -> forms.Form:
    return (
        ConflictForm(given)
        if found.kind == CaseKind.CONFLICTING_ANSWER
        else DecideForm(given, command=found.attempt.command)
    )


def _context(request: BillerRequest, found: Case, **more: Any) -> dict[str, Any]:
    attempt = found.attempt
    currency = found.biller.currency
    undecided = found.state == CaseState.OPEN and found.kind == CaseKind.UNKNOWN_OUTCOME
    until = cases.repeats_recognised_until(attempt) if undecided else None
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
        ("Result", result_in_words(attempt.result)),
        ("The processor’s reference", attempt.processor_reference),
    ]
    return {
        "title": found.get_kind_display(),
        "section": "runs",
        "case": found,
        "attempt": attempt,
        "attempt_status": attempt_status(attempt),
        "facts": [(label, value) for label, value in facts if value],
        "may_close": request.may(Permission.CLOSE_CASE) and found.state == CaseState.OPEN,
        "ended": attempt.state in {AttemptState.APPLIED, AttemptState.ABANDONED},
        **more,
    }


def _case_or_404(request: BillerRequest, case_id: uuid.UUID) -> Case:
    mine = Case.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(
        mine.select_related("customer", "biller", "attempt__route", "attempt__payment__instrument"), pk=case_id
    )
