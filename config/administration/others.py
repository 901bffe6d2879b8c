"""Pages of the admin that came with other packages, as this installation wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import ClockedSchedule, PeriodicTask, SolarSchedule

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class AuthenticatorAdmin(_ModelAdmin):
    """Second factors: never their secrets; taken away from somebody who lost theirs."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_select_related = ("user",)
    list_filter = ("type",)
    search_fields = ("user__email",)
    fields = list_display

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: a person sets up their own."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False


class EmailAddressAdmin(_ModelAdmin):
    """Addresses that people have shown to be theirs, to look at."""

    list_display = ("email", "user", "primary", "verified")
    list_select_related = ("user",)
    search_fields = ("email",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: addresses come with people."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False


class BeatAdmin(PeriodicTaskAdmin):  # type: ignore[misc]  # it ships no types
    """The beat schedule: Django's own form, because the package's has a script that our security policy refuses."""

    change_form_template = None
    list_select_related = ("interval", "crontab", "solar", "clocked")
    date_hierarchy = None
    list_display = ("name", "enabled", "scheduler", "last_run_at", "total_run_count")
    list_filter = ("enabled",)
    fieldsets = (
        (None, {"fields": ("name", "regtask", "task", "enabled", "description")}),
        ("When", {"fields": ("interval", "crontab", "last_run_at")}),
        ("With what", {"fields": ("args", "kwargs", "expire_seconds")}),
    )
    readonly_fields = ("last_run_at",)


def settle() -> None:
    """Replace or remove the pages."""
    # Roles of ours are at billers, not groups; nothing of ours runs at one moment or by the sun.
    for model in (Group, SolarSchedule, ClockedSchedule, Authenticator, EmailAddress, PeriodicTask):
        admin.site.unregister(model)
    admin.site.register(Authenticator, AuthenticatorAdmin)
    admin.site.register(EmailAddress, EmailAddressAdmin)
    admin.site.register(PeriodicTask, BeatAdmin)
