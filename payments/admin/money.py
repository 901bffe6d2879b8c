"""Money in the admin, to be read: payments, attempts, what went back, and what is unresolved."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from billing.admin.pages import ReadOnly
from payments import results
from payments.models import (
    Allocation,
    Attempt,
    Authorization,
    Carryover,
    Case,
    Checkpoint,
    CloudPayment,
    Payment,
    Reversal,
    ReversalDebit,
    UnconfirmedPayment,
)


@admin.register(Payment)
class PaymentAdmin(ReadOnly):
    """Money that customers gave."""

    list_display = (
        "confirmation",
        "created_at",
        "biller",
        "customer",
        "amount",
        "currency",
        "tender",
        "state",
        "channel",
    )
    list_select_related = ("biller", "customer")
    list_filter = ("biller",)
    search_fields = ("id", "customer", "email", "posting_id")
    readonly_fields = ("outcome",)
    hidden = ("result",)

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the result in words."""
        return [*super().get_fields(request, obj), "outcome"]

    @admin.display(description="Result", ordering="result")
    def outcome(self, payment: Payment) -> str:
        """Say the result in words."""
        return results.in_words(payment.result)


@admin.register(Attempt)
class AttemptAdmin(ReadOnly):
    """Messages about money to processors."""

    list_display = (
        "id",
        "created_at",
        "biller",
        "route",
        "command",
        "amount",
        "state",
        "outcome",
        "sent_at",
        "lookups",
    )
    list_select_related = ("biller", "route")
    list_filter = ("biller",)
    search_fields = ("id", "payment")
    readonly_fields = ("outcome",)
    hidden = ("result",)

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the result in words."""
        return [*super().get_fields(request, obj), "outcome"]

    @admin.display(description="Result", ordering="result")
    def outcome(self, attempt: Attempt) -> str:
        """Say the result in words."""
        return results.in_words(attempt.result)


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnly):
    """Payments whose outcome is not known or not recorded yet."""

    list_display = ("pk", "biller")
    list_select_related = ("biller",)
    list_filter = ("biller",)


@admin.register(Authorization)
class AuthorizationAdmin(ReadOnly):
    """Money that processors hold for payments until it is deposited."""

    list_display = ("pk", "biller", "customer", "authorized_on", "expires_at", "ended_at", "expired")
    list_select_related = ("biller", "customer")
    list_filter = ("expired", "biller")
    search_fields = ("payment", "customer")


@admin.register(UnconfirmedPayment)
class UnconfirmedPaymentAdmin(ReadOnly):
    """Payments that were posted before their bank had confirmed them (PAY-34)."""

    list_display = ("pk", "biller", "customer", "until", "state", "ended_at")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "biller")
    search_fields = ("payment",)


@admin.register(CloudPayment)
class CloudPaymentAdmin(ReadOnly):
    """Payments that billers' systems opened; what makes an address valid, its signature, is kept nowhere."""

    list_display = ("pk", "biller", "customer", "who", "user_name", "amount", "opened_by", "created_at", "expires_at")
    list_select_related = ("biller", "customer")
    list_filter = ("who", "biller")
    search_fields = ("customer",)


@admin.register(Allocation)
class AllocationAdmin(ReadOnly):
    """Which payment settles which item."""

    list_display = ("id", "biller", "payment_id", "item_id", "amount", "state")
    list_select_related = ("biller",)
    search_fields = ("payment", "item")


@admin.register(Reversal)
class ReversalAdmin(ReadOnly):
    """Money of payments that went back (PAY-32, PAY-33)."""

    list_display = (
        "id",
        "biller",
        "payment",
        "kind",
        "state",
        "amount",
        "fee",
        "loss",
        "reason",
        "made_by",
        "settled_at",
    )
    list_select_related = ("biller", "payment")
    list_filter = ("kind", "state", "biller")
    search_fields = ("id", "payment")


@admin.register(ReversalDebit)
class ReversalDebitAdmin(ReadOnly):
    """What is due by itself because money went back."""

    list_display = ("item", "biller", "reversal")
    list_select_related = ("biller", "item", "reversal")
    search_fields = ("reversal",)


@admin.register(Carryover)
class CarryoverAdmin(ReadOnly):
    """Money that moved from an older bill to the newer one (MSP-24)."""

    list_display = ("id", "biller", "payment", "kind", "invoice", "amount", "moved", "made_at", "returned_at")
    list_select_related = ("biller", "payment", "invoice")
    search_fields = ("payment",)


@admin.register(Case)
class CaseAdmin(ReadOnly):
    """What a person must decide, in the biller's portal."""

    list_display = ("opened_at", "biller", "customer", "kind", "state", "reason", "closed_at", "closed_by")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "kind", "biller")
    search_fields = ("id", "customer")
