"""What PostgreSQL itself holds: tenants apart, entries balanced and unchangeable, room for updates in place."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from billing.row_security import append_only, row_security

TENANT_TABLES = [
    "billing_setting",
    "billing_membership",
    "billing_payerlink",
    "billing_savedview",
    "billing_customer",
    "billing_invoicefile",
    "billing_invoicefileerror",
    "billing_invoice",
    "billing_item",
    "billing_posting",
    "billing_entry",
    "billing_run",
    "billing_chunk",
    "billing_notice",
    "billing_noticedelivery",
    "billing_apitoken",
    "billing_idempotencykey",
]

# A posting must balance when its transaction ends, in every currency; until then its entries may come one by one.
BALANCE = """
CREATE FUNCTION ratepayer_posting_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM billing_entry WHERE posting_id = NEW.posting_id GROUP BY currency HAVING sum(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'posting % does not balance', NEW.posting_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER posting_balances AFTER INSERT ON billing_entry
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ratepayer_posting_balances();
"""

REFUSE = """
CREATE FUNCTION ratepayer_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
"""

# Room on each page for the updates that every payment makes, so that they stay on the page and touch no index.
ROOM = """
ALTER TABLE billing_item SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE billing_customer SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);
"""
NO_ROOM = """
ALTER TABLE billing_item RESET (fillfactor, autovacuum_vacuum_scale_factor);
ALTER TABLE billing_customer RESET (fillfactor, autovacuum_vacuum_scale_factor);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0001_initial")]

    operations: ClassVar = [
        migrations.RunSQL(REFUSE, "DROP FUNCTION ratepayer_refuse_change()"),
        migrations.RunSQL(
            BALANCE,
            "DROP TRIGGER posting_balances ON billing_entry; DROP FUNCTION ratepayer_posting_balances()",
        ),
        append_only("billing_entry"),
        append_only("billing_posting"),
        append_only("billing_auditentry"),
        append_only("billing_seal"),
        row_security("billing_biller", "id"),
        row_security("billing_auditentry", null_is_shared=True),
        *[row_security(table) for table in TENANT_TABLES],
        migrations.RunSQL(ROOM, NO_ROOM),
    ]
