"""Texts: what was said to phones and by them."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import formats
from billing.api.invoices import CustomerRef
from billing.api.views import Account, ApiView, PeriodQuery, Shape, in_period, page_of
from sms.models import Direction, Text, TextState


class TextQuery(PeriodQuery):
    """Which texts."""

    account = Account(required=False)
    direction = serializers.ChoiceField(choices=Direction.choices, required=False)
    state = serializers.ChoiceField(choices=TextState.choices, required=False)


class MaskedPhone(serializers.CharField):
    """A telephone number, its last figures."""

    def to_representation(self, value: str) -> str:
        """Hide the others."""
        return formats.masked_phone(value)


class TextShape(Shape):
    """One text to a phone or from it."""

    id = serializers.UUIDField()
    customer = CustomerRef(allow_null=True, help_text="Null where the phone serves none, or several.")
    direction = serializers.ChoiceField(choices=Direction.choices)
    phone = MaskedPhone()
    kind = serializers.CharField(help_text="What it is about; of a text from a phone, what it was taken for.")
    state = serializers.ChoiceField(choices=TextState.choices)
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(help_text="Not sent before; texts that nobody asked for wait for the morning.")
    sent_at = serializers.DateTimeField(allow_null=True)
    segments = serializers.IntegerField(allow_null=True, help_text="How many parts the provider counted.")
    reason = serializers.CharField(help_text="Why it did not arrive; empty where it did.")
    code = serializers.CharField(help_text="The provider's own code for that.")


class TextDetail(TextShape):
    """A text with its words."""

    body = serializers.CharField()


class TextsView(ApiView):
    """The texts of the biller."""

    @extend_schema(
        operation_id="texts_list", parameters=[TextQuery], responses=page_of(TextShape), tags=["pay by text"]
    )
    def get(self, request: Request) -> Response:
        """Give texts, the newest first."""
        chosen = self.query(TextQuery)
        rows: QuerySet[Any] = Text.objects.filter(biller=self.biller).select_related("customer").defer("body")
        rows = in_period(self.of_account(rows, chosen.get("account")), chosen)
        for name in ("direction", "state"):
            if name in chosen:
                rows = rows.filter(**{name: chosen[name]})
        return self.page(rows, TextShape, order=("-created_at", "-pk"), chosen=chosen)


class TextView(ApiView):
    """One text."""

    @extend_schema(operation_id="texts_read", responses=TextDetail, tags=["pay by text"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give a text with its words."""
        return self.show(TextDetail, self.find(Text.objects.select_related("customer"), pk=pk))
