"""Routes: through which processors the biller's money goes."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import ApiView, PageQuery, Shape, page_of
from payments.models import Route


class RouteShape(Shape):
    """A processor and the merchant account that the biller has there; its secret is never shown."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    tenders = serializers.ListField(child=serializers.CharField())
    currency = serializers.CharField()
    active = serializers.BooleanField()


class RoutesView(ApiView):
    """The routes of the biller."""

    @extend_schema(operation_id="routes_list", parameters=[PageQuery], responses=page_of(RouteShape), tags=["methods"])
    def get(self, request: Request) -> Response:
        """Give the biller's routes: what a processor's token belongs to."""
        chosen = self.query(PageQuery)
        return self.page(Route.objects.filter(biller=self.biller), RouteShape, order=("pk",), chosen=chosen)
