"""``/health``: whether this process can do its work, for load balancers and the supervisor."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 where PostgreSQL answers, 503 where it does not; a lost broker only delays work and is said."""
    states = {"postgresql": _postgresql(), "valkey": _valkey()}
    words = {name: "ok" if good else "down" for name, good in states.items()}
    return JsonResponse(words, status=200 if states["postgresql"] else 503)


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
