"""Celery's face of payments: each task finds its work in the database, calls one operation and ends."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Chunk, CustomerStatus, Run, RunKind, RunState
from payments import transmissions
from payments.gateways.base import GatewayError
from payments.models import (
    Authorization,
    Case,
    CaseState,
    Checkpoint,
    LateRule,
    ProcessorEvent,
    Route,
    ScheduledPayment,
    ScheduledState,
    UnconfirmedPayment,
    UnconfirmedState,
    UnresolvedReport,
    Verification,
    VerificationState,
)
from payments.operations import (
    balances,
    collections,
    confirmations,
    daily_checks,
    deposits,
    expirations,
    heartbeats,
    late_bills,
    processor_events,
    recoveries,
    releases,
    resubmissions,
    returns,
    runs,
    scheduled_collections,
)

logger = logging.getLogger(__name__)

# A task hands over after so long, so that a worker can be stopped and billers take turns.
TURN_SECONDS = 60.0
# A part of a run is not cut off while its processor may still answer; after its lease another worker has it. The broker may
# ask again meanwhile, and is sent away.
RUN_SECONDS = int(TURN_SECONDS + runs.LEASE.total_seconds())
# The biller's business day on which active accounts are rebilled: Monday. Others are on the first of a month.
REBILL_WEEKDAY = 0


# Payers are not written to about late bills in the night of the biller's zone.
LATE_FROM_HOUR = 8


@contextlib.contextmanager
def _logged(what: str, biller: Biller) -> Iterator[None]:
    """Go on with other billers where a processor gives nothing; the next beat asks again, and the log says so."""
    try:
        yield
    except GatewayError as error:
        logger.warning("%s of %s could not be read: %s", what, biller, error)


# How each kind of run is worked off.
WORK: dict[str, Callable[..., Iterator[Chunk]]] = {
    RunKind.COLLECT: collections.work,
    RunKind.DEPOSIT: deposits.work,
    RunKind.RELEASE: releases.work,
    RunKind.SCHEDULED: scheduled_collections.work,
    RunKind.RECOVER: resubmissions.work,
}


@shared_task(soft_time_limit=RUN_SECONDS, time_limit=RUN_SECONDS + 30)
def work_run(run_id: int, **_: Any) -> None:
    """Work on a run for a minute, then let another task go on; harmless as often as it is asked for."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        run = Run.objects.select_related("biller").get(pk=run_id)
    began = time.monotonic()
    with tenancy.acting_for([run.biller_id]):
        for _chunk in WORK[run.kind](run=run, actor=Actor.system(run.kind)):
            if time.monotonic() - began > TURN_SECONDS:
                work_run.delay(run_id)
                return


@shared_task
def collect_due(**_: Any) -> None:
    """Plan today's usual run for each biller, and wake workers for every run that has not ended.

    A biller with several processors gets a run for each, side by side: one that is down keeps no other waiting (PAY-8).
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.filter(charging_stopped=False))
    now = timezone.now()
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            _collect(biller, now)
    wake_runs()


@shared_task
def rebill_due(now: datetime.datetime | None = None, **_: Any) -> None:
    """Plan runs over every open bill for billers who want that: weekly for active accounts, monthly for others (PAY-6)."""
    now = now or timezone.now()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        wanting = Q(rebill_weekly=True) | Q(rebill_monthly=True)
        billers = list(Biller.objects.filter(wanting, charging_stopped=False))
    for biller in billers:
        today = biller.business_date(now)
        statuses: list[CustomerStatus] = []
        if biller.rebill_weekly and today.weekday() == REBILL_WEEKDAY:
            statuses.append(CustomerStatus.ACTIVE)
        if biller.rebill_monthly and today.day == 1:
            statuses += [CustomerStatus.INACTIVE, CustomerStatus.CLOSED]
        with tenancy.acting_for([biller.pk]):
            for status in statuses:
                _collect(biller, now, status=status.value, rebill=True)
    wake_runs()


def _collect(biller: Biller, now: datetime.datetime, **chosen: Any) -> None:
    """Plan a collect run for each of the biller's routes, or one where there is but one."""
    routes: list[int | None] = list(Route.objects.usable(biller).values_list("pk", flat=True))
    for route_id in routes if len(routes) > 1 else [None]:
        options = collections.Options.usual(biller.business_date(now), route_id=route_id, **chosen)
        with contextlib.suppress(DomainError):
            runs.plan_usual(collections.plan, biller=biller, options=options, actor=Actor.system("beat"), now=now)


@shared_task
def deposit_due(**_: Any) -> None:
    """Plan today's usual deposit run for each biller with money that waits for one, and wake workers (PAY-7)."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        held = Authorization.objects.filter(ended_at__isnull=True).order_by().values("biller_id")
        billers = list(Biller.objects.filter(charging_stopped=False, pk__in=held))
    now = timezone.now()
    for biller in billers:
        with tenancy.acting_for([biller.pk]), contextlib.suppress(DomainError):
            options = deposits.Options.usual(biller.business_date(now))
            runs.plan_usual(deposits.plan, biller=biller, options=options, actor=Actor.system("beat"), now=now)
    wake_runs()


@shared_task
def release_due(**_: Any) -> None:
    """Plan today's usual release run for each biller with authorizations that nobody deposited in time, and wake workers."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        held = Authorization.objects.filter(ended_at__isnull=True).order_by().values("biller_id")
        billers = list(Biller.objects.filter(charging_stopped=False, release_days__gt=0, pk__in=held))
    now = timezone.now()
    for biller in billers:
        with tenancy.acting_for([biller.pk]), contextlib.suppress(DomainError):
            options = releases.Options.usual(biller, now)
            if releases.due(biller=biller, options=options, now=now):
                runs.plan_usual(releases.plan, biller=biller, options=options, actor=Actor.system("beat"), now=now)
    wake_runs()


@shared_task(expires=3600)
def expire(**_: Any) -> None:
    """End what ends by time for each biller: tell payers of cards that have expired, give up what cannot be deposited."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.all())
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            expirations.expire(biller=biller, actor=Actor.system("expire"), now=timezone.now())


@shared_task
def pay_scheduled(**_: Any) -> None:
    """Plan today's usual run for each biller with scheduled payments whose day has come, and wake workers (MSP-15)."""
    now = timezone.now()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        # A biller's day may be a day ahead of UTC's.
        soon = now.date() + datetime.timedelta(days=1)
        waiting = ScheduledPayment.objects.filter(
            state=ScheduledState.SCHEDULED, ended_at__isnull=True, pay_on__lte=soon
        )
        billers = list(Biller.objects.filter(charging_stopped=False, pk__in=waiting.order_by().values("biller_id")))
    for biller in billers:
        today = biller.business_date(now)
        with tenancy.acting_for([biller.pk]), contextlib.suppress(DomainError):
            if ScheduledPayment.objects.filter(
                biller=biller, state=ScheduledState.SCHEDULED, ended_at__isnull=True, pay_on__lte=today
            ).exists():
                options = scheduled_collections.Options.usual(today)
                runs.plan_usual(
                    scheduled_collections.plan, biller=biller, options=options, actor=Actor.system("beat"), now=now
                )
    wake_runs()


@shared_task(expires=300)
def refresh_prepaid(**_: Any) -> None:
    """Ask what is left on prepaid accounts that nobody looked at for an hour, and tell who has little left (MSP-33)."""
    balances.refresh_prepaid(now=timezone.now(), seconds=TURN_SECONDS)


@shared_task
def wake_runs(**_: Any) -> None:
    """Wake a worker for every run that has not ended: whatever was lost, beat brings it forward."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        live = list(
            Run.objects.filter(kind__in=WORK, state__in=[RunState.PLANNED, RunState.WORKING])
            .order_by("created_at")
            .values_list("pk", flat=True)
        )
    for run_id in live:
        work_run.delay(run_id)


@shared_task
def recover(**_: Any) -> None:
    """Look up and settle the unresolved attempts of every biller that has some, and give up old verifications."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        unresolved = Checkpoint.objects.order_by().values("biller_id")
        asked = Verification.objects.filter(state=VerificationState.OPEN).order_by().values("biller_id")
        billers = list(Biller.objects.filter(Q(pk__in=unresolved) | Q(pk__in=asked)))
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            recoveries.recover(biller=biller, actor=Actor.system("recover"))


@shared_task(expires=3600)
def check_unresolved(**_: Any) -> None:
    """Make each biller's daily check of unresolved charges when its morning has come, and tell who wants to know (PAY-11)."""
    now, actor = timezone.now(), Actor.system("daily check")
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        unresolved = Checkpoint.objects.order_by().values("biller_id")
        decide = Case.objects.filter(state=CaseState.OPEN).order_by().values("biller_id")
        billers = list(Biller.objects.filter(Q(pk__in=unresolved) | Q(pk__in=decide)))
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            if daily_checks.due(biller=biller, now=now):
                daily_checks.check(biller=biller, actor=actor, now=now)
    # Also what the mail server did not take before.
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        lately = now.date() - datetime.timedelta(days=2)
        for report in UnresolvedReport.objects.filter(mailed_at=None, day__gte=lately).select_related("biller"):
            daily_checks.tell(report=report, now=now)


@shared_task(expires=3600)
def act_on_late_bills(**_: Any) -> None:
    """Do what billers' late rules say, from the morning of their day on; what was done already is not done again (PAY-35)."""
    now = timezone.now()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        ruled = LateRule.objects.filter(active=True).order_by().values("biller_id")
        billers = list(Biller.objects.filter(charging_stopped=False, pk__in=ruled))
    for biller in billers:
        if now.astimezone(biller.zone).hour < LATE_FROM_HOUR:
            continue
        with tenancy.acting_for([biller.pk]), contextlib.suppress(DomainError):
            day = biller.business_date(now)
            late_bills.in_all(late_bills.act(biller=biller, day=day, actor=Actor.system("late rules"), now=now))


@shared_task(expires=3600)
def age_out_transmissions(**_: Any) -> None:
    """Archive what was said to processors on days that are over, and remove what is older than is kept (PAY-13)."""
    transmissions.age_out(now=timezone.now())


@shared_task
def read_response_files(**_: Any) -> None:
    """Read the processors' response files of every biller with unresolved attempts (PAY-10)."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.filter(pk__in=Checkpoint.objects.order_by().values("biller_id")))
    for biller in billers:
        with tenancy.acting_for([biller.pk]), _logged("response files", biller):
            recoveries.read_response_files(biller=biller, actor=Actor.system("recover"))


@shared_task(expires=60)
def apply_processor_events(**_: Any) -> None:
    """Ask about what processors' events name, for every biller that has some."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        waiting = ProcessorEvent.objects.filter(applied_at__isnull=True).order_by().values("biller_id")
        billers = list(Biller.objects.filter(pk__in=waiting))
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            processor_events.apply(biller=biller, actor=Actor.system("webhook"))


@shared_task(expires=3600)
def purge_processor_events(**_: Any) -> None:
    """Throw away processors' events that were applied long ago."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        processor_events.purge(now=timezone.now())


@shared_task(expires=110)
def ask_processors(**_: Any) -> None:
    """Have each active route's processor asked whether it answers; one that is slow holds up no other (PAY-22)."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        routes = list(Route.objects.filter(active=True).order_by("pk").values_list("pk", flat=True))
    for route_id in routes:
        ask_processor.delay(route_id)


@shared_task(expires=110)
def ask_processor(route_id: int, **_: Any) -> None:
    """Ask one route's processor whether it answers."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        route = Route.objects.get(pk=route_id)
    with tenancy.acting_for([route.biller_id]):
        heartbeats.ask(route=route)


@shared_task
def confirm_due(**_: Any) -> None:
    """Confirm the payments that no bank returned in their time, for every biller that has some (PAY-34)."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        waiting = UnconfirmedPayment.objects.filter(state=UnconfirmedState.WAITING).order_by().values("biller_id")
        billers = list(Biller.objects.filter(pk__in=waiting))
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            confirmations.confirm_due(biller=biller, actor=Actor.system("confirm"), now=timezone.now())


@shared_task
def read_returns(**_: Any) -> None:
    """Read what banks and card networks took back of every biller's charges (PAY-32)."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.filter(pk__in=Route.objects.order_by().values("biller_id")))
    for biller in billers:
        with tenancy.acting_for([biller.pk]), _logged("returns and chargebacks", biller):
            returns.read(biller=biller, actor=Actor.system("returns"), now=timezone.now())
