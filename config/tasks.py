"""Tasks of the demonstration: what a biller's own system would do by itself, the simulated CIS is helped to."""

from __future__ import annotations

import datetime
from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing import tenancy
from billing.models import Biller, FileState
from config.demo import bills
from config.demo.doors import Simulators
from datapump.models import Purpose

# A file that was loaded so lately is handed over again and again: the same bills say the same.
LATELY = datetime.timedelta(minutes=2)


@shared_task
def hand_over_bills(**_later: Any) -> int:
    """Tell the simulated CIS of bills that have just been loaded; gives of how many accounts."""
    if not settings.DEMO:
        return 0
    cis = Simulators.of_settings().cis
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        loaded = Biller.objects.filter(
            endpoints__purpose=Purpose.BALANCES,
            endpoints__url=cis.url,
            invoice_files__state__in=[FileState.LOADED, FileState.WITHDRAWN],
            invoice_files__finished_at__gte=timezone.now() - LATELY,
        )
        return sum(bills.hand_over(biller=biller, cis=cis) for biller in loaded.distinct())
