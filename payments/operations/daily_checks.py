"""The daily check: what has had no result for an hour is reported once a day, and those who want it are told.

Where nothing is unresolved nothing is written and nobody is told. Source: PAY-11.
"""

from __future__ import annotations

import datetime
import logging
from decimal import Decimal

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from billing import audit, formats
from billing.actors import Actor
from billing.models import Biller, Membership, Role
from payments.models import Case, CaseState, UnresolvedReport
from payments.reports.unresolved_attempts import unresolved_by_command

logger = logging.getLogger(__name__)

# Younger attempts are still being looked up; whoever is told of them could do nothing yet.
OLD_ENOUGH = datetime.timedelta(hours=1)
# Not in anybody's night: from this hour on, in the biller's zone.
FROM_HOUR = 6


def due(*, biller: Biller, now: datetime.datetime) -> bool:
    """Whether the biller's check of its calendar day is still to be made, and its morning has come."""
    local = now.astimezone(biller.zone)
    return local.hour >= FROM_HOUR and not UnresolvedReport.objects.filter(biller=biller, day=local.date()).exists()


@transaction.atomic(durable=True)
def check(*, biller: Biller, actor: Actor, now: datetime.datetime) -> UnresolvedReport | None:
    """Write the biller's report of the day, where something is unresolved; gives it, or the one that the day has."""
    found = [one for one in unresolved_by_command(biller=biller, now=now, older_than=OLD_ENOUGH) if one.count]
    cases = Case.objects.filter(biller=biller, state=CaseState.OPEN).count()
    if not found and not cases:
        return None
    report, made = UnresolvedReport.objects.get_or_create(
        biller=biller,
        day=now.astimezone(biller.zone).date(),
        defaults={
            "count": sum(one.count for one in found),
            "total": sum(one.total for one in found),
            "cases": cases,
            "rows": [
                {
                    "kind": one.kind,
                    "count": one.count,
                    "total": str(one.total),
                    "oldest": one.oldest.isoformat() if one.oldest else "",
                }
                for one in found
            ],
        },
    )
    if made:
        audit.record(
            actor=actor,
            event="unresolved.reported",
            biller_id=biller.pk,
            subject=f"unresolved_report:{report.pk}",
            facts={"count": report.count, "cases": cases, "total": f"{report.total} {biller.currency}"},
        )
    return report


def tell(*, report: UnresolvedReport, now: datetime.datetime) -> int:
    """Send a report to the biller's administrators who want it, once; gives to how many.

    Where the mail server cannot be reached the report stays untold, and the next call sends it.
    """
    biller = report.biller
    wanting = Membership.objects.filter(biller=biller, role=Role.ADMINISTRATOR, wants_alerts=True, user__is_active=True)
    addresses = list(wanting.order_by("pk").values_list("user__email", flat=True))
    # Claimed before it is sent, so that two workers do not both tell.
    if not addresses or not UnresolvedReport.objects.filter(pk=report.pk, mailed_at=None).update(mailed_at=now):
        return 0
    subject, text = _words(report, biller)
    told = 0
    for address in addresses:
        try:
            EmailMessage(subject, text, to=[address]).send()
        except OSError:  # whatever SMTP says is one
            logger.warning("the report of what is unresolved could not be sent to one who wants it", exc_info=True)
        else:
            told += 1
    if not told:
        # Nobody has it: the next call sends it. Where somebody has, nobody gets it twice.
        UnresolvedReport.objects.filter(pk=report.pk).update(mailed_at=None)
    return told


def _words(report: UnresolvedReport, biller: Biller) -> tuple[str, str]:
    with timezone.override(biller.zone):
        lines = [
            {
                "kind": row["kind"],
                "count": formats.number(row["count"]),
                "total": formats.money(Decimal(row["total"]), biller.currency),
                "oldest": formats.moment(datetime.datetime.fromisoformat(row["oldest"])) if row["oldest"] else "",
            }
            for row in report.rows
        ]
        given = {
            "biller": biller,
            "report": report,
            "day": formats.day(report.day),
            "total": formats.money(report.total, biller.currency),
            "lines": lines,
            "url": f"{settings.PUBLIC_URL}{reverse('biller-unresolved')}",
            "profile": f"{settings.PUBLIC_URL}{reverse('biller-profile')}",
        }
        text = render_to_string("biller_portal/runs/unresolved.txt", given)
    subject, _, body = text.partition("\n")
    return subject.strip(), body.strip() + "\n"
