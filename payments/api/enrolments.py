"""Enrolments of a customer: AutoPay and paperless billing, on and off, and when and whether runs collect."""

from __future__ import annotations

import contextlib
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView, Shape
from billing.models import CollectRule, Customer, Scope
from payments.api.payments import InstrumentRef, pay_type_numbered
from payments.models import AutoPayEnrolment, Instrument
from payments.operations import enrolments


class AutoPayRequest(Shape):
    """A customer's wish to be charged for every bill."""

    instrument = serializers.UUIDField(help_text="A method on file of the customer.")
    agreed = serializers.BooleanField(help_text="The customer agreed to the AutoPay terms.")
    how = serializers.CharField(
        min_length=1,
        max_length=300,
        help_text="How the customer agreed, in a sentence; kept with the consent: “On the web form of …”.",
    )


class AutoPayShape(Shape):
    """AutoPay of a customer, with the consent it stands on."""

    instrument = InstrumentRef()
    consent_version = serializers.CharField()
    consent_text = serializers.CharField()
    consent_by = serializers.CharField()
    consented_at = serializers.DateTimeField()
    first_collection_on = serializers.DateField(allow_null=True, help_text="Null: with the next bill.")


class PaperlessShape(Shape):
    """Whether a customer gets no paper."""

    enrolled = serializers.BooleanField()


class CollectionShape(Shape):
    """When AutoPay collects an account's bills, and how the account pays where no run is to collect from it."""

    rule = serializers.ChoiceField(
        source="collect_rule",
        choices=[("", "As the biller does"), *CollectRule.choices],
        help_text="Empty: the biller's.",
    )
    days = serializers.IntegerField(
        source="collect_days",
        min_value=0,
        max_value=60,
        allow_null=True,
        required=False,
        default=None,
        help_text="Before the due date; with the rule “before_due”, and only there.",
    )
    pay_type = serializers.IntegerField(
        source="pay_type_id",
        min_value=0,
        max_value=2**31 - 1,
        allow_null=True,
        help_text="The number of a pay type of accounts: no run ever collects from it. Null: as it is enrolled.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Hold rule and days together."""
        if (attrs["collect_rule"] == CollectRule.BEFORE_DUE) != (attrs["collect_days"] is not None):
            words = "The rule “before_due” names the days, and no other does."
            raise ValidationError({"days": [words]}, code="invalid")
        return attrs


class AutoPayView(ApiView):
    """AutoPay of one customer; missing where it is off."""

    scope = Scope.ENROLMENTS

    @extend_schema(operation_id="autopay_read", responses=AutoPayShape, tags=["enrolments"])
    def get(self, request: Request, pk: int) -> Response:
        """Give the customer's AutoPay."""
        return self.show(AutoPayShape, _current(self.customer(pk)))

    @extend_schema(operation_id="autopay_enrol", request=AutoPayRequest, responses=AutoPayShape, tags=["enrolments"])
    def put(self, request: Request, pk: int) -> Response:
        """Turn AutoPay on, or move it to another method; it is as it was where it is on with this one."""
        customer, given = self.customer(pk), self.body(AutoPayRequest, request)
        instrument = Instrument.objects.filter(customer=customer, pk=given["instrument"]).first()
        if instrument is None:
            raise ValidationError({"instrument": ["This account has no such method."]}, code="unknown")
        with contextlib.suppress(enrolments.AlreadyEnrolled):
            enrolments.enrol_autopay(
                customer=customer, instrument=instrument, agreed=given["agreed"], actor=self.actor, how=given["how"]
            )
        return self.show(AutoPayShape, _current(customer))

    @extend_schema(
        operation_id="autopay_end",
        responses={204: OpenApiResponse(description="Off; a payment that is on its way is not called back.")},
        tags=["enrolments"],
    )
    def delete(self, request: Request, pk: int) -> Response:
        """Turn AutoPay off."""
        try:
            enrolments.end_autopay(customer=self.customer(pk), actor=self.actor)
        except enrolments.NotEnrolled:
            raise Http404 from None
        return Response(status=204)


class PaperlessView(ApiView):
    """Paperless billing of one customer."""

    scope = Scope.ENROLMENTS

    @extend_schema(operation_id="paperless_read", responses=PaperlessShape, tags=["enrolments"])
    def get(self, request: Request, pk: int) -> Response:
        """Say whether the customer gets no paper."""
        return Response({"enrolled": self.customer(pk).paperless})

    @extend_schema(operation_id="paperless_set", request=PaperlessShape, responses=PaperlessShape, tags=["enrolments"])
    def put(self, request: Request, pk: int) -> Response:
        """Turn paperless billing on or off; where it is so already nothing happens."""
        customer, given = self.customer(pk), self.body(PaperlessShape, request)
        enrolments.set_paperless(customer=customer, enrolled=given["enrolled"], actor=self.actor)
        return Response({"enrolled": given["enrolled"]})


class CollectionView(ApiView):
    """When and whether runs collect from one customer."""

    scope = Scope.ENROLMENTS

    @extend_schema(operation_id="collection_read", responses=CollectionShape, tags=["enrolments"])
    def get(self, request: Request, pk: int) -> Response:
        """Say when AutoPay collects the customer's bills, and how the account pays otherwise."""
        return self.show(CollectionShape, self.customer(pk))

    @extend_schema(
        operation_id="collection_choose", request=CollectionShape, responses=CollectionShape, tags=["enrolments"]
    )
    def put(self, request: Request, pk: int) -> Response:
        """Choose both; bills that have a day of collection keep it, and where it is so already nothing happens."""
        customer, given = self.customer(pk), self.body(CollectionShape, request)
        enrolments.choose_collection(
            customer=customer,
            rule=CollectRule(given["collect_rule"]) if given["collect_rule"] else None,
            days=given["collect_days"] or 0,
            pay_type=None if given["pay_type_id"] is None else pay_type_numbered(given["pay_type_id"]),
            actor=self.actor,
        )
        return self.show(CollectionShape, self.customer(pk))


def _current(customer: Customer) -> AutoPayEnrolment:
    found = (
        AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True).select_related("instrument").first()
    )
    if found is None:
        raise Http404
    return found
