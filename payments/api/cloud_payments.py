"""CloudPay: the biller's own system opens a payment, gives the address to its CSR or the payer, and asks what came of it.

Source: MSP-27
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import money
from billing.api.idempotency import HEADER, REPLAYED, once
from billing.api.views import AmountAsked, ApiView, Money, Shape
from billing.models import Invoice, Scope
from payments.models import CloudPayer, CloudPayment
from payments.operations import cloud_payments
from payments.operations.cloud_payments import State

STATES = [state.value for state in State]
_TAG = ["cloud payments"]


class CloudPayRequest(Shape):
    """A payment to open."""

    account = serializers.CharField(min_length=1, max_length=40, help_text="The base of the account number.")
    sub = serializers.CharField(
        max_length=20, allow_blank=True, default="", help_text="Its sub; empty where “account” is the whole number."
    )
    balance_due = AmountAsked(
        required=False,
        help_text="What the account owes in all, in the biller's currency: it wins over what is on file, and is the amount to "
        "pay. Without it what is due on file is.",
    )
    invoice = serializers.CharField(
        required=False,
        min_length=1,
        max_length=40,
        help_text="The number of the bill that the page shows; without a balance it alone is paid.",
    )
    who = serializers.ChoiceField(choices=CloudPayer.choices, help_text="For whom the address is.")
    user_name = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=80,
        help_text="Name or id of your user; required for a CSR, who is recorded as having made the payment.",
    )
    return_url = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=500,
        help_text="Where the page leads back to: https, of a host in the biller's settings. “cloud_payment” with the id is added.",
    )
    email = serializers.EmailField(
        required=False,
        default="",
        allow_blank=True,
        max_length=254,
        help_text="Where the receipt goes instead of the customer's address.",
    )


class CloudPaid(Shape):
    """The payment that was made."""

    id = serializers.UUIDField(help_text="The payment's GUID, as DataPump tells it.")
    confirmation = serializers.CharField()
    amount = Money()
    fee = Money()
    total = Money()
    tender = serializers.CharField()
    made_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    failure = serializers.CharField(help_text="Why it did not go through; empty where it did.")


class CloudPaymentShape(Shape):
    """A payment that was opened, and what came of it."""

    id = serializers.UUIDField()
    account = serializers.CharField(source="customer.number")
    invoice = serializers.SerializerMethodField(help_text="The number of the bill; empty where none was named.")
    who = serializers.ChoiceField(choices=CloudPayer.choices)
    user_name = serializers.CharField()
    amount = Money()
    currency = serializers.CharField()
    expires_at = serializers.DateTimeField()
    state = serializers.SerializerMethodField()
    may_be_paid = serializers.SerializerMethodField(help_text="Whether the address still takes a payment.")
    payment = serializers.SerializerMethodField(
        help_text="The last payment that was made or tried; null where none was."
    )

    # A shape is made for one answer.
    _known: cloud_payments.Standing | None = None

    def get_invoice(self, cloud: CloudPayment) -> str:
        """Give the bill's number."""
        return cloud.invoice.number if cloud.invoice else ""

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, cloud: CloudPayment) -> str:
        """Say what came of it."""
        return self._standing(cloud).state.value

    def get_may_be_paid(self, cloud: CloudPayment) -> bool:
        """Say whether it can be paid."""
        return bool(self._standing(cloud).key)

    @extend_schema_field(CloudPaid(allow_null=True))
    def get_payment(self, cloud: CloudPayment) -> Any:
        """Give the payment."""
        payment = self._standing(cloud).payment
        return None if payment is None else CloudPaid(payment).data

    def _standing(self, cloud: CloudPayment) -> cloud_payments.Standing:
        if self._known is None:
            self._known = cloud_payments.standing(cloud=cloud, now=timezone.now())
        return self._known


class CloudPaymentOpened(CloudPaymentShape):
    """A payment that was just opened, with its address."""

    url = serializers.SerializerMethodField(
        help_text="For whoever pays, until it expires. It opens the payment: keep it secret."
    )

    def get_url(self, cloud: CloudPayment) -> str:
        """Give the address."""
        return cloud_payments.url_of(cloud)


class CloudPaymentsView(ApiView):
    """Opening payments."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="CloudPay",
        request=CloudPayRequest,
        parameters=[HEADER, REPLAYED],
        responses={201: OpenApiResponse(CloudPaymentOpened, description="Opened: nothing is charged yet.")},
        tags=_TAG,
    )
    def post(self, request: Request) -> Response:
        """Open a payment of an account, and get the address where your CSR or the payer makes it within thirty minutes."""
        given = self.body(CloudPayRequest, request)
        if "balance_due" in given:
            given["balance_due"] = money.parse(str(given["balance_due"]), self.biller.currency)
        return once(self, operation="cloud payment", given=given, act=lambda key: self._open(given, key))

    def _open(self, given: dict[str, Any], key: str) -> Response:
        customer = self.customer_numbered("-".join(filter(None, [given["account"], given["sub"]])))
        invoice = None
        if "invoice" in given:
            invoice = Invoice.objects.filter(customer=customer, number=given["invoice"], withdrawn=False).last()
            if invoice is None:
                raise ValidationError({"invoice": ["This account has no such invoice."]}, code="unknown")
        made = cloud_payments.open_payment(
            customer=customer,
            balance_due=given.get("balance_due"),
            invoice=invoice,
            who=CloudPayer(given["who"]),
            user_name=given["user_name"],
            return_url=given["return_url"],
            email=given["email"],
            request_key=hashlib.sha256(f"cloud:{key}".encode()).hexdigest(),
            actor=self.actor,
        )
        return self.show(CloudPaymentOpened, made, status=201)


class CloudPaymentView(ApiView):
    """One payment that was opened."""

    @extend_schema(operation_id="CloudPayResult", responses=CloudPaymentShape, tags=_TAG)
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Say what came of a payment that was opened: whether it was made, by whom, under which confirmation number."""
        rows = CloudPayment.objects.select_related("customer", "invoice")
        return self.show(CloudPaymentShape, self.find(rows, pk=pk))
