"""Addresses of texting in the API, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from sms.api import enrolments, texts

urlpatterns = [
    path("customers/<int:pk>/pay-by-text/", enrolments.PayByTextView.as_view(), name="api-pay-by-text"),
    path("customers/<int:pk>/pay-by-text/bill/", enrolments.BillByTextView.as_view(), name="api-bill-by-text"),
    path("texts/", texts.TextsView.as_view(), name="api-texts"),
    path("texts/<uuid:pk>/", texts.TextView.as_view(), name="api-text"),
]
