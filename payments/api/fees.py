"""Fees: what customers were charged for payments that failed or were returned and for late bills, and taking one back."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.invoices import CustomerRef
from billing.api.views import Account, ApiView, Money, PeriodQuery, Shape, in_period, page_of
from billing.models import Scope
from payments.models import Fee
from payments.operations import fees


class FeeQuery(PeriodQuery):
    """Which fees; the period is of when they were charged."""

    account = Account(required=False)
    waived = serializers.BooleanField(
        required=False, help_text="True: those that were taken back alone; false: those that were not."
    )


class WaiverRequest(Shape):
    """Why a fee is taken back."""

    reason = serializers.CharField(max_length=200, help_text="The payer reads it.")


class FeeWaiverShape(Shape):
    """That a fee was taken back."""

    id = serializers.UUIDField(help_text="That of the update by which the biller's system heard of it.")
    set_off = Money(help_text="What of the fee was open and is closed by it; the rest is the customer's credit.")
    reason = serializers.CharField()
    made_by = serializers.CharField()
    waived_at = serializers.DateTimeField()


class FeeShape(Shape):
    """A fee that a customer was charged beside the bills: for a payment, or for a late bill."""

    id = serializers.UUIDField(help_text="That of the update by which the biller's system heard of it.")
    customer = CustomerRef()
    words = serializers.CharField(help_text="What the payer reads.")
    words_es = serializers.CharField(help_text="The same for who reads Spanish; empty: the words.")
    reason = serializers.CharField(
        help_text="What happened: why the payment failed or was returned, which bill is late."
    )
    amount = Money(source="item.amount")
    open = Money(source="item.open", help_text="What no payment, no newer bill and no waiver has settled yet.")
    currency = serializers.CharField(source="item.currency")
    payment = serializers.UUIDField(
        source="payment_id", allow_null=True, help_text="The payment that failed or was returned; null for a late bill."
    )
    invoice = serializers.IntegerField(
        source="late_bill.invoice_id", allow_null=True, help_text="The late bill; null for a payment."
    )
    charged_at = serializers.DateTimeField()
    waiver = FeeWaiverShape(allow_null=True, help_text="Null where it was not taken back.")


class FeesView(ApiView):
    """The fees of the biller's customers."""

    @extend_schema(operation_id="fees_list", parameters=[FeeQuery], responses=page_of(FeeShape), tags=["fees"])
    def get(self, request: Request) -> Response:
        """Give fees, the newest first."""
        chosen = self.query(FeeQuery)
        rows = self.of_account(_rows().filter(biller=self.biller), chosen.get("account"))
        rows = in_period(rows, chosen, "charged_at")
        if "waived" in chosen:
            rows = rows.filter(waiver__isnull=not chosen["waived"])
        return self.page(rows, FeeShape, order=("-charged_at", "-pk"), chosen=chosen)


class FeeView(ApiView):
    """One fee."""

    @extend_schema(operation_id="fees_read", responses=FeeShape, tags=["fees"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a fee, with its waiver where it was taken back."""
        return self.show(FeeShape, self.find(_rows(), pk=pk))


class FeeWaiveView(ApiView):
    """The waiver of a fee."""

    scope = Scope.REFUNDS

    @extend_schema(
        operation_id="fees_waive",
        request=WaiverRequest,
        responses={
            200: OpenApiResponse(FeeShape, description="Taken back; the payer and the biller's system are told.")
        },
        tags=["fees"],
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Take a fee back, which can be done once: what of it is open is closed, what was paid of it is a credit."""
        given = self.body(WaiverRequest, request)
        fees.waive(fee=self.find(_rows(), pk=pk), reason=given["reason"], actor=self.actor, now=timezone.now())
        return self.show(FeeShape, _rows().get(pk=pk))


def _rows() -> QuerySet[Fee]:
    return Fee.objects.select_related("customer", "item", "late_bill", "waiver")
