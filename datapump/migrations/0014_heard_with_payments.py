"""What follows from payments and has waited for an endpoint is heard by the one for payments, where webhooks tell it.

Going back leaves them there: the endpoint tells them either way.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

WAITING = """
UPDATE datapump_record r SET endpoint_id = e.id
FROM datapump_endpoint e
WHERE e.biller_id = r.biller_id AND e.purpose = 'payments' AND e.connector = 'webhooks' AND r.endpoint_id IS NULL
  AND r.type IN (5, 6, 7) AND r.state IN ('waiting', 'sending', 'retrying')
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("datapump", "0013_fees")]

    operations: ClassVar = [migrations.RunSQL(WAITING, migrations.RunSQL.noop)]
