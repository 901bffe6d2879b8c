"""The Celery application and the whole beat table.

The broker is a wake-up and the rows are the queue: each task finds its work in PostgreSQL, so that Valkey may be wiped
at any moment and beat alone brings everything forward.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import redis
from celery import Celery, Task, bootsteps
from celery.schedules import crontab

from config import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Farther apart than this, a worker would hand out again what another one holds: the broker compares the clocks of
# hosts.
CLOCKS_APART = 2.0  # seconds


class OverTheDatabase(Task):  # type: ignore[type-arg]  # generic for type checkers alone
    """A task that begins with a connection that works: connections are kept between tasks, and PostgreSQL may restart."""

    def before_start(self, *_: Any) -> None:
        """Let go of a connection that failed another task."""
        from django.db import close_old_connections

        close_old_connections()


app = Celery("ratepayer", task_cls=OverTheDatabase)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the beat table: which task, how often, and a sentence for the administrator who sees it."""

    task: str
    every: timedelta | crontab
    does: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    def kwargs_as_json(self) -> str:
        """Give the task's arguments as the table keeps them."""
        return json.dumps(self.kwargs)

    def expires_after(self) -> int:
        """Give the seconds after which a wake-up that nobody took is dropped: the next one does as well."""
        return max(60, int(self.every.total_seconds())) if isinstance(self.every, timedelta) else 3600


# Name → entry. Written to django_celery_beat's tables when beat starts; an administrator's edits are kept.
BEAT: dict[str, Entry] = {
    "Collect what is due": Entry(
        "payments.tasks.collect_due", crontab(minute="7", hour="*"), "Plans each biller's usual collect run of the day."
    ),
    "Collect every open bill": Entry(
        "payments.tasks.rebill_due",
        crontab(minute="22", hour="*"),
        "Plans runs over every open bill for billers who want that: Mondays active accounts, on the first of a month others.",
    ),
    "Make scheduled payments": Entry(
        "payments.tasks.pay_scheduled",
        crontab(minute="2", hour="*"),
        "Plans each biller's run of scheduled payments whose day has come.",
    ),
    "Deposit what was authorized": Entry(
        "payments.tasks.deposit_due",
        crontab(minute="12", hour="*"),
        "Plans each biller's usual deposit run of the day, where money waits for one.",
    ),
    "Release what was not deposited": Entry(
        "payments.tasks.release_due",
        crontab(minute="17", hour="*"),
        "Plans each biller's usual release run of the day, where an authorization is older than its payment rules say.",
    ),
    "End what is over": Entry(
        "payments.tasks.expire",
        crontab(minute="27", hour="*"),
        "Tells payers whose AutoPay card has expired, and gives up authorizations that nothing can deposit any more.",
    ),
    "Read returns and chargebacks": Entry(
        "payments.tasks.read_returns",
        crontab(minute="22", hour="*"),
        "Reads from the processors what banks and card networks took back.",
    ),
    "Confirm payments": Entry(
        "payments.tasks.confirm_due",
        crontab(minute="42", hour="*"),
        "Confirms bank debits that no bank returned in the banking days of their route.",
    ),
    "Bring runs forward": Entry(
        "payments.tasks.wake_runs", timedelta(seconds=30), "Wakes a worker for every run that has not ended."
    ),
    "Ask for prepaid balances": Entry(
        "payments.tasks.refresh_prepaid",
        timedelta(minutes=5),
        "Asks what is left on prepaid accounts once an hour, and tells who has little left.",
    ),
    "Recover": Entry(
        "payments.tasks.recover",
        timedelta(seconds=30),
        "Looks up payments whose outcome nobody was told, and settles them.",
    ),
    "Read response files": Entry(
        "payments.tasks.read_response_files", timedelta(hours=1), "Settles what the processors' response files name."
    ),
    "Report what is unresolved": Entry(
        "payments.tasks.check_unresolved",
        crontab(minute="20", hour="*"),
        "Reports charges without a result once in each biller's morning, and tells who wants to know.",
    ),
    "Act on late bills": Entry(
        "payments.tasks.act_on_late_bills",
        crontab(minute="42", hour="*"),
        "Charges late fees and sets accounts inactive by the billers' rules, once for each bill, from eight o'clock on.",
    ),
    "Age out transmission logs": Entry(
        "payments.tasks.age_out_transmissions",
        crontab(minute="50", hour="3"),
        "Archives what was said to processors on days that are over, and removes what is older than is kept.",
    ),
    "Sweep drop folders": Entry(
        "billing.tasks.sweep_drop_folder", timedelta(seconds=30), "Receives what billers put into their drop folders."
    ),
    "Load waiting files": Entry(
        "billing.tasks.load_waiting_files", timedelta(seconds=20), "Loads invoice files that wait or whose worker died."
    ),
    "Send notices": Entry("billing.tasks.send_notices", timedelta(seconds=15), "Sends the e-mails that are due."),
    "Seal the audit trail": Entry(
        "billing.tasks.seal_audit_trail", timedelta(minutes=5), "Closes new audit entries under the hash chain."
    ),
    "Forget tries": Entry(
        "billing.tasks.forget_tries", crontab(minute="30", hour="4"), "Removes old counters of guests' and card tries."
    ),
    "Forget idempotency keys": Entry(
        "billing.tasks.forget_idempotency_keys",
        crontab(minute="35", hour="4"),
        "Removes keys of API calls that are older than thirty days.",
    ),
    "Forget tickets": Entry(
        "billing.tasks.forget_tickets",
        crontab(minute="40", hour="4"),
        "Removes tickets of single sign-on that are long over.",
    ),
    "Apply processors' events": Entry(
        "payments.tasks.apply_processor_events",
        timedelta(seconds=30),
        "Asks processors about the payments that their events name.",
    ),
    "Ask processors": Entry(
        "payments.tasks.ask_processors", timedelta(minutes=2), "Asks each route's processor whether it answers."
    ),
    "Purge processors' events": Entry(
        "payments.tasks.purge_processor_events", crontab(minute="20", hour="3"), "Removes events applied long ago."
    ),
    "Hear texts": Entry(
        "sms.tasks.hear", timedelta(seconds=2), "Reads texts from phones, does what they ask for and answers."
    ),
    "Send texts": Entry("sms.tasks.send", timedelta(seconds=2), "Sends the texts that are due."),
    "Announce bills by text": Entry(
        "sms.tasks.announce",
        timedelta(seconds=15),
        "Writes texts of loaded bills and of prepaid accounts with little left.",
    ),
    "End unconfirmed registrations": Entry(
        "sms.tasks.end_run_out", timedelta(minutes=5), "Ends pay-by-text registrations that nobody confirmed in time."
    ),
    "Deliver to billers' systems": Entry(
        "datapump.tasks.deliver",
        timedelta(seconds=2),
        "Tells billers' own systems what is due; a run lasts a minute at most.",
    ),
    "Send updates again": Entry(
        "datapump.tasks.resend",
        timedelta(seconds=5),
        "Puts updates back in the queue that somebody asked to be sent again.",
    ),
    "Age out envelopes": Entry(
        "datapump.tasks.purge_envelopes", crontab(minute="40", hour="3"), "Removes what was said half a year ago."
    ),
    "Age out fetched bills": Entry(
        "datapump.tasks.purge_printed_bills",
        crontab(minute="45"),
        "Removes bills that were fetched from print servers more than a day ago.",
    ),
}
if environment.flag("DEMO", default=False):
    BEAT["Tell the simulated CIS of bills"] = Entry(
        "config.tasks.hand_over_bills", timedelta(seconds=5), "Demonstration: hands over bills that were just loaded."
    )


class Clock(bootsteps.StartStopStep):
    """Refuses to start a worker whose clock is not PostgreSQL's and the broker's."""

    def start(self, parent: Any) -> None:
        """Compare the clocks.

        :raises RuntimeError: they are more than two seconds apart.
        """
        compare_clocks()


def compare_clocks() -> None:
    """Compare this machine's clock with the broker's and PostgreSQL's.

    :raises RuntimeError: one of them is more than two seconds away.
    """
    from django.conf import settings
    from django.db import connection

    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        seconds, micros = broker.time()
        apart = {"the broker": seconds + micros / 1e6 - time.time()}
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        apart["PostgreSQL"] = cursor.fetchone()[0] - time.time()
    for whose, difference in apart.items():
        if abs(difference) > CLOCKS_APART:
            raise RuntimeError(
                f"The clock of {whose} is {difference:+.1f} seconds from this machine's: set them right."
            )


app.steps["worker"].add(Clock)
