"""Tenants apart, references that are proven by audit, room for updates in place."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from billing.row_security import reference, row_security

TENANT_TABLES = [
    "payments_route",
    "payments_exchange",
    "payments_instrument",
    "payments_payment",
    "payments_attempt",
    "payments_allocation",
    "payments_autopayenrolment",
    "payments_case",
]

ROOM = """
ALTER TABLE payments_payment SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE payments_attempt SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE payments_allocation SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02);
"""
NO_ROOM = """
ALTER TABLE payments_payment RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE payments_attempt RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE payments_allocation RESET (fillfactor, autovacuum_vacuum_scale_factor);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0001_initial"), ("billing", "0002_integrity")]

    operations: ClassVar = [
        *[row_security(table) for table in TENANT_TABLES],
        reference("payments_payment", "instrument_id", "payments_instrument"),
        reference("payments_payment", "route_id", "payments_route"),
        reference("payments_payment", "posting_id", "billing_posting"),
        reference("payments_payment", "run_id", "billing_run"),
        reference("payments_payment", "chunk_id", "billing_chunk"),
        reference("payments_attempt", "payment_id", "payments_payment"),
        reference("payments_attempt", "route_id", "payments_route"),
        reference("payments_allocation", "payment_id", "payments_payment"),
        reference("payments_allocation", "item_id", "billing_item"),
        reference("payments_case", "attempt_id", "payments_attempt"),
        migrations.RunSQL(ROOM, NO_ROOM),
    ]
