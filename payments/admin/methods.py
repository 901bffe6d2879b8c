"""Methods on file in the admin, and what is to be charged by them."""

from __future__ import annotations

from django.contrib import admin

from billing.admin.pages import ReadOnly
from payments import results
from payments.models import (
    AutoPayEnrolment,
    Instrument,
    MethodRules,
    ScheduledPayment,
    Verification,
)


@admin.register(MethodRules)
class MethodRulesAdmin(ReadOnly):
    """What billers ask of methods; each changes its own in its settings."""

    list_display = ("biller", "verify_cards", "verify_banks", "require_cvv", "bank_days")
    list_select_related = ("biller",)


@admin.register(Verification)
class VerificationAdmin(ReadOnly):
    """Questions to processors whether a method is good."""

    list_display = ("created_at", "biller", "customer", "masked", "purpose", "state", "code", "avs", "cvv")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "purpose", "kind", "biller")
    search_fields = ("id", "customer")

    @admin.display(description="Result")
    def code(self, verification: Verification) -> str:
        """Say the result in words."""
        return results.in_words(verification.result)


@admin.register(Instrument)
class InstrumentAdmin(ReadOnly):
    """Methods on file, without their tokens."""

    list_display = (
        "id",
        "biller",
        "customer",
        "kind",
        "brand",
        "last4",
        "expires_on",
        "state",
        "is_default",
        "declined_at",
    )
    list_select_related = ("biller", "customer")
    list_filter = ("kind", "state", "biller")
    search_fields = ("id", "customer")
    hidden = ("token",)


@admin.register(AutoPayEnrolment)
class AutoPayEnrolmentAdmin(ReadOnly):
    """Consents to be charged for every bill."""

    list_display = ("id", "biller", "customer", "instrument", "consent_by", "consented_at", "ended_at")
    list_select_related = ("biller", "customer", "instrument")
    list_filter = ("biller",)
    search_fields = ("customer",)


@admin.register(ScheduledPayment)
class ScheduledPaymentAdmin(ReadOnly):
    """Payments on a day to come, and what became of them (MSP-15)."""

    list_display = ("id", "biller", "customer", "pay_on", "amount", "whole", "state", "tries", "made_by", "ended_at")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "biller")
    search_fields = ("id", "customer")
