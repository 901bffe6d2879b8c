"""Sending again all that match: the count first, then a run whose page shows how far it is."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.errors import DomainError
from billing.lists.filters import chips
from billing.models import Run, RunKind, RunState
from billing.permissions import Permission
from datapump import reports
from datapump.biller_portal.histories import HistoryFilters, chosen_by
from datapump.biller_portal.updates import MAY_HAVE_IT
from datapump.biller_portal.waking import wake_resends
from datapump.models import Record
from datapump.operations import resends

COUNTED = 100_000


@biller_page(Permission.RESEND)
def everything(request: BillerRequest) -> HttpResponse:
    """Say how many updates match the filters in the address and may be sent again; ask; plan the run."""
    filters = HistoryFilters(request.GET, queryset=Record.objects.none(), request=request)
    back = f"{reverse('biller-datapump')}?{request.GET.urlencode()}"
    if not filters.form.is_valid():
        messages.error(request, "The filters do not make sense. Nothing was sent again.")
        return redirect(back)
    chosen = chosen_by(request, filters.form.cleaned_data)
    if request.method == "POST":
        try:
            key = str(uuid.UUID(request.POST.get("key", "")))
            run = resends.plan(actor=request.actor, biller=request.biller, chosen=chosen, key=key)
        except (DomainError, ValueError) as refused:
            messages.error(request, str(refused) if isinstance(refused, DomainError) else "Ask again, please.")
            return redirect(back)
        wake_resends()
        return redirect("biller-datapump-resend-run", run.pk)
    narrowed = resends.sendable(chosen)
    count = (
        0 if narrowed is None else reports.history_count(biller_id=request.biller.pk, chosen=narrowed, most=COUNTED + 1)
    )
    words = f"over {formats.number(COUNTED)}" if count > COUNTED else formats.number(count)
    applied = [(chip.label, chip.value) for chip in chips(request, filters.form, frozenset())]
    context = {
        "title": "Send all that match again?",
        "section": "datapump",
        "count": count,
        "words": words,
        "applied": applied,
        "warning": MAY_HAVE_IT if count == 1 else "The biller’s system may already have these updates.",
        "key": uuid.uuid4(),
        "back_url": back,
    }
    return render(request, "biller_portal/datapump/resend.html", context)


def run_or_404(request: BillerRequest, run_id: int) -> Run:
    """Give the biller's run that sends again; another biller's is not found."""
    mine = Run.objects.visible_to(request.user).filter(biller=request.biller, kind=RunKind.RESEND)
    return get_object_or_404(mine, pk=run_id)


@biller_page(Permission.VIEW)
def run(request: BillerRequest, run_id: int) -> HttpResponse:
    """Draw how far a run that sends again is."""
    found = run_or_404(request, run_id)
    progress = resends.progress(found)
    live = not progress.finished
    status = "stopping" if live and found.stop_requested else str(found.state)
    ended = found.finished_at or timezone.now()
    context = {
        "title": "Sending again",
        "section": "datapump",
        "run": found,
        "status": status,
        "live": live,
        "here": reverse("biller-datapump-resend-run", args=[found.pk]),
        "progress": {
            "label": "Put back in the queue",
            "done": progress.done,
            "total": progress.total,
            "words": f"{formats.number(progress.done)} of {formats.number(progress.total)} updates",
            "live": live,
            "tone": "good" if found.state == RunState.DONE else "",
        },
        "facts": [
            ("Asked by", found.asked_by),
            ("Asked", formats.moment(found.created_at)),
            ("Took", formats.ago((ended - found.created_at).total_seconds()) if not live else ""),
        ],
        "may_stop": live and not found.stop_requested and request.may(Permission.RESEND),
    }
    return render(request, "biller_portal/datapump/resend_run.html", context)


@require_POST
@biller_page(Permission.RESEND)
def stop(request: BillerRequest, run_id: int) -> HttpResponse:
    """Ask a run that sends again to stop."""
    found = run_or_404(request, run_id)
    try:
        resends.stop(actor=request.actor, run=found)
        messages.success(request, "It stops after the batch it is at. What was put back in the queue goes out.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect("biller-datapump-resend-run", found.pk)
