"""Scheduled payments: listed, read, made, changed and cancelled."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import money
from billing.api.idempotency import HEADER, REPLAYED, once
from billing.api.invoices import CustomerRef
from billing.api.views import Account, AmountAsked, ApiView, Money, PeriodQuery, Shape, in_period, page_of
from billing.models import Scope
from payments.api.payments import InstrumentRef, instrument_of
from payments.models import ScheduledPayment, ScheduledState
from payments.operations import scheduled_payments

_HOW = "How the customer agreed, in a sentence; kept with the consent: “On the web form of …”."


class ScheduledQuery(PeriodQuery):
    """Which scheduled payments."""

    account = Account(required=False)
    state = serializers.ChoiceField(choices=ScheduledState.choices, required=False)


class ScheduledChange(Shape):
    """When, how much and with what."""

    pay_on = serializers.DateField(help_text="A business day of the biller's to come.")
    amount = AmountAsked(
        allow_null=True,
        required=False,
        default=None,
        help_text="The most that is taken, in the biller's currency. Null: whatever is due on the day.",
    )
    instrument = serializers.UUIDField(help_text="A method on file of the account.")
    how = serializers.CharField(min_length=1, max_length=300, help_text=_HOW)


class ScheduledRequest(ScheduledChange):
    """A payment to schedule."""

    account = Account()


class ScheduledShape(Shape):
    """A payment on a day to come, or what became of it."""

    id = serializers.UUIDField()
    customer = CustomerRef()
    invoice = serializers.IntegerField(
        source="invoice_id",
        help_text="The bill that the account was at; it follows to a newer one that carries the balance.",
    )
    instrument = InstrumentRef()
    pay_on = serializers.DateField()
    whole = serializers.BooleanField(help_text="It takes whatever is due on the day.")
    amount = Money(help_text="The most that is taken; where it takes all, what was due when it was last told.")
    currency = serializers.CharField()
    state = serializers.ChoiceField(choices=ScheduledState.choices)
    failure = serializers.CharField(help_text="Why it failed, or why the last try came to nothing; empty otherwise.")
    payment = serializers.UUIDField(source="payment_id", allow_null=True, help_text="The latest payment made of it.")
    made_by = serializers.CharField()
    consent_text = serializers.CharField()
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class ScheduledListView(ApiView):
    """The scheduled payments of the biller."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="scheduled_payments_list",
        parameters=[ScheduledQuery],
        responses=page_of(ScheduledShape),
        tags=["scheduled payments"],
    )
    def get(self, request: Request) -> Response:
        """Give scheduled payments, the newest first."""
        chosen = self.query(ScheduledQuery)
        rows: QuerySet[ScheduledPayment] = _rows().filter(biller=self.biller)
        rows = in_period(self.of_account(rows, chosen.get("account")), chosen)
        if "state" in chosen:
            rows = rows.filter(state=chosen["state"])
        return self.page(rows, ScheduledShape, order=("-created_at", "-pk"), chosen=chosen)

    @extend_schema(
        operation_id="scheduled_payments_make",
        request=ScheduledRequest,
        parameters=[HEADER, REPLAYED],
        responses={201: ScheduledShape},
        tags=["scheduled payments"],
    )
    def post(self, request: Request) -> Response:
        """Schedule a payment of an account, which may have one at a time."""
        given = self.body(ScheduledRequest, request)
        _round(self, given)
        return once(self, operation="scheduled payment", given=given, act=lambda key: self._schedule(given, key))

    def _schedule(self, given: dict[str, Any], key: str) -> Response:
        customer = self.customer_numbered(given["account"])
        made = scheduled_payments.schedule(
            customer=customer,
            pay_on=given["pay_on"],
            amount=given["amount"],
            instrument=instrument_of(customer, given["instrument"]),
            actor=self.actor,
            request_key=hashlib.sha256(f"api:{key}".encode()).hexdigest(),
            how=given["how"],
        )
        return self.show(ScheduledShape, _rows().get(pk=made.pk), status=201)


class ScheduledView(ApiView):
    """One scheduled payment."""

    scope = Scope.PAYMENTS

    @extend_schema(operation_id="scheduled_payments_read", responses=ScheduledShape, tags=["scheduled payments"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a scheduled payment as it stands."""
        return self.show(ScheduledShape, self.find(_rows(), pk=pk))

    @extend_schema(
        operation_id="scheduled_payments_change",
        request=ScheduledChange,
        responses=ScheduledShape,
        tags=["scheduled payments"],
    )
    def put(self, request: Request, pk: uuid.UUID) -> Response:
        """Change a scheduled payment that waits; it is as it was where nothing would be different."""
        found, given = self.find(_rows(), pk=pk), self.body(ScheduledChange, request)
        _round(self, given)
        with contextlib.suppress(scheduled_payments.NothingChanged):
            scheduled_payments.change(
                scheduled=found,
                pay_on=given["pay_on"],
                amount=given["amount"],
                instrument=instrument_of(found.customer, given["instrument"]),
                actor=self.actor,
                how=given["how"],
            )
        return self.show(ScheduledShape, _rows().get(pk=pk))


class ScheduledCancelView(ApiView):
    """The end of a scheduled payment."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="scheduled_payments_cancel",
        request=None,
        responses={200: OpenApiResponse(ScheduledShape, description="Cancelled; nothing was taken.")},
        tags=["scheduled payments"],
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Cancel a scheduled payment that waits."""
        scheduled_payments.cancel(scheduled=self.find(_rows(), pk=pk), actor=self.actor)
        return self.show(ScheduledShape, _rows().get(pk=pk))


def _rows() -> QuerySet[ScheduledPayment]:
    return ScheduledPayment.objects.select_related("customer", "instrument")


def _round(view: ApiView, given: dict[str, Any]) -> None:
    # A currency without cents takes none; rounding would schedule another amount than was asked for.
    if given["amount"] is not None:
        given["amount"] = money.parse(str(given["amount"]), view.biller.currency)
