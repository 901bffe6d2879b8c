"""The addresses of the web services."""

from __future__ import annotations

from django.urls import path

from billing.api.web_services import views

urlpatterns = [
    path("<str:service>.asmx", views.service, name="web-service"),
    path("<str:service>.asmx/<str:operation>", views.form, name="web-service-form"),
]
