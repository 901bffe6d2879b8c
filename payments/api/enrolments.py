"""Enrolments of a customer: AutoPay and paperless billing, on and off."""

from __future__ import annotations

import contextlib

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView, Shape
from billing.models import Customer, Scope
from payments.api.payments import InstrumentRef
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


def _current(customer: Customer) -> AutoPayEnrolment:
    found = (
        AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True).select_related("instrument").first()
    )
    if found is None:
        raise Http404
    return found
