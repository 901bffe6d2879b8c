"""Runs that take money: the list, the forms that plan them, the review before one starts, the page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.db.models import OuterRef, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing import charts, formats, lists, statuses, wakes
from billing.biller_portal import command_centre
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.links import url_if_any
from billing.biller_portal.run_options import DepositForm, OptionsForm, ReleaseForm, ScheduledForm
from billing.errors import DomainError
from billing.models import Chunk, CustomerStatus, Run, RunKind, RunState
from billing.permissions import Permission
from payments.models import Route
from payments.operations import collections, deposits, releases, resubmissions, runs, scheduled_collections
from payments.reports.runs import Failures, RunTotals, late_deposits, run_failures, run_totals
from payments.results import in_words
from payments.tasks import work_run

LIVE = (RunState.PLANNED, RunState.WORKING)
_ADDED_UP = 20_000


def run_status(run: Run) -> str:
    """Give a run's status as ``billing.statuses`` knows it: one that was asked to stop is stopping until it has."""
    return "stopping" if run.stop_requested and run.state in LIVE else str(run.state)


class RunFilters(lists.Filters):
    """The filters of the list of runs."""

    state = lists.AnyOf(label="Status", choices=RunState.choices)
    kind = django_filters.ChoiceFilter(label="Kind", choices=RunKind.choices, empty_label="Any")
    dry = django_filters.BooleanFilter(
        label="Trial",
        field_name="dry_run",
        widget=forms.Select(choices=[("", "Any"), ("true", "Trials only"), ("false", "Real runs only")]),
    )
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    periods = (("start", "end"),)


def _url_of(found: Run) -> str:
    """Give the page of a run: sending updates again has one of its own."""
    resend = url_if_any("biller-datapump-resend-run", found.pk) if found.kind == RunKind.RESEND else ""
    return resend or reverse("biller-run", args=[found.pk])


def _chunks(field: str) -> Subquery:
    sums = Chunk.objects.filter(run=OuterRef("pk")).order_by().values("run").annotate(total=Sum(field)).values("total")
    return Subquery(sums)


class RunList(StaffPage, lists.ListPage[Run]):
    """Every run of the biller."""

    name, title, section = "runs", "Runs", "runs"
    template_name = "biller_portal/runs/list.html"
    filters = RunFilters
    orders = (lists.Order("newest", "Newest first", ("-created_at", "-id")),)
    columns = (
        lists.Link(
            "run",
            "Run",
            lambda one: f"{one.get_kind_display()}{' – trial' if one.dry_run else ''} {one.pk}",
            url=_url_of,
            nowrap=True,
        ),
        lists.Day("day", "Business day", "business_date"),
        lists.Moment("started", "Begun", "created_at"),
        lists.Tag("status", "Status", run_status, noun="run"),
        lists.Number("planned", "Planned", "expected_count"),
        lists.Amount("planned_amount", "Money planned", "expected_amount", currency="biller.currency"),
        lists.Number("taken", "Taken", "passed"),
        lists.Amount("taken_amount", "Money taken", "passed_amount", currency="biller.currency"),
        lists.Number("declined", "Declined", "declined"),
        lists.Number("unreached", "Not reached", "unreached"),
        lists.Column("by", "Asked by", "asked_by"),
    )
    empty_heading = "No runs yet"
    empty_text = (
        "Runs start by themselves every day for what AutoPay has to collect, what is scheduled and what is to deposit, or"
        " here by hand."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's runs with the sums of their chunks."""
        mine = Run.objects.visible_to(request.user).filter(biller=self.request.biller).select_related("biller")
        return mine.annotate(
            expected_count=_chunks("expected"),
            expected_amount=_chunks("expected_total"),
            passed=_chunks("passed_count"),
            passed_amount=_chunks("passed_total"),
            declined=_chunks("declined_count"),
            unreached=_chunks("unreached_count"),
        )

    def count(self, queryset: Any, most: int) -> int:
        """Count the runs without adding up their chunks."""
        return super().count(queryset.values("pk"), most)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Say whether the person may start one."""
        context = {
            "may_run": self.request.may(Permission.RUN),
            "charging_stopped": self.request.biller.charging_stopped,
        }
        # The command centre stands above the whole list, not above a part of it that somebody looks for.
        return context if request.GET else context | command_centre.overview(self.request)


@biller_page(Permission.RUN)
def new(request: BillerRequest) -> HttpResponse:
    """Draw the form of a collect run; a POST leads to the review."""
    return _new(request, OptionsForm, collections.plan, "Start a collection run", "new")


@biller_page(Permission.RUN)
def new_deposit(request: BillerRequest) -> HttpResponse:
    """Draw the form of a deposit run; a POST leads to the review."""
    return _new(request, DepositForm, deposits.plan, "Start a deposit run", "new_deposit")


@biller_page(Permission.RUN)
def new_release(request: BillerRequest) -> HttpResponse:
    """Draw the form of a release run; a POST leads to the review."""
    return _new(request, ReleaseForm, releases.plan, "Start a release run", "new_release")


@biller_page(Permission.RUN)
def new_scheduled(request: BillerRequest) -> HttpResponse:
    """Draw the form of a run of scheduled payments; a POST leads to the review."""
    return _new(
        request, ScheduledForm, scheduled_collections.plan, "Start a run of scheduled payments", "new_scheduled"
    )


def _new(
    request: BillerRequest,
    form_class: type[OptionsForm | DepositForm | ReleaseForm | ScheduledForm],
    plan: Callable[..., Run],
    title: str,
    template: str,
) -> HttpResponse:
    """Draw a run's form; a POST reckons what the run would take, without taking anything, and leads to the review."""
    form = form_class(request.POST if request.method == "POST" else None, request=request)
    if request.method == "POST" and form.is_valid():
        now = timezone.now()
        options = form.options(request.biller.business_date(now), now)
        try:
            trial = plan(biller=request.biller, options=options, actor=request.actor, now=now, dry_run=True)
        except DomainError as refused:
            form.add_error(None, str(refused))
        else:
            return redirect("biller-run", trial.pk)
    context = {"title": title, "section": "runs", "form": form, "biller": request.biller}
    return render(request, f"biller_portal/runs/{template}.html", context, status=422 if form.is_bound else 200)


_TRIALS: dict[str, str] = {
    RunKind.COLLECT: "Trial of a collection",
    RunKind.DEPOSIT: "Trial of a deposit",
    RunKind.RELEASE: "Trial of a release",
    RunKind.SCHEDULED: "Trial of scheduled payments",
}
# What a run counts.
_THINGS: dict[str, str] = {
    RunKind.COLLECT: "bill",
    RunKind.DEPOSIT: "payment",
    RunKind.RELEASE: "payment",
    RunKind.SCHEDULED: "payment",
    RunKind.RECOVER: "message",
}
_FORMS: dict[str, str] = {
    RunKind.DEPOSIT: "biller-run-new-deposit",
    RunKind.RELEASE: "biller-run-new-release",
    RunKind.SCHEDULED: "biller-run-new-scheduled",
}


@biller_page(Permission.VIEW)
def run(request: BillerRequest, run_id: int) -> HttpResponse:
    """Draw a run: what it is to take, how far it is, what came of it; a trial is the review before the real run."""
    found = _run_or_404(request, run_id)
    if (url := _url_of(found)) != request.path:
        return redirect(url)
    totals = run_totals(found)
    live = found.state in LIVE
    real = None
    if found.dry_run:
        real = _started_from(found)
    # While it runs the page asks every two seconds: reasons of a large run are added up when it has ended.
    failed = totals.declined or totals.unreached
    failures = run_failures(found) if failed and (not live or totals.sent <= _ADDED_UP) else []
    context = {
        "title": f"{_TRIALS.get(found.kind, 'Trial of a') if found.dry_run else found.get_kind_display()} run {found.pk}",
        "section": "runs",
        "run": found,
        "status": run_status(found),
        "live": live,
        "totals": totals,
        "real": real,
        "currency": request.biller.currency,
        "facts": _facts(found),
        "may_run": request.may(Permission.RUN),
        "charging_stopped": request.biller.charging_stopped,
        "stats": _stats(found, totals, request.biller.currency),
        "progress": _progress(found, totals, request.biller.currency),
        "chart": _chart(found, totals) if totals.sent else None,
        "thing": _THINGS.get(found.kind, "bill"),
        "new_url": reverse(_FORMS.get(found.kind, "biller-run-new")),
        "failures": failures,
        "results": _results(totals, failures),
        "payments_url": f"{reverse('biller-payments')}?run={_payments_of(found)}",
        "here": reverse("biller-run", args=[found.pk]),
        "held": _held(totals),
        "held_for": _held_for(found) if totals.held else "",
        "limited": _limited(totals),
    }
    return render(request, "biller_portal/runs/run.html", context)


@require_POST
@biller_page(Permission.RUN)
def start(request: BillerRequest, run_id: int) -> HttpResponse:
    """Start the run that a trial reviewed, with the same options."""
    trial = _run_or_404(request, run_id)
    if not trial.dry_run:
        messages.error(request, "This run was started already.")
        return redirect("biller-run", trial.pk)
    try:
        real = _planned(trial, request)
    except DomainError as refused:
        messages.error(request, str(refused))
        return redirect("biller-run", trial.pk)
    if real.state in LIVE:
        wakes.wake(work_run, real.pk)
        messages.success(request, "The run has started. You may leave this page; it goes on.")
    else:
        messages.warning(
            request, "The same run was made today already, and this is it. To run again, plan it with “Run although …”."
        )
    return redirect("biller-run", real.pk)


def _planned(trial: Run, request: BillerRequest) -> Run:
    """Plan the run that a trial reviewed."""
    given: dict[str, Any] = {"biller": request.biller, "actor": request.actor, "now": timezone.now()}
    if trial.kind == RunKind.DEPOSIT:
        return deposits.plan(options=deposits.options_of(trial), **given)
    if trial.kind == RunKind.RELEASE:
        return releases.plan(options=releases.options_of(trial), **given)
    if trial.kind == RunKind.SCHEDULED:
        return scheduled_collections.plan(options=scheduled_collections.options_of(trial), **given)
    return collections.plan(options=collections.options_of(trial), **given)


@require_POST
@biller_page(Permission.RUN)
def stop(request: BillerRequest, run_id: int) -> HttpResponse:
    """Ask a run to stop after what is under way."""
    found = _run_or_404(request, run_id)
    try:
        runs.stop(run=found, actor=request.actor)
        messages.warning(request, "The run stops after the part that is under way. What was sent is settled.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect("biller-run", found.pk)


def _run_or_404(request: BillerRequest, run_id: int) -> Run:
    return get_object_or_404(Run.objects.visible_to(request.user).filter(biller=request.biller), pk=run_id)


def _started_from(trial: Run) -> Run | None:
    """Give the real run with a trial's options, where one was made on its day after it."""
    later = Run.objects.filter(
        biller_id=trial.biller_id,
        kind=trial.kind,
        dry_run=False,
        business_date=trial.business_date,
        params=trial.params,
    )
    return later.order_by("-pk").first()


def _facts(found: Run) -> list[tuple[str, object]]:
    given = found.params
    facts: list[tuple[str, object]] = [("Business day", formats.day(found.business_date))]
    if found.kind == RunKind.COLLECT and given:
        options = collections.options_of(found)
        window = f"{formats.day(options.start)} to {formats.day(options.end)}"
        if not found.biller.balance_forward:
            window = f"From {formats.day(options.start)} on"
        route = Route.objects.filter(pk=options.route_id).first() if options.route_id else None
        facts += [
            ("Collection dates", "Any" if options.rebill else window),
            ("Accounts", CustomerStatus(options.status).label),
            ("Route", str(route) if route else "Every route"),
            ("Tender", {"card": "Cards", "ach": "Bank accounts"}.get(options.tender, "Cards and bank accounts")),
            ("Least amount", str(options.minimum) if options.minimum is not None else "As the payment rules say"),
            ("At most", f"{formats.number(options.limit)} bills" if options.limit else "All that are due"),
        ]
    if found.kind == RunKind.DEPOSIT and given:
        chosen = deposits.options_of(found)
        only = Route.objects.filter(pk=chosen.route_id).first() if chosen.route_id else None
        facts += [
            ("Authorized", f"{formats.day(chosen.start)} to {formats.day(chosen.end)}"),
            ("Route", str(only) if only else "Every route"),
            ("At most", f"{formats.number(chosen.limit)} payments" if chosen.limit else "All that are held"),
        ]
    if found.kind == RunKind.RELEASE and given:
        late = releases.options_of(found)
        only = Route.objects.filter(pk=late.route_id).first() if late.route_id else None
        since = f"{formats.day(late.start)} to " if late.start else "Until "
        facts += [
            ("Authorized", f"{since}{formats.day(late.end)}{', and all that have expired' if late.expired else ''}"),
            ("Route", str(only) if only else "Every route"),
            ("At most", f"{formats.number(late.limit)} payments" if late.limit else "All that are held"),
        ]
    if found.kind == RunKind.SCHEDULED and given:
        asked = scheduled_collections.options_of(found)
        facts += [
            ("Scheduled until", formats.day(asked.until)),
            ("At most", f"{formats.number(asked.limit)} payments" if asked.limit else "All whose day has come"),
        ]
    if found.kind == RunKind.RECOVER:
        facts += [("Batch sent again", found.params["batch"])]
    facts += [
        ("Asked by", found.asked_by),
        ("Begun", formats.moment(found.started_at or found.created_at)),
        ("Ended", formats.moment(found.finished_at) if found.finished_at else ""),
    ]
    return [(label, value) for label, value in facts if value]


def _results(totals: RunTotals, failures: Sequence[Failures]) -> list[tuple[str, str, int, Decimal]]:
    """Give what a run did by result code: in words, as payers read it, number, money; what passed first, what has none last."""
    rows = [(in_words(0), "", totals.passed, totals.passed_total)] if totals.passed else []
    rows += [
        (in_words(one.result) if one.result is not None else "No code", one.words, one.count, one.amount)
        for one in failures
    ]
    if totals.unknown:
        rows.append((in_words(999), "", totals.unknown, totals.unknown_total))
    return rows


def _payments_of(found: Run) -> int:
    """Give the run that a run's payments are of: what sends a batch again makes none."""
    return resubmissions.batch_of(found)[0] if found.kind == RunKind.RECOVER else found.pk


def _done(found: Run) -> str:
    return "Released" if found.kind == RunKind.RELEASE else "Taken"


def _held(totals: RunTotals) -> str:
    if not totals.held:
        return ""
    accounts = "account was" if totals.held == 1 else "accounts were"
    return f"{formats.number(totals.held)} {accounts} not charged: what is owed could not be asked"


def _limited(totals: RunTotals) -> str:
    if not totals.limited:
        return ""
    bills = "bill was" if totals.limited == 1 else "bills were"
    return f"{formats.number(totals.limited)} {bills} not charged: the method was declined too often"


def _held_for(found: Run) -> str:
    why = (
        Chunk.objects.filter(run=found)
        .exclude(held_for="")
        .order_by("number")
        .values_list("held_for", flat=True)
        .first()
    )
    return f"{why or ''} Their bills keep their day, and the next run takes them.".strip()


def _stats(found: Run, totals: RunTotals, currency: str) -> list[dict[str, Any]]:
    def stat(label: str, count: int, amount: Decimal | None, tone: str = "") -> dict[str, Any]:
        note = formats.money(amount, currency) if amount is not None else ""
        return {"label": label, "value": formats.number(count), "note": note, "tone": tone if count else ""}

    deposit = found.kind == RunKind.DEPOSIT
    words = {
        RunKind.DEPOSIT: "Payments to deposit",
        RunKind.RELEASE: "Payments to release",
        RunKind.SCHEDULED: "Payments to make",
        RunKind.RECOVER: "Messages to send again",
    }
    planned = stat(words.get(RunKind(found.kind), "Bills to collect"), totals.expected, totals.expected_total)
    if found.dry_run:
        return [planned]
    late = [stat("Expired, cost more", *late_deposits(found), "warning")] if deposit else []
    return [
        planned,
        stat("Sent", totals.sent, totals.sent_total),
        stat(_done(found), totals.passed, totals.passed_total, "good"),
        *late,
        stat("Declined", totals.declined, totals.declined_total, "bad"),
        *([stat("Not reached", totals.unreached, totals.unreached_total, "warning")] if totals.unreached else []),
        *([stat("Held", totals.held, None, "warning")] if totals.held else []),
        *([stat("Declined too often", totals.limited, None, "warning")] if totals.limited else []),
        # What sent a batch again does not follow what became of it after that.
        stat(
            "No result then" if found.kind == RunKind.RECOVER and found.state not in LIVE else "No result yet",
            totals.unknown,
            totals.unknown_total,
            "warning" if found.state not in LIVE else "",
        ),
    ]


def _progress(found: Run, totals: RunTotals, currency: str) -> dict[str, Any]:
    taken = formats.money(totals.passed_total, currency)
    planned = formats.number(totals.expected)
    return {
        "label": str(statuses.status("run", run_status(found)).text),
        "done": totals.settled if totals.expected else totals.chunks_done,
        "total": totals.expected or totals.chunks,
        "words": (
            f"{formats.number(totals.settled)} of {planned} {_THINGS.get(found.kind, 'bill')}s, "
            f"{taken} {_done(found).lower()}, {formats.number(totals.chunks_done)} of {formats.number(totals.chunks)} parts"
        ),
        # The page around it asks again, not this part alone.
        "live": False,
        "tone": "warning" if found.state in {RunState.STOPPED, RunState.FAILED} else "",
    }


def _chart(found: Run, totals: RunTotals) -> charts.Chart:
    parts = [
        charts.Series(_done(found), [totals.passed], "good"),
        charts.Series("Declined", [totals.declined], "bad"),
        charts.Series("Not reached", [totals.unreached], "busy"),
        charts.Series("No result yet", [totals.unknown], "warning"),
        charts.Series("Not sent", [totals.waiting], "quiet"),
    ]
    most = formats.number(max(totals.expected, totals.sent))
    summary = f"{formats.number(totals.passed)} of {most} payments were {_done(found).lower()}."
    return charts.outcome(
        title="Outcome",
        summary=summary,
        label_heading="Outcome",
        series=[one for one in parts if one.figures[0]],
    )
