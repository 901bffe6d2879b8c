"""What a text programme tells everybody: its terms, its help and what becomes of telephone numbers.

Carriers look at this page before they carry a programme's texts.

Source: evidence 3.4 (CTIA: programme name, frequency, rates, HELP, STOP, privacy)
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from billing import tenancy
from billing.customer_portal.guests import biller_of
from sms.operations import enrolments, programmes


@require_safe
@never_cache
def terms(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the terms of a biller's programme; a biller that never set one up has none."""
    biller = biller_of(slug)
    request.biller = biller  # type: ignore[attr-defined]  # the frame draws its name and colour
    tenancy.enter([biller.pk])
    programme, line = programmes.programme_of(biller), programmes.line_of(biller)
    if line is None and programme.pk is None:
        raise Http404("No text programme.")
    context = {
        "title": _("Pay by text: terms, help and privacy"),
        "biller": biller,
        "currency": biller.currency,
        "programme": programme,
        "line": line,
        "consent": enrolments.terms(programme, language=get_language() or "en"),
    }
    return render(request, "customer_portal/text_terms.html", context)
