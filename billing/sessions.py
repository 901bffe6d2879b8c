"""Staying signed in: the answer to the warning that a session is about to end."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST


@login_not_required
@never_cache
@require_POST
def extend(request: HttpRequest) -> JsonResponse:
    """Begin the session's time anew and say how many seconds it has; 0 where nobody is signed in any more."""
    if not request.user.is_authenticated:
        return JsonResponse({"seconds": 0})
    request.session.modified = True
    return JsonResponse({"seconds": request.session.get_expiry_age()})
