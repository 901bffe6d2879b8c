"""What every task of a worker begins with."""

from __future__ import annotations

import psycopg
import pytest
from django.db import OperationalError, connection

from billing.models import Biller
from billing.tasks import load_waiting_files
from tests import servers


@pytest.mark.django_db(transaction=True)
def test_a_task_begins_with_a_connection_that_works_although_another_one_lost_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(servers.superuser(), autocommit=True) as server:
        assert server.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    with pytest.raises(OperationalError):
        Biller.objects.exists()
    with pytest.raises(OperationalError):
        Biller.objects.exists()  # and so on, for as long as nobody lets go of it
    assert load_waiting_files.apply().state == "SUCCESS"
    assert not Biller.objects.exists()
