"""Envelopes age out: what was said is kept for as long as somebody may ask, that it was said for good."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection, transaction

from billing import tenancy

KEPT = timedelta(days=180)
_BATCH = 5_000


def purge(*, now: datetime, kept: timedelta = KEPT) -> int:
    """Remove envelopes older than ``kept``, a few thousand in a transaction; gives how many. Their deliveries stay."""
    removed = 0
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        while True:
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute(
                    """
                    DELETE FROM datapump_envelope WHERE id = ANY(ARRAY(
                        SELECT v.id FROM datapump_endpoint e CROSS JOIN LATERAL (
                            SELECT o.id FROM datapump_envelope o WHERE o.endpoint_id = e.id AND o.at < %s
                            ORDER BY o.at LIMIT %s
                        ) v LIMIT %s
                    ))
                    """,
                    [now - kept, _BATCH, _BATCH],
                )
                gone = int(cursor.rowcount)
            removed += gone
            if gone < _BATCH:
                return removed
