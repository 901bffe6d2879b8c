"""Every address of Ratepayer and the face that answers it."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from billing import branding, sessions
from billing.customer_portal.profiles import email_addresses
from config.health import health
from payments import hosted_pages
from payments import webhooks as processors
from sms import webhooks

urlpatterns: list[URLPattern | URLResolver] = [
    path("health", health, name="health"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("config.api")),
    path("webservices/", include("billing.api.web_services.urls")),
    path("accounts/email/", email_addresses, name="account_email"),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("look/accent-<str:accent>.css", branding.accent_stylesheet, name="accent-css"),
    path("look/logo/<slug:slug>", branding.logo, name="biller-logo"),
    path("sessions/extend", sessions.extend, name="session-extend"),
    path("processors/<uuid:guid>", processors.events, name="processor-events"),
    path("method-fields/<str:ticket>", hosted_pages.method_fields, name="method-fields"),
    path("texts/<uuid:guid>", webhooks.texts, name="texts"),
    path("biller/", include("billing.biller_portal.urls")),
    path("biller/", include("payments.biller_portal.urls")),
    path("biller/", include("datapump.biller_portal.urls")),
    path("biller/", include("sms.biller_portal.urls")),
    path("", include("billing.customer_portal.urls")),
    path("", include("payments.customer_portal.urls")),
    path("", include("sms.customer_portal.urls")),
]
if settings.DEMO:
    urlpatterns.append(path("demo/", include("config.demo.urls")))
if settings.DEBUG:
    urlpatterns.append(path("styleguide/", include("billing.biller_portal.styleguide")))
