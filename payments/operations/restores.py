"""Restores: a database that came back from a backup has forgotten charges that the processor remembers.

Nothing may be charged from it before its book is reconciled with the processor's. It knows itself: the row of
:class:`billing.models.Installation` names the server that it last worked in, and every new connection compares. A dump or
a base backup brings the row of the old place to a new one, so whoever restores need not remember to say so; only where
rows alone were put back in place must somebody say it (``manage.py restored``).

Source: PAY-10; docs/adr/0013.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from billing import audit, tenancy
from billing.actors import Actor
from billing.models import Biller
from payments.models import Payment, Route

# So long before the newest payment that a restored book knows is it compared with the processor's: what was on its way
# at the backup may have got its answer afterwards.
BEFORE_THE_LAST = datetime.timedelta(days=7)

# The cluster, its timeline (a new one after each recovery to a point in time and each failover), the database, and the
# table, which a dump that is loaded makes anew. The timeline is the one that is written to now: what the last checkpoint
# says of it stays the old one for minutes after a promotion. A server in recovery refuses the question, and with it the
# connection: one made before its promotion would go on after it without having compared.
HERE = """
    SELECT s.system_identifier || ':' || ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
           || ':' || d.oid || ':' || 'billing_installation'::regclass::oid
    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()"""


def notice(*, now: datetime.datetime | None = None) -> bool:
    """Compare where this database is with where it last was at work; gives whether it turned out to be restored.

    Then every biller's charging is stopped until it is reconciled. A database that never worked anywhere is at home.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT here.*, i.server FROM ({HERE}) here LEFT JOIN billing_installation i ON i.id = 1")
        here, server = cursor.fetchone()
        if server == here:
            return False
        if server is None:
            cursor.execute(
                "INSERT INTO billing_installation (id, server, noticed_at) VALUES (1, %s, now()) ON CONFLICT DO NOTHING",
                [here],
            )
            return False
    now = now or timezone.now()
    with tenancy.acting_for(tenancy.EVERY_BILLER), transaction.atomic(durable=True), connection.cursor() as cursor:
        # Many processes connect at once after a restore: the first one says it.
        cursor.execute(
            "UPDATE billing_installation SET server = %s, noticed_at = %s WHERE id = 1 AND server = %s RETURNING id",
            [here, now, server],
        )
        if cursor.fetchone() is None:
            return False
        _mark(Biller.objects.all(), None, Actor.system("restore"), now)
    return True


@transaction.atomic(durable=True)
def declare(
    *, billers: Iterable[Biller], actor: Actor, now: datetime.datetime, since: datetime.datetime | None = None
) -> None:
    """Say of billers that their rows came back from a backup: nothing is charged until their books are reconciled.

    ``since`` is from when on charges are compared with the processors'; by default a week before the newest payment.
    """
    _mark(billers, since, actor, now)


def _mark(
    billers: Iterable[Biller],
    since: datetime.datetime | None,
    actor: Actor,
    now: datetime.datetime,
) -> None:
    for biller in billers:
        newest = Payment.objects.filter(biller=biller).aggregate(at=Max("created_at"))["at"]
        begin = since or (newest or biller.created_at) - BEFORE_THE_LAST
        if biller.reconcile_since is not None:
            begin = min(begin, biller.reconcile_since)
        Biller.objects.filter(pk=biller.pk).update(charging_stopped=True, restored_at=now, reconcile_since=begin)
        # What went back of charges that the book has lost may have been read, and is asked for again.
        Route.objects.filter(biller=biller, reversals_read_until__gt=begin).update(reversals_read_until=begin)
        audit.record(
            actor=actor,
            event="biller.restored",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"since": begin.isoformat(timespec="seconds")},
        )
