"""Tenants apart, references that are proven by audit, room for updates in place."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from billing.row_security import reference, row_security

TENANT_TABLES = [
    "datapump_configuration",
    "datapump_endpoint",
    "datapump_record",
    "datapump_changelog",
    "datapump_envelope",
    "datapump_delivery",
]

ROOM = "ALTER TABLE datapump_record SET (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02)"
NO_ROOM = "ALTER TABLE datapump_record RESET (fillfactor, autovacuum_vacuum_scale_factor)"


class Migration(migrations.Migration):
    dependencies: ClassVar = [("datapump", "0001_initial"), ("billing", "0002_integrity")]

    operations: ClassVar = [
        *[row_security(table) for table in TENANT_TABLES],
        reference("datapump_record", "customer_id", "billing_customer"),
        reference("datapump_record", "endpoint_id", "datapump_endpoint"),
        migrations.RunSQL(ROOM, NO_ROOM),
    ]
