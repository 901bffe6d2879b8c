"""Customers: found by number, name, e-mail or telephone, and read."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import phone_numbers
from billing.api.views import Account, ApiView, Currency, Money, PageQuery, Shape, page_of
from billing.models import Customer, CustomerStatus
from payments.models import AutoPayEnrolment

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
    card_blocked = serializers.SerializerMethodField(help_text="By the invoice file or the biller's system.")
    bank_blocked = serializers.SerializerMethodField(help_text="By the biller's system.")
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
