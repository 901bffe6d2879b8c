"""Methods on file: listed, added by a processor's token, removed, made the default, confirmed after a decline."""

from __future__ import annotations

import re
import uuid

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import throttles
from billing.api.idempotency import CALLS
from billing.api.invoices import CustomerRef
from billing.api.views import Account, ApiView, PageQuery, Shape, page_of
from billing.models import Scope
from payments.models import DebitMethod, Instrument, InstrumentKind, InstrumentState, Route
from payments.operations import debits, instruments
from payments.operations.debits import Agreement

_NUMBER = re.compile(r"[\d\s-]{10,}")


class InstrumentQuery(PageQuery):
    """Whose methods."""

    account = Account(required=False)


class InstrumentRequest(Shape):
    """A method to put on file."""

    account = Account()
    token = serializers.CharField(
        min_length=1,
        max_length=120,
        help_text="What the processor gave for a card or bank account. Never a number: those are refused.",
    )
    route = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The route whose processor made the token; may be left out where the biller has one active route.",
    )
    keep = serializers.BooleanField(default=True, help_text="False: it serves one payment and is not kept on file.")
    debit_method = serializers.ChoiceField(
        required=False,
        choices=DebitMethod.choices,
        help_text="How the holder of a bank account agreed to be debited; by default on the internet. P and A are of one check,"
        " which is not kept on file.",
    )
    debit_facts = serializers.DictField(
        required=False,
        child=serializers.CharField(max_length=debits.LONGEST),
        help_text="What P and A demand: check_number and image_reference; P also terminal_city and terminal_state.",
    )

    def validate_token(self, value: str) -> str:
        """Refuse what is a card or account number: it must not come near this server's logs."""
        if _NUMBER.fullmatch(value):
            raise ValidationError("Send the processor's token, never a card or account number.")
        return value


class InstrumentShape(Shape):
    """A card or bank account of a customer; its token is never shown."""

    id = serializers.UUIDField()
    customer = CustomerRef()
    route = serializers.IntegerField(source="route_id")
    kind = serializers.ChoiceField(choices=InstrumentKind.choices)
    brand = serializers.CharField()
    last4 = serializers.CharField()
    holder = serializers.CharField()
    expires_on = serializers.DateField(allow_null=True, help_text="The last day of a card's last month.")
    nickname = serializers.CharField()
    debit_method = serializers.CharField(help_text="Of a bank account: how its holder agreed; empty of a card.")
    verified_at = serializers.DateTimeField(allow_null=True, help_text="When the processor last found it good.")
    state = serializers.ChoiceField(choices=InstrumentState.choices)
    is_default = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class InstrumentsView(ApiView):
    """The methods on file with the biller."""

    scope = Scope.PAYMENTS

    @extend_schema(
        operation_id="instruments_list",
        parameters=[InstrumentQuery],
        responses=page_of(InstrumentShape),
        tags=["methods"],
    )
    def get(self, request: Request) -> Response:
        """Give methods on file, those added last first."""
        chosen = self.query(InstrumentQuery)
        rows = Instrument.objects.filter(biller=self.biller).on_file().select_related("customer")
        return self.page(self.of_account(rows, chosen.get("account")), InstrumentShape, order=("-pk",), chosen=chosen)

    @extend_schema(
        operation_id="instruments_add",
        request=InstrumentRequest,
        responses={
            201: OpenApiResponse(InstrumentShape, description="On file; the same token again gives the same method.")
        },
        tags=["methods"],
    )
    def post(self, request: Request) -> Response:
        """Put the method on file that a processor's token stands for."""
        given = self.body(InstrumentRequest, request)
        throttles.count(tries=[(CALLS, str(self.machine.token.pk))], now=timezone.now())
        customer = self.customer_numbered(given["account"])
        made = instruments.add(
            customer=customer,
            route=self._route(given.get("route")),
            token=given["token"],
            keep=given["keep"],
            actor=self.actor,
            agreement=Agreement(given.get("debit_method", ""), given.get("debit_facts", {})),
        )
        return self.show(InstrumentShape, _read(self, made.pk), status=201)

    def _route(self, pk: int | None) -> Route:
        routes = Route.objects.usable(self.biller)
        if pk is not None:
            found = routes.filter(pk=pk).first()
            if found is None:
                raise ValidationError({"route": ["This biller has no such active route."]}, code="unknown")
            return found
        only = list(routes.order_by("pk")[:2])
        if len(only) != 1:
            words = "Say which route made the token." if only else "This biller has no active route."
            raise ValidationError({"route": [words]}, code="required")
        return only[0]


class InstrumentView(ApiView):
    """One method."""

    scope = Scope.PAYMENTS

    @extend_schema(operation_id="instruments_read", responses=InstrumentShape, tags=["methods"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a method, on file or not."""
        return self.show(InstrumentShape, _read(self, pk))

    @extend_schema(
        operation_id="instruments_remove",
        responses={204: OpenApiResponse(description="It is off file; payments made with it stay.")},
        tags=["methods"],
    )
    def delete(self, request: Request, pk: uuid.UUID) -> Response:
        """Take a method off file."""
        on_file = Instrument.objects.filter(biller=self.biller).on_file()
        instruments.remove(instrument=self.find(on_file, pk=pk), actor=self.actor)
        return Response(status=204)


class DefaultInstrumentView(ApiView):
    """Which method is a customer's default one."""

    scope = Scope.PAYMENTS

    @extend_schema(operation_id="instruments_make_default", request=None, responses=InstrumentShape, tags=["methods"])
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Make a method on file the customer's default one."""
        on_file = Instrument.objects.filter(biller=self.biller).on_file()
        instruments.make_default(instrument=self.find(on_file, pk=pk), actor=self.actor)
        return self.show(InstrumentShape, _read(self, pk))


class ConfirmedInstrumentView(ApiView):
    """That a method which the bank had declined for good may be charged again."""

    scope = Scope.PAYMENTS

    @extend_schema(operation_id="instruments_confirm", request=None, responses=InstrumentShape, tags=["methods"])
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Confirm a method of state "bad", because its payer says that it is good: AutoPay charges it again from today on."""
        on_file = Instrument.objects.filter(biller=self.biller).on_file()
        instruments.confirm(instrument=self.find(on_file, pk=pk), actor=self.actor)
        return self.show(InstrumentShape, _read(self, pk))


def _read(view: ApiView, pk: uuid.UUID) -> Instrument:
    found: Instrument = view.find(Instrument.objects.select_related("customer"), pk=pk)
    return found
