"""Customers: found by number, name, e-mail or telephone, and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import phone_numbers
from billing.actors import Actor
from billing.api.views import Account, ApiView, Currency, Money, PageQuery, Shape, page_of
from billing.models import Biller, Customer, CustomerStatus, Scope
from billing.operations.customers import LENGTHS, change_blocks
from payments.models import AutoPayEnrolment
from sms.operations import customer_records

# Above every character of a name: the end of a range that holds all names with a beginning.
_LAST = "\U0010ffff"


class CustomerQuery(PageQuery):
    """Which customers; what is given must all be true of them."""

    number = Account(required=False)
    display_number = serializers.CharField(required=False, max_length=40, help_text="Account number as bills show it.")
    name = serializers.CharField(required=False, max_length=120, help_text="How the name begins, in any case.")
    surname = serializers.CharField(required=False, max_length=120, help_text="How the last word of the name begins.")
    email = serializers.EmailField(required=False, max_length=254, help_text="The whole address.")
    phone = serializers.CharField(required=False, max_length=30, help_text="The whole number, in any spelling.")

    def validate_phone(self, value: str) -> str:
        """Read the number."""
        number = phone_numbers.read(value)
        if not number:
            raise ValidationError("Enter a telephone number with its area code.")
        return number


class CustomerShape(Shape):
    """A customer: one account at the biller."""

    id = serializers.IntegerField()
    number = serializers.CharField(help_text="Account number as the invoice file writes it.")
    display_number = serializers.CharField(help_text="Account number as bills show it; may be empty.")
    name = serializers.CharField()
    address1 = serializers.CharField()
    address2 = serializers.CharField()
    city = serializers.CharField()
    state = serializers.CharField()
    zip = serializers.CharField()
    phone = serializers.CharField(help_text="E.164; may be empty.")
    email = serializers.CharField(help_text="Where notices go; may be empty.")
    language = serializers.ChoiceField(choices=["en", "es"])
    service_location = serializers.CharField()
    status = serializers.ChoiceField(choices=CustomerStatus.choices)
    segment = serializers.CharField(help_text="The biller's own word for a kind of customer; may be empty.")
    card_blocked = serializers.SerializerMethodField(help_text="By the invoice file or the biller's system.")
    bank_blocked = serializers.SerializerMethodField(help_text="By the biller's system.")
    pay_type = serializers.IntegerField(
        source="pay_type_id", allow_null=True, help_text="How it pays, where no run collects from it; by its number."
    )
    paperless = serializers.BooleanField()
    autopay = serializers.BooleanField()
    balance = Money(help_text="What is owed; below zero a credit.")
    currency = Currency()
    created_at = serializers.DateTimeField()

    def get_card_blocked(self, customer: Customer) -> bool:
        """Tell whether the account may not be paid by card."""
        return customer.blocks("card")

    def get_bank_blocked(self, customer: Customer) -> bool:
        """Tell whether the account may not be paid from a bank account."""
        return customer.blocks("bank")


class CustomerRecordRequest(Shape):
    """What the biller's own system says of a customer now; what is left out stays as it is."""

    account = serializers.CharField(min_length=1, max_length=40, help_text="The base of the account number.")
    sub = serializers.CharField(
        max_length=20, allow_blank=True, default="", help_text="Its sub; empty where “account” is the whole number."
    )
    name = serializers.CharField(required=False, min_length=1, max_length=120)
    phone = serializers.CharField(
        required=False, allow_blank=True, max_length=30, help_text="With its area code; empty where there is none now."
    )
    address1 = serializers.CharField(required=False, allow_blank=True, max_length=120)
    address2 = serializers.CharField(required=False, allow_blank=True, max_length=120)
    city = serializers.CharField(required=False, allow_blank=True, max_length=60)
    state = serializers.CharField(required=False, allow_blank=True, max_length=40)
    zip = serializers.CharField(required=False, allow_blank=True, max_length=12)
    segment = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=20,
        help_text="The biller's own word, by which rules of fees tell accounts apart.",
    )


class UpdatedRecord(Shape):
    """What became of the record."""

    changed = serializers.ListField(child=serializers.CharField(), help_text="The fields that are different now.")
    pay_by_text = serializers.ChoiceField(
        choices=[(one.value, one.value) for one in customer_records.PayByText],
        help_text="Whether pay by text went to the new number, or ended because texts may not go there.",
    )


def update_record(biller: Biller, given: Mapping[str, Any], actor: Actor) -> customer_records.Updated:
    """Change the record of the customer whose account is named.

    :raises ValidationError: there is no such account.
    """
    number = "-".join(filter(None, [given["account"], given["sub"]]))
    customer = Customer.objects.filter(biller=biller, number=number).first()
    if customer is None:
        raise ValidationError({"account": ["This biller has no account of this number."]}, code="unknown")
    record = {name: value for name, value in given.items() if name in LENGTHS}
    return customer_records.update(customer=customer, record=record, actor=actor)


def shown(customers: QuerySet[Customer]) -> QuerySet[Customer]:
    """Give the customers with what the shape shows beside their own columns."""
    return customers.annotate(
        autopay=Exists(AutoPayEnrolment.objects.filter(customer=OuterRef("pk"), ended_at__isnull=True))
    )


class CustomersView(ApiView):
    """The customers of the biller."""

    @extend_schema(
        operation_id="customers_list", parameters=[CustomerQuery], responses=page_of(CustomerShape), tags=["customers"]
    )
    def get(self, request: Request) -> Response:
        """Give customers by name, those that match alone."""
        chosen = self.query(CustomerQuery)
        rows = shown(Customer.objects.filter(biller=self.biller, **_exact(chosen)))
        for name, field in (("name", "search_name"), ("surname", "search_surname")):
            if begins := " ".join(chosen.get(name, "").lower().split()):
                rows = rows.filter(**{f"{field}__gte": begins, f"{field}__lt": begins + _LAST})
        return self.page(rows, CustomerShape, order=("search_name", "pk"), chosen=chosen)


class CustomerRecordView(ApiView):
    """The record of a customer, by the name that billers' systems call it."""

    scope = Scope.ACCOUNTS

    @extend_schema(
        operation_id="UpdateCustomerRecord", request=CustomerRecordRequest, responses=UpdatedRecord, tags=["customers"]
    )
    def post(self, request: Request) -> Response:
        """Change a customer's record; a new phone number is taken over by pay by text where the old one served it."""
        given = self.body(CustomerRecordRequest, request)
        return self.show(UpdatedRecord, update_record(self.biller, given, self.actor))


class BlocksShape(Shape):
    """What the account may not be paid with."""

    card = serializers.BooleanField(source="blocks_card")
    bank = serializers.BooleanField(source="blocks_bank")


class BlocksView(ApiView):
    """What is blocked for one customer."""

    scope = Scope.ACCOUNTS

    @extend_schema(operation_id="blocks_read", responses=BlocksShape, tags=["customers"])
    def get(self, request: Request, pk: int) -> Response:
        """Say whether cards and bank accounts are blocked."""
        return self.show(BlocksShape, self.customer(pk))

    @extend_schema(operation_id="blocks_set", request=BlocksShape, responses=BlocksShape, tags=["customers"])
    def put(self, request: Request, pk: int) -> Response:
        """Block cards or bank accounts, or allow them again; refused where the invoice file alone says it (setting 32)."""
        customer, given = self.customer(pk), self.body(BlocksShape, request)
        change_blocks(customer=customer, card=given["blocks_card"], bank=given["blocks_bank"], actor=self.actor)
        return self.show(BlocksShape, self.customer(pk))


class CustomerView(ApiView):
    """One customer."""

    @extend_schema(operation_id="customers_read", responses=CustomerShape, tags=["customers"])
    def get(self, request: Request, pk: int) -> Response:
        """Give a customer."""
        return self.show(CustomerShape, self.find(shown(Customer.objects.all()), pk=pk))


def _exact(chosen: dict[str, Any]) -> dict[str, Any]:
    exact: dict[str, Any] = {name: chosen[name] for name in ("number", "display_number", "phone") if name in chosen}
    if "email" in chosen:
        exact["email__in"] = {chosen["email"], chosen["email"].lower()}
    return exact
