"""``/health``: whether this process can do its work and what waits, for load balancers, monitors and the supervisor.

Everybody may ask, so it tells totals and times only: nothing of any biller, nothing secret.
"""

from __future__ import annotations

import datetime
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Max
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_celery_beat.models import PeriodicTask

from billing import tenancy
from config import beat
from payments.reports.unresolved_attempts import UNRESOLVED_AFTER

COUNTED = 10_000
# Beat keeps its times in the database every three minutes; twice that without one is silence.
SILENCE = datetime.timedelta(minutes=6)


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 where PostgreSQL answers, 503 where it does not.

    What only delays work (no broker, no beat) is said as ``degraded``, with 200: this process can still serve its pages.
    """
    told: dict[str, Any] = {"postgresql": "ok" if _postgresql() else "down", "valkey": "ok" if _valkey() else "down"}
    if told["postgresql"] == "down":
        return JsonResponse({"status": "down", **told}, status=503)
    try:
        told |= _waiting(timezone.now())
        well = told["valkey"] == "ok" and told["beat"]["state"] == "ok"
    except DatabaseError:
        well = False
    return JsonResponse({"status": "ok" if well else "degraded", **told})


def _postgresql() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _valkey() -> bool:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1) as broker:
            return bool(broker.ping())
    except redis.RedisError:
        return False


def _waiting(now: datetime.datetime) -> dict[str, Any]:
    """Give what waits, from indexes alone, however much there is.

    :raises DatabaseError: PostgreSQL is too busy to say.
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '2s'")
        return {
            "beat": _beat(cursor, now),
            "records": {"oldest_waiting_seconds": _age(_oldest_record(cursor), now)},
            "notices": {"oldest_waiting_seconds": _age(_oldest_notice(cursor), now)},
            "attempts": {"unresolved": _unresolved(cursor, now), "counted_up_to": COUNTED},
        }


def _beat(cursor: Any, now: datetime.datetime) -> dict[str, Any]:
    # Whoever sends holds the lock for as long as its process lives.
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        [beat.LOCK],
    )
    (running,) = cursor.fetchone()
    tick = PeriodicTask.objects.filter(enabled=True).aggregate(last=Max("last_run_at"))["last"]
    silent = running and tick is not None and now - tick > SILENCE
    return {
        "state": "silent" if silent else "ok" if running else "not running",
        "last_tick": None if tick is None else tick.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _oldest_record(cursor: Any) -> datetime.datetime | None:
    """Give when the oldest update was made that should go out: one look into the index for each biller and kind."""
    cursor.execute(
        """
        SELECT min(r.created_at) FROM billing_biller b
        CROSS JOIN unnest(ARRAY[1, 2, 3, 11]::smallint[]) AS t(type)
        CROSS JOIN unnest(ARRAY['waiting', 'sending', 'retrying']) AS s(state)
        CROSS JOIN LATERAL (
            SELECT created_at FROM datapump_record
            WHERE biller_id = b.id AND type = t.type AND state = s.state ORDER BY created_at, id LIMIT 1
        ) r
        """
    )
    found: datetime.datetime | None = cursor.fetchone()[0]
    return found


def _oldest_notice(cursor: Any) -> datetime.datetime | None:
    cursor.execute(
        "SELECT due_at FROM billing_noticedelivery WHERE state IN ('waiting', 'sending') ORDER BY due_at, id LIMIT 1"
    )
    row = cursor.fetchone()
    return row[0] if row else None


def _unresolved(cursor: Any, now: datetime.datetime) -> int:
    """Count attempts that should have an answer by now."""
    cursor.execute(
        "SELECT count(*) FROM (SELECT FROM payments_checkpoint c JOIN payments_attempt a ON a.id = c.attempt_id"
        " WHERE a.created_at < %s LIMIT %s) AS counted",
        [now - UNRESOLVED_AFTER, COUNTED],
    )
    count: int = cursor.fetchone()[0]
    return count


def _age(since: datetime.datetime | None, now: datetime.datetime) -> int | None:
    return None if since is None else max(0, int((now - since).total_seconds()))
