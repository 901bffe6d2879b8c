"""Payments: taken with a method on file, listed, read."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import money
from billing.api.idempotency import HEADER, REPLAYED, once
from billing.api.invoices import CustomerRef
from billing.api.views import Account, AmountAsked, ApiView, Money, PdfView, PeriodQuery, Shape, in_period, page_of
from billing.models import Biller, Customer, Item, PayType, Scope
from billing.papers.answers import answer
from payments import receipts
from payments.models import (
    Allocation,
    AllocationState,
    Channel,
    Instrument,
    InstrumentKind,
    Payment,
    PaymentState,
    Reversal,
    ReversalKind,
    ReversalState,
    Tender,
    UnconfirmedState,
)
from payments.operations import authorizations, charges, outside_payments, refunds

# What a client reads instead of our numbers.
CHANNELS = {Channel(value): Channel(value).name.lower() for value in Channel.values}
CHANNEL_NAMES = sorted(CHANNELS.values())
_CHANNEL_OF = {name: channel for channel, name in CHANNELS.items()}
# Where a machine may take a payment for a customer.
TAKEN_THROUGH = (Channel.API, Channel.IVR, Channel.KIOSK, Channel.OUTBOUND_CALL)
DECLINED = "declined"


class PaymentQuery(PeriodQuery):
    """Which payments."""

    account = Account(required=False)
    state = serializers.ChoiceField(choices=PaymentState.choices, required=False)
    pay_type = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False, help_text="By its number.")


class PaymentRequest(Shape):
    """A payment to take."""

    account = Account()
    amount = AmountAsked(help_text="In the biller's currency.")
    instrument = serializers.UUIDField(help_text="A method on file of the account.")
    invoices = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        min_length=1,
        max_length=100,
        help_text="The invoices to pay, by id; without it every open one, oldest first.",
    )
    authorize_only = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Have the bank hold the money of a card and take it later: by the daily deposit run, or by a deposit.",
    )
    email = serializers.EmailField(
        required=False,
        default="",
        max_length=254,
        help_text="Where the receipt goes instead of the customer's address.",
    )

    channel = serializers.ChoiceField(
        choices=[CHANNELS[one] for one in TAKEN_THROUGH],
        required=False,
        default=CHANNELS[Channel.API],
        help_text="Where the customer paid: at a kiosk, by telephone, in a call of ours, or simply over the API.",
    )
    kiosk = serializers.CharField(
        required=False, default="", max_length=40, help_text="The kiosk's id; for payments at a kiosk, and only there."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Hold channel and kiosk together."""
        return _with_kiosk(attrs)


class OutsidePaymentRequest(Shape):
    """A payment that was taken elsewhere."""

    account = Account()
    amount = AmountAsked(help_text="In the biller's currency, without fees.")
    tender = serializers.ChoiceField(choices=Tender.choices, required=False, help_text="Either this or a pay type.")
    pay_type = serializers.IntegerField(
        min_value=0,
        max_value=2**31 - 1,
        required=False,
        help_text="The number of a pay type, whose rules the payment keeps to; either this or a tender.",
    )
    channel = serializers.ChoiceField(
        choices=[CHANNELS[one] for one in outside_payments.CHANNELS],
        help_text="Where; csr is the biller's own counter.",
    )
    approval_code = serializers.CharField(
        max_length=60, help_text="Of whoever took it, or the number of its receipt; different for every payment."
    )
    kiosk = serializers.CharField(
        required=False, default="", max_length=40, help_text="The kiosk's id; for payments at a kiosk, and only there."
    )
    taken_at = serializers.DateTimeField(required=False, help_text="When; without it now.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Hold channel and kiosk together, and want either tender or pay type."""
        if ("tender" in attrs) == ("pay_type" in attrs):
            raise ValidationError({"pay_type": ["Give either a tender or a pay type."]}, code="invalid")
        return _with_kiosk(attrs)


def _with_kiosk(given: dict[str, Any]) -> dict[str, Any]:
    if (given["channel"] == CHANNELS[Channel.KIOSK]) != bool(given["kiosk"]):
        raise ValidationError({"kiosk": ["A payment at a kiosk names the kiosk, and no other does."]}, code="invalid")
    return given


class InstrumentRef(Shape):
    """With what something was paid."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=InstrumentKind.choices)
    brand = serializers.CharField()
    last4 = serializers.CharField()


class PaymentShape(Shape):
    """Money that a customer gave, or tried to."""

    id = serializers.UUIDField(help_text="The payment's GUID, at the biller's system too.")
    confirmation = serializers.CharField()
    customer = CustomerRef()
    state = serializers.ChoiceField(choices=PaymentState.choices)
    amount = Money(help_text="Without the fee.")
    fee = Money(help_text="What was charged on top of the amount, for convenience.")
    total = Money(help_text="What the processor is asked for: the amount with the fee.")
    currency = serializers.CharField()
    tender = serializers.ChoiceField(choices=Tender.choices)
    pay_type = serializers.IntegerField(source="pay_type_id", help_text="The number of its pay type.")
    instrument = InstrumentRef(allow_null=True)
    channel = serializers.SerializerMethodField()
    kiosk = serializers.CharField(help_text="The kiosk's id; empty where it was not made at one.")
    made_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    approval_code = serializers.CharField()
    group = serializers.UUIDField(
        source="group_id",
        allow_null=True,
        help_text="The first payment of those that were charged in one transaction; null where it was charged alone.",
    )
    failure = serializers.CharField(help_text="Why it did not go through, in words for a payer; empty where it did.")

    @extend_schema_field(serializers.ChoiceField(choices=CHANNEL_NAMES))
    def get_channel(self, payment: Payment) -> str:
        """Say where it was made."""
        return CHANNELS[Channel(payment.channel)]


class AllocationShape(Shape):
    """A part of a payment that settles an invoice."""

    invoice = serializers.IntegerField(source="item.invoice_id", allow_null=True)
    invoice_number = serializers.SerializerMethodField()
    amount = Money()
    state = serializers.ChoiceField(choices=AllocationState.choices)

    def get_invoice_number(self, allocation: Allocation) -> str:
        """Give the invoice's number; empty for an adjustment."""
        return allocation.item.invoice.number if allocation.item.invoice else ""


class AuthorizationShape(Shape):
    """Until when the bank holds the money of a payment that is deposited later."""

    authorized_on = serializers.DateField(help_text="The biller's business day.")
    expires_at = serializers.DateTimeField()
    expired = serializers.BooleanField(help_text="It had expired when it was deposited, which costs the biller more.")


class UnconfirmedShape(Shape):
    """That a payment was posted before its bank had confirmed it, and what came of that."""

    state = serializers.ChoiceField(choices=UnconfirmedState.choices)
    until = serializers.DateField(help_text="The last banking day on which a return is waited for.")
    ended_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(help_text="Why it failed; empty where it did not.")


class ReversalShape(Shape):
    """Money of a payment that went back, or is on its way."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=ReversalKind.choices)
    state = serializers.ChoiceField(choices=ReversalState.choices)
    amount = Money(help_text="Without what of it is the fee.")
    fee = Money(help_text="What went back of the convenience fee.")
    loss = Money(help_text="What went back beyond the payment, at the biller's cost.")
    currency = serializers.CharField()
    reason = serializers.CharField()
    code = serializers.CharField(help_text="The bank's or the network's own; empty for refunds.")
    made_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)
    failure = serializers.CharField(help_text="Why it did not come about, in words; empty where it did.")


class RefundRequest(Shape):
    """How much of a payment goes back, and why."""

    amount = Money(help_text="In the payment's currency, without the fee; zero gives back the fee alone.")
    with_fee = serializers.BooleanField(
        required=False, default=False, help_text="Give back what is left of the convenience fee as well."
    )
    reason = serializers.CharField(max_length=200, help_text="The payer reads it.")


class PaymentDetail(PaymentShape):
    """A payment with what it settles, what went back, and its authorization where it was authorized first."""

    reversals = ReversalShape(many=True)
    allocations = AllocationShape(many=True)
    authorization = AuthorizationShape(allow_null=True)
    unconfirmed = UnconfirmedShape(
        allow_null=True, help_text="Null where the payment was confirmed when it was posted."
    )


_DECLINED_SHAPE = inline_serializer(
    "PaymentDeclined",
    {
        "error": inline_serializer(
            "Declined",
            {
                "code": serializers.ChoiceField(choices=[DECLINED]),
                "message": serializers.CharField(),
                "field": serializers.CharField(allow_null=True),
            },
        ),
        "payment": PaymentDetail(),
    },
)


class PaymentsView(ApiView):
    """The payments of the biller."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="payments_list", parameters=[PaymentQuery], responses=page_of(PaymentShape), tags=["payments"]
    )
    def get(self, request: Request) -> Response:
        """Give payments, the newest first."""
        chosen = self.query(PaymentQuery)
        mine = Payment.objects.filter(biller=self.biller)
        if "pay_type" in chosen:
            mine = mine.of_pay_type(chosen["pay_type"])
        rows: QuerySet[Payment] = mine.select_related("customer", "instrument")
        rows = in_period(self.of_account(rows, chosen.get("account")), chosen)
        if "state" in chosen:
            rows = rows.filter(state=chosen["state"])
        return self.page(rows, PaymentShape, order=("-created_at", "-pk"), chosen=chosen)

    @extend_schema(
        operation_id="payments_take",
        request=PaymentRequest,
        parameters=[HEADER, REPLAYED],
        responses={
            201: OpenApiResponse(PaymentDetail, description="Paid; or authorized, where only that was asked for."),
            202: OpenApiResponse(
                PaymentDetail,
                description="The processor has not said yet whether it charged: ask for the payment until it is posted "
                "or failed. Do not send another one.",
            ),
            402: OpenApiResponse(_DECLINED_SHAPE, description="It did not go through; no money was taken."),
        },
        tags=["payments"],
    )
    def post(self, request: Request) -> Response:
        """Charge a method on file of an account."""
        given = self.body(PaymentRequest, request)
        # A currency without cents takes none; rounding would charge another amount than was asked for.
        given["amount"] = money.parse(str(given["amount"]), self.biller.currency)
        return once(self, operation="payment", given=given, act=lambda key: self._take(given, key))

    def _take(self, given: dict[str, Any], key: str) -> Response:
        request_key = hashlib.sha256(f"api:{key}".encode()).hexdigest()
        # There already where an earlier call with the key broke off before it was answered.
        payment = Payment.objects.filter(biller=self.biller, request_key=request_key).first()
        if payment is None:
            customer = self.customer_numbered(given["account"])
            payment = charges.pay(
                customer=customer,
                amount=given["amount"],
                instrument=instrument_of(customer, given["instrument"]),
                channel=_CHANNEL_OF[given["channel"]],
                kiosk=given["kiosk"],
                actor=self.actor,
                request_key=request_key,
                item_ids=_items(customer, given["invoices"]) if "invoices" in given else None,
                email=given["email"],
                authorize_only=given["authorize_only"],
            )
        return _answer(self, payment.pk, went=201)


class OutsidePaymentsView(ApiView):
    """Payments that were taken elsewhere."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="payments_record",
        request=OutsidePaymentRequest,
        parameters=[HEADER, REPLAYED],
        responses={201: OpenApiResponse(PaymentDetail, description="Recorded, and told to the biller's system.")},
        tags=["payments"],
    )
    def post(self, request: Request) -> Response:
        """Record a payment that was taken elsewhere, of any tender; what no bill takes is the account's credit."""
        given = self.body(OutsidePaymentRequest, request)
        given["amount"] = money.parse(str(given["amount"]), self.biller.currency)
        return once(self, operation="outside payment", given=given, act=lambda key: self._record(given, key))

    def _record(self, given: dict[str, Any], key: str) -> Response:
        payment = outside_payments.record(
            customer=self.customer_numbered(given["account"]),
            amount=given["amount"],
            tender=Tender(given["tender"]) if "tender" in given else None,
            pay_type=pay_type_numbered(given["pay_type"]) if "pay_type" in given else None,
            channel=_CHANNEL_OF[given["channel"]],
            approval_code=given["approval_code"],
            kiosk=given["kiosk"],
            taken_at=given.get("taken_at"),
            actor=self.actor,
            request_key=hashlib.sha256(f"outside:{key}".encode()).hexdigest(),
        )
        return _answer(self, payment.pk, went=201)


def _answer(view: ApiView, pk: uuid.UUID, *, went: int) -> Response:
    payment = _read(view.biller, pk)
    shown = PaymentDetail(payment, context=view.context()).data
    if payment.state == PaymentState.FAILED:
        refusal = {"code": DECLINED, "message": payment.failure, "field": None}
        return Response({"error": refusal, "payment": shown}, status=402)
    return Response(shown, status=202 if payment.state == PaymentState.PROCESSING else went)


class PaymentView(ApiView):
    """One payment."""

    @extend_schema(operation_id="payments_read", responses=PaymentDetail, tags=["payments"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a payment as it stands, with what it settles."""
        return self.show(PaymentDetail, self.find(_detailed(), pk=pk))


class DepositView(ApiView):
    """The deposit of an authorized payment."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="payments_deposit",
        request=None,
        parameters=[HEADER, REPLAYED],
        responses={
            200: OpenApiResponse(
                PaymentDetail,
                description="Paid; or still authorized, with its failure, where the processor could not be reached.",
            ),
            202: OpenApiResponse(
                PaymentDetail,
                description="The processor has not said yet whether it took the money: ask for the payment until it is "
                "posted, authorized or failed.",
            ),
            402: OpenApiResponse(_DECLINED_SHAPE, description="It did not go through; no money was taken."),
        },
        tags=["payments"],
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Take the money of an authorized payment now."""
        payment = self.find(Payment.objects.all(), pk=pk)

        def act(_key: str) -> Response:
            authorizations.deposit(payment=payment, actor=self.actor)
            return _answer(self, pk, went=200)

        return once(self, operation="deposit", given={"payment": str(pk)}, act=act)


class RefundView(ApiView):
    """What goes back of a payment."""

    scope = Scope.REFUNDS

    @extend_schema(
        operation_id="payments_refund",
        request=RefundRequest,
        parameters=[HEADER, REPLAYED],
        responses={
            201: OpenApiResponse(ReversalShape, description="Given back; or voided, where it had not settled."),
            202: OpenApiResponse(
                ReversalShape,
                description="The processor has not said yet whether it gave the money back: ask for the payment until the "
                "reversal is done or failed. Do not send another one.",
            ),
            402: OpenApiResponse(ReversalShape, description="It did not come about; nothing went back."),
        },
        tags=["payments"],
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a payment back, whole or in part: what it paid is open again."""
        given = self.body(RefundRequest, request)
        payment = self.find(Payment.objects.select_related("biller", "route"), pk=pk)
        given["amount"] = money.parse(str(given["amount"]), payment.currency)

        def act(key: str) -> Response:
            made = refunds.refund(
                payment=payment,
                amount=given["amount"],
                with_fee=given["with_fee"],
                reason=given["reason"],
                actor=self.actor,
                request_key=hashlib.sha256(f"refund:{key}".encode()).hexdigest(),
            )
            status = {ReversalState.DONE: 201, ReversalState.PROCESSING: 202}.get(ReversalState(made.state), 402)
            return Response(ReversalShape(made, context=self.context()).data, status=status)

        return once(self, operation="refund", given={"payment": str(pk), **given}, act=act)


class ReleaseView(ApiView):
    """The release of an authorized payment."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="payments_release",
        request=None,
        responses={
            200: OpenApiResponse(
                PaymentDetail,
                description="Released, so that it has failed; or still authorized, with its failure, where the processor "
                "could not be reached.",
            ),
            202: OpenApiResponse(
                PaymentDetail,
                description="The processor has not said yet whether it let the money go: ask for the payment until it has.",
            ),
        },
        tags=["payments"],
    )
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Give an authorized payment up: it fails, and the processor lets the held money go."""
        payment = self.find(Payment.objects.all(), pk=pk)
        state = authorizations.release(payment=payment, actor=self.actor).state
        shown = PaymentDetail(_read(self.biller, pk), context=self.context()).data
        return Response(shown, status=202 if state == PaymentState.PROCESSING else 200)


class ReceiptView(PdfView):
    """The receipt of one payment."""

    @extend_schema(
        operation_id="payments_receipt",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY},
        tags=["payments"],
    )
    def get(self, request: Request, pk: uuid.UUID) -> HttpResponse:
        """Give the receipt of a payment that went through as PDF, in the customer's language."""
        rows = Payment.objects.select_related("customer__biller", "instrument").filter(state__in=receipts.PAID)
        payment = self.find(rows, pk=pk)
        together = list(Payment.objects.charged_with(payment))
        return answer(receipts.receipt(payment, language=payment.customer.language, together=together))


def _detailed() -> Any:
    allocations = Allocation.objects.select_related("item__invoice").order_by("pk")
    return Payment.objects.select_related("customer", "instrument", "authorization", "unconfirmed").prefetch_related(
        Prefetch("allocations", queryset=allocations), Prefetch("reversals", queryset=Reversal.objects.order_by("pk"))
    )


def _read(biller: Biller, pk: uuid.UUID) -> Payment:
    payment: Payment = _detailed().get(biller=biller, pk=pk)
    return payment


def instrument_of(customer: Customer, pk: uuid.UUID) -> Instrument:
    """Give a method of an account that a body names.

    :raises ValidationError: there is none.
    """
    found = Instrument.objects.filter(customer=customer, pk=pk).select_related("route").first()
    if found is None:
        raise ValidationError({"instrument": ["This account has no such method."]}, code="unknown")
    return found


def pay_type_numbered(number: int) -> PayType:
    """Give the pay type that a body names.

    :raises ValidationError: there is none.
    """
    found = PayType.objects.filter(pk=number).first()
    if found is None:
        raise ValidationError({"pay_type": ["There is no such pay type."]}, code="unknown")
    return found


def _items(customer: Customer, invoices: Sequence[int]) -> list[int]:
    found = dict(Item.objects.filter(customer=customer, invoice_id__in=set(invoices)).values_list("pk", "invoice_id"))
    if set(found.values()) != set(invoices):
        raise ValidationError({"invoices": ["This account does not have all of these invoices."]}, code="unknown")
    return sorted(found)
