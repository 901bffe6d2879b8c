"""Tenants apart."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from billing.row_security import row_security

TENANT_TABLES = ["sms_smsmode"]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("sms", "0001_initial"), ("billing", "0002_integrity")]

    operations: ClassVar = [row_security(table) for table in TENANT_TABLES]
