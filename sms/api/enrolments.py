"""Pay by text of a customer: with which number and on which consent, on and off, and the bill sent on request."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.idempotency import HEADER, REPLAYED, once
from billing.api.views import ApiView, Shape
from billing.models import Customer, Scope
from datapump.api.records import DOORS
from sms.models import Consent, Mode, SmsMode
from sms.operations import announcements, enrolments

NONE = "none"
STATES = [(name, name.capitalize()) for name in (NONE, *(mode.value for mode in Mode))]


class ConsentRequest(Shape):
    """What the customer agreed to; kept with the enrolment as its evidence."""

    how = serializers.CharField(
        min_length=1, max_length=200, help_text="How they agreed, in a sentence: “On the web form of …”."
    )
    text = serializers.CharField(min_length=1, max_length=4000, help_text="The words that they agreed to.")
    version = serializers.CharField(min_length=1, max_length=20, help_text="Your name for this version of the words.")


class PayByTextRequest(Shape):
    """The number with which a customer is to pay by text."""

    number = serializers.CharField(
        min_length=1,
        max_length=40,
        help_text="A mobile number with its area code; one without a country code is American.",
    )
    consent = ConsentRequest()


class ConsentShape(Shape):
    """What the customer agreed to, for the number that was given last."""

    how = serializers.CharField(source="consent_how")
    text = serializers.CharField(source="consent_text")
    version = serializers.CharField(source="consent_version")
    by = serializers.CharField(source="consent_by", help_text="Who took it down.")
    requestor = serializers.SerializerMethodField(help_text="Through which door it came.")
    at = serializers.DateTimeField(source="consented_at")

    @extend_schema_field(serializers.ChoiceField(choices=sorted(DOORS.values())))
    def get_requestor(self, mode: SmsMode) -> str:
        """Name the door."""
        return DOORS[mode.consent_requestor]


class PayByTextShape(Shape):
    """Where a customer's enrolment in pay by text stands."""

    state = serializers.ChoiceField(
        choices=STATES,
        help_text="none: there never was one. pending: it waits for the phone to answer YES.",
    )
    number = serializers.CharField(help_text="The number that serves, or did last, in E.164; may be empty.")
    pending_number = serializers.CharField(
        help_text="The number that waits to be confirmed from the phone; may be empty."
    )
    pending_until = serializers.DateTimeField(allow_null=True)
    changed_at = serializers.DateTimeField(allow_null=True)
    consent = ConsentShape(allow_null=True)


class BillByTextShape(Shape):
    """A bill that was texted."""

    sent = serializers.BooleanField(help_text="True: the text is written, and goes out when the hours allow.")


class PayByTextView(ApiView):
    """Pay by text of one customer."""

    scope = Scope.ENROLMENTS

    @extend_schema(operation_id="pay_by_text_read", responses=PayByTextShape, tags=["pay by text"])
    def get(self, request: Request, pk: int) -> Response:
        """Give the customer's enrolment, its number and its consent."""
        return self._show(self.customer(pk))

    @extend_schema(
        operation_id="pay_by_text_enrol", request=PayByTextRequest, responses=PayByTextShape, tags=["pay by text"]
    )
    def put(self, request: Request, pk: int) -> Response:
        """Enrol the customer with a number they agreed to, or change the number; the phone gets a text that says so.

        It is on at once, without an answer from the phone. Where it is on with this number already nothing happens.
        """
        customer, given = self.customer(pk), self.body(PayByTextRequest, request)
        enrolments.enrol(
            customer=customer, number=given["number"], consent=Consent(**given["consent"]), actor=self.actor
        )
        return self._show(customer)

    @extend_schema(
        operation_id="pay_by_text_end",
        responses={204: OpenApiResponse(description="Off; the phone gets a text that says so.")},
        tags=["pay by text"],
    )
    def delete(self, request: Request, pk: int) -> Response:
        """Turn pay by text off, also while it waits to be confirmed."""
        try:
            enrolments.unenrol(customer=self.customer(pk), actor=self.actor)
        except enrolments.NotEnrolled:
            raise Http404 from None
        return Response(status=204)

    def _show(self, customer: Customer) -> Response:
        mode = SmsMode.objects.filter(customer=customer).first()
        shown: dict[str, Any] = {
            "state": mode.mode.value if mode else NONE,
            "number": mode.number if mode else "",
            "pending_number": mode.pending_number if mode else "",
            "pending_until": mode.pending_until if mode else None,
            "changed_at": mode.changed_at if mode else None,
            "consent": mode,
        }
        return self.show(PayByTextShape, shown)


class BillByTextView(ApiView):
    """The bill of one customer, by text."""

    scope = Scope.ENROLMENTS

    @extend_schema(
        operation_id="pay_by_text_send_bill",
        request=None,
        parameters=[HEADER, REPLAYED],
        responses={202: OpenApiResponse(BillByTextShape, description="Written; it goes out when the hours allow.")},
        tags=["pay by text"],
    )
    def post(self, request: Request, pk: int) -> Response:
        """Text an enrolled customer what is due now."""
        customer = self.customer(pk)
        return once(self, operation="bill_by_text", given={"customer": pk}, act=lambda key: self._send(customer, key))

    def _send(self, customer: Customer, key: str) -> Response:
        # The same text where an earlier call with the key broke off before it was answered.
        said_once = f"bill:api:{hashlib.sha256(key.encode()).hexdigest()}"
        announcements.send_now(customer=customer, actor=self.actor, key=said_once)
        return self.show(BillByTextShape, {"sent": True}, status=202)
