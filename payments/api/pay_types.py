"""Pay types: what payments that were taken elsewhere may be recorded as."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView, PageQuery, Shape, page_of
from billing.models import PayType, PayTypeUse
from payments.api.payments import CHANNELS
from payments.models import Channel, Tender


class PayTypeShape(Shape):
    """A pay type, and what a payment of it must keep to."""

    id = serializers.IntegerField(help_text="Its number; above 100000 those that an administrator made.")
    name = serializers.CharField()
    use = serializers.ChoiceField(choices=PayTypeUse.choices, help_text="Whether payments or accounts are of it.")
    tender = serializers.ChoiceField(
        choices=[("", "None"), *Tender.choices],
        help_text="As what a payment of it is booked and told; empty where none can be recorded.",
    )
    reference_pattern = serializers.CharField(help_text="What the whole approval code must match; empty: anything.")
    least = serializers.DecimalField(max_digits=14, decimal_places=2, allow_null=True)
    most = serializers.DecimalField(max_digits=14, decimal_places=2, allow_null=True)
    channels = serializers.SerializerMethodField()
    active = serializers.BooleanField()

    def get_channels(self, pay_type: PayType) -> list[str]:
        """Say where it may be taken; nothing: anywhere."""
        return [CHANNELS[Channel(one)] for one in pay_type.channels]


class PayTypesView(ApiView):
    """The pay types."""

    @extend_schema(
        operation_id="pay_types_list", parameters=[PageQuery], responses=page_of(PayTypeShape), tags=["payments"]
    )
    def get(self, request: Request) -> Response:
        """Give every pay type, by number."""
        return self.page(PayType.objects.all(), PayTypeShape, order=("pk",), chosen=self.query(PageQuery))
