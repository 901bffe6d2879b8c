"""Addresses of the customer portal: pay by text, its terms, and the links in texts."""

from __future__ import annotations

from django.urls import path

from sms.customer_portal import enrolments, links, terms

_TEXT = "account/<int:customer_id>/text/"

urlpatterns = [
    path(_TEXT, enrolments.text, name="customer-text"),
    path(f"{_TEXT}number/", enrolments.number, name="customer-text-number"),
    path(f"{_TEXT}again/", enrolments.again, name="customer-text-again"),
    path(f"{_TEXT}keep/", enrolments.keep, name="customer-text-keep"),
    path(f"{_TEXT}end/", enrolments.end, name="customer-text-end"),
    path("t/<str:code>", links.link, name="text-link"),
    path("with/<slug:slug>/text-terms/", terms.terms, name="customer-text-terms"),
]
