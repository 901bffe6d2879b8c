"""The biller for which a key speaks."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView, Shape


class BillerShape(Shape):
    """A biller: whose accounts a key sees, in which currency and time zone."""

    guid = serializers.UUIDField()
    number = serializers.IntegerField(help_text="BID: begins the names of its invoice files.")
    name = serializers.CharField()
    currency = serializers.CharField()
    time_zone = serializers.CharField()
    charging_stopped = serializers.BooleanField(help_text="Nothing is charged while this is true.")


class BillerView(ApiView):
    """The biller of the key."""

    @extend_schema(operation_id="biller_read", responses=BillerShape, tags=["biller"])
    def get(self, request: Request) -> Response:
        """Give the biller for which the key speaks."""
        return self.show(BillerShape, self.biller)
