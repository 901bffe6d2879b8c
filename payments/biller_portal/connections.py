"""The biller's processors: which answer, since when, what waits there; and asking one now."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from billing import wakes
from billing.biller_portal.access import BillerRequest, biller_page
from billing.permissions import Permission
from payments import tasks
from payments.models import Checkpoint, Route


@biller_page(Permission.VIEW)
def connections(request: BillerRequest) -> HttpResponse:
    """List the biller's routes with what their processors' heartbeats say."""
    mine = Route.objects.visible_to(request.user).filter(biller=request.biller).order_by("-active", "name", "pk")
    waiting = dict(
        Checkpoint.objects.filter(biller=request.biller)
        .order_by()
        .values_list("attempt__route_id")
        .annotate(count=Count("pk"))
    )
    context = {
        "title": "Processors",
        "section": "runs",
        "connections": [(route, waiting.get(route.pk, 0)) for route in mine],
        "may_run": request.may(Permission.RUN),
    }
    return render(request, "biller_portal/connections.html", context)


@require_POST
@biller_page(Permission.RUN)
def ask(request: BillerRequest, route_id: int) -> HttpResponse:
    """Have a worker ask one processor now: it may take as long as a heartbeat may."""
    mine = Route.objects.visible_to(request.user).filter(biller=request.biller, active=True)
    route = get_object_or_404(mine, pk=route_id)
    if wakes.wake(tasks.ask_processor, route.pk):
        messages.success(request, f"{route} is being asked. What it answers stands here in a moment.")
    else:
        messages.error(request, f"{route} could not be asked: no worker can be reached.")
    return redirect("biller-connections")
