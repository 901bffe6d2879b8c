"""Attempts without a result: counted by kind with what to do about each, listed, sent again as a batch, and resolved."""

from __future__ import annotations

import uuid
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats, lists, wakes
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import account_url
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import Run, RunState
from billing.permissions import Permission
from payments.biller_portal.cases import DecideForm
from payments.biller_portal.payments import attempt_status
from payments.gateways.base import Command, GatewayError
from payments.models import Attempt, AttemptState, Case, CaseState
from payments.operations import cases, cleanings, resubmissions, verifications
from payments.reports.unresolved_attempts import AGES, KINDS, Unresolved, unresolved_attempts, unresolved_by_command
from payments.results import in_words
from payments.tasks import work_run

# So many are named where all of one kind are given up at once.
NAMED = 20
# So many are looked at in one request; more are given up by asking again, or by manage.py clean.
AT_ONCE = 1_000


def _open_case(attempt: Attempt) -> Case | None:
    return next((case for case in attempt.cases.all() if case.state == CaseState.OPEN), None)


def _case_url(attempt: Attempt) -> str | None:
    found = _open_case(attempt)
    return reverse("biller-case", args=[found.pk]) if found else None


class UnresolvedFilters(lists.Filters):
    """The filters of the list of unresolved attempts."""

    # Verifications have no payment, and are given up together.
    command = django_filters.ChoiceFilter(
        label="Kind", choices=[one for one in KINDS.items() if one[0] != Command.VERIFY], empty_label="Any"
    )


class UnresolvedList(StaffPage, lists.ListPage[Attempt]):
    """Attempts that have had no result for five minutes or more; each is looked up until it has one, or is a case."""

    name, title, section = "unresolved", "Unresolved attempts", "runs"
    filters = UnresolvedFilters
    orders = (
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
    )
    columns = (
        lists.Link(
            "attempt",
            "Attempt",
            lambda one: f"{one.command.capitalize()} {one.payment.confirmation}",
            url=lambda one: reverse("biller-attempt", args=[one.pk]),
            nowrap=True,
        ),
        lists.Column(
            "age",
            "Age",
            lambda one: formats.ago((timezone.now() - one.created_at).total_seconds()),
            exported=False,
            nowrap=True,
        ),
        lists.Moment("sent", "Last sent", "sent_at", shown=False),
        lists.Link(
            "account",
            "Account",
            "payment.customer.shown_number",
            url=lambda one: account_url(one.payment.customer_id),
            nowrap=True,
        ),
        lists.Amount("amount", "Amount", "amount", currency="biller.currency"),
        lists.Column("command", "Command", "command", shown=False),
        lists.Tag("status", "Status", attempt_status, noun="attempt"),
        lists.Column("result", "Result", lambda one: in_words(one.result)),
        lists.Number("lookups", "Look-ups", "lookups"),
        lists.Moment("looked_up", "Last look-up", "looked_up_at", shown=False),
        lists.Column("route", "Route", "route"),
        lists.Link("case", "Case", lambda one: "Open case" if _open_case(one) else "", url=_case_url),
    )
    empty_heading = "Nothing is unresolved"
    empty_text = "Every attempt older than five minutes has its result."
    template_name = "biller_portal/unresolved/list.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's unresolved attempts with their cases."""
        mine = unresolved_attempts(biller=self.request.biller, now=timezone.now()).visible_to(request.user)
        return mine.select_related("payment__customer", "route", "biller").prefetch_related("cases")

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Count by kind, and say what to do about each that there is."""
        found = unresolved_by_command(biller=self.request.biller, now=timezone.now())
        return {
            "kinds": [(one, cleanings.WHAT_TO_DO.get(one.command, "")) for one in found],
            "some": any(one.count for one in found),
            "ages": [words for words, _until in AGES],
            "currency": self.request.biller.currency,
            "may_close": self.request.may(Permission.CLOSE_CASE),
            "resubmissions": _resubmissions(self.request),
        }


def _resubmissions(request: BillerRequest) -> list[dict[str, str]]:
    """Say of batches that they are being sent again, or what came of that where something is left."""
    said = []
    for run in resubmissions.unfinished(biller=request.biller):
        asked = f"Asked for by {run.asked_by}, {formats.moment(run.created_at)}."
        batch = run.params["batch"]
        if run.state != RunState.FAILED:
            said.append(
                {"batch": batch, "tone": "busy", "heading": f"Batch {batch} is being sent again", "text": asked}
            )
            continue
        heading = f"Sent again, not all of batch {batch} has a result"
        said.append({"batch": batch, "tone": "warning", "heading": heading, "text": f"{run.failure} {asked}"})
    return said


# ---- One of them


@biller_page(Permission.VIEW)
def attempt(request: BillerRequest, attempt_id: uuid.UUID) -> HttpResponse:
    """Draw one attempt: what is known of it, what to do about its kind, and the form that resolves it."""
    found = _attempt_or_404(request, attempt_id)
    form = DecideForm(command=found.command)
    return render(request, "biller_portal/unresolved/attempt.html", _context(request, found, form))


@biller_page(Permission.CLOSE_CASE)
def resolve(request: BillerRequest, attempt_id: uuid.UUID) -> HttpResponse:
    """Resolve one attempt as the form says: charged and now recorded, or given up."""
    found = _attempt_or_404(request, attempt_id)
    if request.method != "POST":
        return redirect("biller-attempt", found.pk)
    form = DecideForm(request.POST, command=found.command)
    if form.is_valid():
        given = form.cleaned_data
        try:
            cleanings.resolve(
                attempt=found,
                charged=given["outcome"] == "charged",
                evidence=given["evidence"],
                approval_code=given.get("approval_code", ""),
                actor=request.actor,
                now=timezone.now(),
            )
        except DomainError as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        else:
            messages.success(request, "The attempt is resolved. Who decided, and on what evidence, is kept.")
            return redirect("biller-attempt", found.pk)
    return render(request, "biller_portal/unresolved/attempt.html", _context(request, found, form), status=422)


def _context(request: BillerRequest, found: Attempt, form: DecideForm) -> dict[str, Any]:
    payment, now = found.payment, timezone.now()
    live = found.state == AttemptState.OPEN
    until = cases.not_before(found) if live else None
    early = until is not None and until > now
    batch = cleanings.batch_of(found, cleanings.numbers_of([found]))
    facts: list[tuple[str, object]] = [
        ("Account", str(payment.customer)),
        ("Amount", formats.money(found.amount, payment.currency)),
        ("Method", str(payment.instrument or payment.get_tender_display())),
        ("Route", str(found.route)),
        ("Our reference there", str(found.pk)),
        ("Batch", batch),
        ("First sent", formats.moment(found.created_at)),
        ("Last sent", formats.moment(found.sent_at) if found.sent_at else ""),
        ("Look-ups", formats.number(found.lookups)),
        ("Last look-up", formats.moment(found.looked_up_at) if found.looked_up_at else ""),
        ("“Not taken” from", formats.moment(until) if early and until is not None else ""),
        ("Result", in_words(found.result)),
        ("The processor’s reference", found.processor_reference),
        ("What came of it", found.message),
    ]
    repeat = ""
    if found.state == AttemptState.ABANDONED and found.command in {Command.VERIFY, Command.AUTHORIZE}:
        repeat = f"{reverse('biller-account-pay-method', args=[payment.customer_id])}?amount={payment.amount}"
    return {
        "title": f"{KINDS.get(found.command, found.command).removesuffix('s')}",
        "section": "runs",
        "attempt": found,
        "attempt_status": attempt_status(found),
        "currency": payment.currency,
        "facts": [(label, value) for label, value in facts if value],
        "form": form,
        "live": live,
        "answered": found.state == AttemptState.ANSWERED,
        "early": early,
        "what_to_do": cleanings.WHAT_TO_DO.get(found.command, ""),
        "may_close": request.may(Permission.CLOSE_CASE),
        "may_run": request.may(Permission.RUN),
        "batch": batch.split("/") if batch else None,
        "resubmissions": [one for one in _resubmissions(request) if batch and one["batch"] == batch],
        "repeat_url": repeat if request.may(Permission.TAKE_PAYMENT) else "",
        "decided": found.cases.filter(state=CaseState.DONE).order_by("-closed_at").first(),
    }


def _attempt_or_404(request: BillerRequest, attempt_id: uuid.UUID) -> Attempt:
    mine = Attempt.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(
        mine.select_related("payment__customer", "payment__instrument", "route", "biller"), pk=attempt_id
    )


# ---- Many of them


class EvidenceForm(forms.Form):
    """Why attempts are given up."""

    evidence = WordsField(
        label="Why, and how you know",
        max_length=150,
        help_text="The processor’s report and its day, its web page, a call and with whom. Kept with each of them.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )


@biller_page(Permission.CLOSE_CASE)
def give_up(request: BillerRequest, command: str) -> HttpResponse:
    """Show what of one kind may be given up, ask for the evidence, then give it up."""
    if command not in KINDS:
        raise Http404("No such kind of attempt.")
    now = timezone.now()
    if command == Command.VERIFY:
        return _give_up_verifications(request)
    found = cleanings.unresolved(biller=request.biller, now=now, command=command, limit=AT_ONCE)
    spans: cases.Spans = {}
    may = [one for one in found if one.state == AttemptState.OPEN and cases.too_early(one, now, spans) is None]
    form = EvidenceForm(request.POST or None)
    if may and form.is_valid():
        try:
            done = cleanings.give_up_all(
                biller=request.biller,
                command=command,
                evidence=form.cleaned_data["evidence"],
                actor=request.actor,
                now=now,
                limit=AT_ONCE,
            )
        except DomainError as refused:
            form.add_error(None, str(refused))
        else:
            kept = f", {formats.number(len(done.refused))} may not be given up yet" if done.refused else ""
            messages.success(request, f"{formats.number(len(done.given_up))} given up{kept}.")
            return redirect("biller-unresolved")
    kind = KINDS[command].lower()
    kind = kind.removesuffix("s") if len(may) == 1 else kind
    facts = [
        (
            str(one.payment.customer),
            f"{formats.money(one.amount, one.payment.currency)}, {formats.moment(one.created_at)}",
        )
        for one in may[:NAMED]
    ]
    if len(may) > NAMED:
        facts.append(("And", f"{formats.number(len(may) - NAMED)} more"))
    waiting = len(found) - len(may)
    none = f"None of the {kind} may be given up yet" if waiting else f"There are no {kind} to give up"
    context = {
        "title": f"Give up {formats.number(len(may))} {kind}?" if may else none,
        "section": "runs",
        "question": cleanings.WHAT_TO_DO[command] if found else "",
        "facts": facts,
        "warning": (
            f"{formats.number(waiting)} {'may' if waiting == 1 else 'of them may'} not be given up yet: answered, or the"
            " processor may still act on it. Each one’s own page says from when on it may."
            if waiting
            else ""
        ),
        "nothing": not may,
        "form": form if may else None,
        "button": "Give them up",
        "danger": True,
        "back_url": reverse("biller-unresolved"),
    }
    return render(request, "biller_portal/confirm.html", context, status=422 if form.is_bound else 200)


def _give_up_verifications(request: BillerRequest) -> HttpResponse:
    """Show the questions without an answer, ask why, then give them up: nobody is charged by any."""
    now = timezone.now()
    found = verifications.unanswered(biller=request.biller, now=now, limit=AT_ONCE)
    form = EvidenceForm(request.POST or None)
    if found and form.is_valid():
        done = verifications.give_up(
            biller=request.biller, reason=form.cleaned_data["evidence"], actor=request.actor, now=now, limit=AT_ONCE
        )
        messages.success(request, f"{formats.number(len(done))} given up.")
        return redirect("biller-unresolved")
    facts = [(str(one.customer), f"{one}, {formats.moment(one.created_at)}") for one in found[:NAMED]]
    if len(found) > NAMED:
        facts.append(("And", f"{formats.number(len(found) - NAMED)} more"))
    context = {
        "title": (
            f"Give up {formats.number(len(found))} {'verification' if len(found) == 1 else 'verifications'}?"
            if found
            else "There are no verifications to give up"
        ),
        "section": "runs",
        "question": cleanings.WHAT_TO_DO[Command.VERIFY] if found else "",
        "facts": facts,
        "nothing": not found,
        "form": form if found else None,
        "button": "Give them up",
        "danger": True,
        "back_url": reverse("biller-unresolved"),
    }
    return render(request, "biller_portal/confirm.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.RUN)
def resubmit(request: BillerRequest, run_id: int, number: int) -> HttpResponse:
    """Ask, then have a worker send what is unresolved of a batch again under its own ids."""
    mine = Run.objects.visible_to(request.user).filter(biller=request.biller)
    run = get_object_or_404(mine, pk=run_id)
    if request.method == "POST":
        try:
            asked = resubmissions.ask(
                biller=request.biller, run_id=run.pk, number=number, actor=request.actor, now=timezone.now()
            )
        except (DomainError, GatewayError) as refused:
            messages.error(request, str(refused))
        else:
            wakes.wake(work_run, asked.pk)
            messages.success(request, f"Batch {run.pk}/{number} is sent again. You may leave this page; it goes on.")
        return redirect("biller-unresolved")
    left = cleanings.unresolved(biller=request.biller, now=timezone.now(), batch=f"{run.pk}/{number}")
    total = formats.money(sum((one.amount for one in left), start=Unresolved("").total), request.biller.currency)
    context = {
        "title": f"Send batch {run.pk}/{number} again?",
        "section": "runs",
        "question": "Each message goes under its own id, so a processor that recognises repeats charges nobody twice. Where"
        " it does not, or its time is over, nothing is sent.",
        "facts": [("Without a result", f"{formats.number(len(left))}, {total}")],
        "button": "Send them again",
        "back_url": reverse("biller-unresolved"),
    }
    return render(request, "biller_portal/confirm.html", context)
