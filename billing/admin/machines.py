"""Machines: keys to the API, their calls, and what was told to payers and kept of everybody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from billing import audit
from billing.admin.pages import ReadOnly, each, operator
from billing.models import ApiToken, AuditEntry, IdempotencyKey, Notice, NoticeDelivery, Seal
from billing.operations import api_tokens, notices


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    """Keys to the API: made in the biller's portal, shown there once, revoked here too."""

    list_display = (
        "name",
        "biller",
        "prefix",
        "may",
        "created_at",
        "created_by",
        "last_used_on",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("biller",)
    list_filter = ("biller",)
    search_fields = ("prefix",)
    hidden = ("digest",)
    actions = ("revoke",)

    @admin.display(description="may")
    def may(self, token: ApiToken) -> str:
        """Name what the key may do."""
        return ", ".join(token.scopes)

    @admin.action(description="Revoke")
    def revoke(self, request: HttpRequest, queryset: models.QuerySet[ApiToken]) -> None:
        """End each key at once."""
        each(request, queryset, lambda token: api_tokens.revoke(token=token, actor=operator(request)), "Revoked")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnly):
    """Calls of machines that moved money, and what they were answered."""

    list_display = ("key", "biller", "operation", "status", "created_at")
    list_select_related = ("biller",)
    list_filter = ("biller",)
    search_fields = ("key",)


@admin.register(Notice)
class NoticeAdmin(ReadOnly):
    """What payers had to be told."""

    list_display = ("created_at", "biller", "customer", "kind")
    list_select_related = ("biller", "customer")
    search_fields = ("id", "customer")


@admin.register(NoticeDelivery)
class NoticeDeliveryAdmin(ReadOnly):
    """Messages to payers, as they went out."""

    list_display = (
        "id",
        "biller",
        "customer",
        "channel",
        "address",
        "state",
        "attempts",
        "due_at",
        "sent_at",
        "failure",
    )
    list_select_related = ("biller", "customer")
    list_filter = ("state", "biller")
    search_fields = ("customer",)
    actions = ("send_again",)

    @admin.action(description="Send again")
    def send_again(self, request: HttpRequest, queryset: models.QuerySet[NoticeDelivery]) -> None:
        """Let each go out once more."""
        each(
            request,
            queryset,
            lambda delivery: notices.send_again(delivery=delivery, actor=operator(request)),
            "To be sent",
        )


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    """Who did what, in words."""

    list_display = ("at", "biller", "said", "actor", "requestor", "address", "customer")
    list_select_related = ("biller", "customer")
    list_filter = ("requestor", "biller")
    search_fields = ("id", "customer")

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the sentence before what it was made from."""
        return ["said", *super().get_fields(request, obj)]

    @admin.display(description="what")
    def said(self, entry: AuditEntry) -> str:
        """Say it in words."""
        return audit.sentence(entry)


@admin.register(Seal)
class SealAdmin(ReadOnly):
    """The hash chain over the audit trail."""

    list_display = ("last", "first", "count", "digest", "sealed_at")
    ordering = ("-last",)
