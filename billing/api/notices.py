"""Messages to payers: every notice that went out, as it went out (MSP-32)."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.invoices import CustomerRef
from billing.api.views import Account, ApiView, PeriodQuery, Shape, in_period, page_of
from billing.models import NoticeChannel, NoticeDelivery, NoticeKind, NoticeState


class MessageQuery(PeriodQuery):
    """Which messages; the period is of when they were written."""

    account = Account(required=False)
    kind = serializers.ChoiceField(choices=NoticeKind.choices, required=False)
    channel = serializers.ChoiceField(choices=NoticeChannel.choices, required=False)
    state = serializers.ChoiceField(choices=NoticeState.choices, required=False)


class MessageShape(Shape):
    """One message to a payer on one channel."""

    id = serializers.IntegerField()
    customer = CustomerRef()
    kind = serializers.ChoiceField(choices=NoticeKind.choices, source="notice.kind")
    channel = serializers.ChoiceField(choices=NoticeChannel.choices)
    address = serializers.CharField()
    state = serializers.ChoiceField(choices=NoticeState.choices)
    created_at = serializers.DateTimeField(source="notice.created_at")
    sent_at = serializers.DateTimeField(allow_null=True)
    failure = serializers.CharField()
    subject = serializers.CharField()


class MessageDetail(MessageShape):
    """A message with its words."""

    text = serializers.CharField(help_text="What was sent, as it was sent; empty until then.")


class MessagesView(ApiView):
    """The messages of the biller."""

    @extend_schema(
        operation_id="messages_list", parameters=[MessageQuery], responses=page_of(MessageShape), tags=["messages"]
    )
    def get(self, request: Request) -> Response:
        """Give messages to payers, the newest first."""
        chosen = self.query(MessageQuery)
        rows = NoticeDelivery.objects.filter(biller=self.biller).select_related("notice", "customer").defer("text")
        named = {"kind": "notice__kind", "channel": "channel", "state": "state"}
        rows = rows.filter(**{field: chosen[one] for one, field in named.items() if one in chosen})
        found = in_period(rows, chosen, "notice__created_at")
        return self.page(self.of_account(found, chosen.get("account")), MessageShape, order=("-pk",), chosen=chosen)


class MessageView(ApiView):
    """One message."""

    @extend_schema(operation_id="messages_read", responses=MessageDetail, tags=["messages"])
    def get(self, request: Request, pk: int) -> Response:
        """Give a message with its words."""
        rows = NoticeDelivery.objects.select_related("notice", "customer")
        return self.show(MessageDetail, self.find(rows, pk=pk))
