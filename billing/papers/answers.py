"""How a PDF is answered: as a file to keep, under its own name, that no cache holds and no browser takes for a page."""

from __future__ import annotations

from django.http import HttpResponse

from billing.papers.typesetting import Pdf


def answer(pdf: Pdf) -> HttpResponse:
    """Answer with a PDF. Its bytes may be another system's, so it is downloaded and never shown inside our origin."""
    response = HttpResponse(pdf.body, content_type="application/pdf")
    response["Content-Disposition"] = f'attachment; filename="{pdf.name}"'
    response["Cache-Control"] = "private, no-store"
    return response
