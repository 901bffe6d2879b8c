"""The command centre above the list of runs: what comes next, what is at work, what the last days brought, what waits."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from billing import charts, formats
from billing.biller_portal.access import BillerRequest
from billing.models import Biller, Run, RunKind, RunState
from payments.models import Case, CaseState, LateRule, UnresolvedReport
from payments.operations import heartbeats
from payments.reports.forecasts import autopay_forecast
from payments.reports.runs import RunDay, RunTotals, run_totals, runs_by_day
from payments.reports.unresolved_attempts import unresolved_by_command

DAYS = 14
# So many runs at work are shown; more than a few at once is rare.
MOST = 5

# What beat does for money, in words; the order is the one in which a day goes.
_JOBS: dict[str, str] = {
    "payments.tasks.pay_scheduled": "Make scheduled payments",
    "payments.tasks.collect_due": "Collect what is due",
    "payments.tasks.rebill_due": "Collect every open bill",
    "payments.tasks.deposit_due": "Deposit what was authorized",
    "payments.tasks.release_due": "Release what was not deposited",
    "payments.tasks.act_on_late_bills": "Act on late bills",
    "payments.tasks.read_returns": "Read returns and chargebacks",
    "payments.tasks.confirm_due": "Confirm payments",
    "payments.tasks.expire": "End what is over",
    "payments.tasks.recover": "Look up what has no result",
    "payments.tasks.read_response_files": "Read response files",
    "payments.tasks.check_unresolved": "Report what is unresolved",
}
# A job that comes more often than this has no time worth showing.
_OFTEN = datetime.timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Job:
    """One job of beat's: when it comes next, or how often where that is always soon; ``note`` says what it will find."""

    words: str
    next_at: datetime.datetime | None
    often: str
    last_at: datetime.datetime | None
    note: str = ""


def overview(request: BillerRequest) -> dict[str, Any]:
    """Give what the command centre shows of the biller."""
    biller, now = request.biller, timezone.now()
    days = runs_by_day(biller=biller, start=biller.business_date(now) - datetime.timedelta(days=DAYS - 1))
    unresolved = [one for one in unresolved_by_command(biller=biller, now=now) if one.count]
    return {
        "jobs": _jobs(biller, now),
        "at_work": [(run, _progress(run, run_totals(run), biller)) for run in _at_work(biller)],
        "charts": _charts(biller, now, days) if days else [],
        "stats": _stats(biller, unresolved),
        "alert": alert(biller, now),
        "silent": _silent(biller, now),
    }


def _silent(biller: Biller, now: datetime.datetime) -> list[dict[str, str]]:
    """Give, for each processor that does not answer, its name and why; nothing is stopped by it."""
    return [
        {
            "heading": f"{route} has not answered since {formats.moment(route.connection_since)}",
            "text": f"Its processor was last asked {formats.moment(route.failed_at)}: {route.failure}",
        }
        for route in heartbeats.silent(biller_id=biller.pk, now=now)
        if route.connection_since is not None and route.failed_at is not None
    ]


def alert(biller: Biller, now: datetime.datetime) -> dict[str, str] | None:
    """Give the words of the banner, where the last daily check found something that still is unresolved."""
    if biller.restored_at is not None:
        return {
            "tone": "bad",
            "heading": "The database was restored from a backup, so nothing is charged",
            "text": "Its book is compared with the processors’ first (manage.py reconcile): whoever was charged after the"
            " backup would be charged again.",
            "url": "",
            "action": "",
        }
    yesterday = now.astimezone(biller.zone).date() - datetime.timedelta(days=1)
    if not UnresolvedReport.objects.filter(biller=biller, day__gte=yesterday).exists():
        return None
    left = unresolved_by_command(biller=biller, now=now, older_than=datetime.timedelta(hours=1))
    count = sum(one.count for one in left)
    if not count:
        return None
    total = formats.money(sum((one.total for one in left), Decimal("0.00")), biller.currency)
    charges = "charge has" if count == 1 else "charges have"
    return {
        "tone": "warning",
        "heading": f"{formats.number(count)} {charges} had no result for more than an hour: {total}",
        "text": "Nobody is charged a second time meanwhile.",
        "url": reverse("biller-unresolved"),
        "action": "What to do about each kind",
    }


def _jobs(biller: Biller, now: datetime.datetime) -> list[Job]:
    rows = {row.task: row for row in PeriodicTask.objects.filter(enabled=True, task__in=_JOBS)}
    tomorrow = biller.business_date(now) + datetime.timedelta(days=1)
    ahead = autopay_forecast(biller=biller, start=tomorrow, end=tomorrow)
    notes: dict[str, str] = {}
    if ahead:
        bills = "bill" if ahead[0].count == 1 else "bills"
        amount = formats.money(ahead[0].amount, biller.currency)
        notes["payments.tasks.collect_due"] = (
            f"{formats.day(tomorrow)}: {formats.number(ahead[0].count)} {bills} of {amount}"
        )
    days = [
        words for wanted, words in ((biller.rebill_weekly, "Mondays"), (biller.rebill_monthly, "The first")) if wanted
    ]
    notes["payments.tasks.rebill_due"] = ", ".join(days)
    jobs = []
    idle = _idle(biller)
    for task, words in _JOBS.items():
        row = rows.get(task)
        if row is None or task in idle:
            continue
        # A clock time follows from now, an interval from when it last came.
        left = row.schedule.remaining_estimate(now if row.crontab else row.last_run_at or now)
        often = row.interval is not None and row.schedule.run_every <= _OFTEN
        jobs.append(
            Job(
                words,
                None if often else _to_the_minute(now + max(left, datetime.timedelta(0))),
                f"Every {row.interval.every} {row.interval.period}" if often else "",
                row.last_run_at,
                notes.get(task, ""),
            )
        )
    return jobs


def _idle(biller: Biller) -> set[str]:
    """Give the jobs that would find nothing to do, because the biller does not want what they do."""
    wanted = {
        "payments.tasks.rebill_due": biller.rebill_weekly or biller.rebill_monthly,
        "payments.tasks.release_due": biller.release_days > 0,
        "payments.tasks.act_on_late_bills": LateRule.objects.filter(biller=biller, active=True).exists(),
    }
    return {task for task, holds in wanted.items() if not holds}


def _to_the_minute(moment: datetime.datetime) -> datetime.datetime:
    return (moment + datetime.timedelta(seconds=30)).replace(second=0, microsecond=0)


def _at_work(biller: Biller) -> list[Run]:
    live = Run.objects.filter(biller=biller, state__in=[RunState.PLANNED, RunState.WORKING])
    return list(live.exclude(kind=RunKind.RESEND).order_by("created_at")[:MOST])


def _progress(run: Run, totals: RunTotals, biller: Biller) -> dict[str, Any]:
    done = totals.settled
    taken = formats.money(totals.passed_total, biller.currency)
    return {
        "label": f"{run.get_kind_display()} {run.pk}",
        "done": done,
        "total": totals.expected,
        "words": f"{formats.number(done)} of {formats.number(totals.expected)}, {taken} taken,"
        f" {formats.number(totals.declined)} declined",
        "live": False,
    }


def _stats(biller: Biller, unresolved: Sequence[Any]) -> list[dict[str, Any]]:
    count = sum(one.count for one in unresolved)
    total = sum((one.total for one in unresolved), Decimal("0.00"))
    cases = Case.objects.filter(biller=biller, state=CaseState.OPEN).order_by()[:1001].count()
    stats = [
        {
            "label": one.kind,
            "value": formats.number(one.count),
            "note": formats.money(one.total, biller.currency),
            "url": f"{reverse('biller-unresolved')}?command={one.command}",
            "tone": "warning",
        }
        for one in unresolved
    ]
    if not stats:
        stats = [
            {
                "label": "Without a result",
                "value": formats.number(count),
                "note": formats.money(total, biller.currency),
                "url": reverse("biller-unresolved"),
                "tone": "",
            }
        ]
    stats.append(
        {
            "label": "Cases to decide",
            "value": "Over 1,000" if cases > 1000 else formats.number(cases),
            "note": "no rule may decide them",
            "url": f"{reverse('biller-cases')}?state=open",
            "tone": "bad" if cases else "",
        }
    )
    return stats


def _charts(biller: Biller, now: datetime.datetime, days: Sequence[RunDay]) -> list[charts.Chart]:
    by_day = {one.day: one for one in days}
    today = biller.business_date(now)
    every = [today - datetime.timedelta(days=DAYS - 1 - n) for n in range(DAYS)]
    nothing = RunDay(day=today)
    found = [by_day.get(day, nothing) for day in every]
    labels = [f"{day:%b} {day.day}" for day in every]
    taken = sum((one.passed_total for one in found), Decimal("0.00"))
    counted = sum(one.passed for one in found)
    return [
        charts.bars(
            title="Payments by runs",
            summary=f"{formats.number(counted)} taken in {DAYS} days.",
            series=[
                charts.Series("Taken", [one.passed for one in found], "good"),
                charts.Series("Declined", [one.declined for one in found], "bad"),
                charts.Series("Not reached", [one.unreached for one in found], "busy"),
                charts.Series("No result yet", [one.unknown for one in found], "warning"),
            ],
            label_heading="Business day",
            labels=labels,
        ),
        charts.bars(
            title="Money by runs",
            summary=f"{formats.money(taken, biller.currency)} taken in {DAYS} days.",
            words=lambda figure: formats.money(Decimal(figure), biller.currency),
            axis_words=lambda figure: formats.money(Decimal(figure), biller.currency).removesuffix(".00"),
            series=[
                charts.Series("Taken", [one.passed_total for one in found], "good"),
                charts.Series("Declined", [one.declined_total for one in found], "bad"),
                charts.Series("Not reached", [one.unreached_total for one in found], "busy"),
                charts.Series("No result yet", [one.unknown_total for one in found], "warning"),
            ],
            label_heading="Business day",
            labels=labels,
        ),
    ]
