"""What a customer was told: the list of messages of an account, one message as it went out, and sending it again."""

from __future__ import annotations

from typing import Any

import django_filters
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing import formats, lists
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import AccountList, customer_or_404, frame
from billing.errors import DomainError
from billing.models import Customer, NoticeDelivery, NoticeKind, NoticeState
from billing.operations import notices
from billing.permissions import Permission


class MessageFilters(lists.Filters):
    """The filters of an account's messages."""

    kind = django_filters.ChoiceFilter(
        label="Message", field_name="notice__kind", choices=NoticeKind.choices, empty_label="Any"
    )
    state = lists.AnyOf(label="Status", choices=NoticeState.choices)
    start = lists.FromDay(label="From", field_name="notice__created_at")
    end = lists.ToDay(label="To", field_name="notice__created_at")
    periods = (("start", "end"),)


class AccountMessages(AccountList[NoticeDelivery]):
    """The messages of one account."""

    name, title, tab = "account-messages", "Messages", "biller-account-messages"
    filters = MessageFilters
    orders = (lists.Order("newest", "Newest first", ("-id",)),)
    columns = (
        lists.Link(
            "message",
            "Message",
            "notice.get_kind_display",
            url=lambda one: reverse("biller-account-message", args=[one.customer_id, one.pk]),
        ),
        lists.Moment("when", "Written", "notice.created_at"),
        lists.Column("channel", "By", "get_channel_display"),
        lists.Column("to", "To", "address"),
        lists.Tag("status", "Status", "state", noun="notice"),
        lists.Moment("sent", "Sent", "sent_at"),
        lists.Number("attempts", "Tries", "attempts"),
        lists.Column("failure", "Trouble", "failure"),
    )
    empty_heading = "No messages yet"
    empty_text = (
        "Receipts, new bills and changes of AutoPay and paperless billing that went to this customer appear here."
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the account's messages on every channel."""
        return NoticeDelivery.objects.filter(customer=self.customer).select_related("notice")


@biller_page(Permission.VIEW)
def message(request: BillerRequest, customer_id: int, delivery_id: int) -> HttpResponse:
    """Draw one message as it was sent."""
    customer = customer_or_404(request, customer_id)
    delivery = _delivery_or_404(customer, delivery_id)
    facts = [
        ("To", delivery.address),
        ("By", delivery.get_channel_display()),
        ("Written", formats.moment(delivery.notice.created_at)),
        ("Sent", formats.moment(delivery.sent_at) if delivery.sent_at else ""),
        ("Tries", formats.number(delivery.attempts)),
        ("Subject", delivery.subject),
    ]
    context = frame(
        request,
        customer,
        "biller-account-messages",
        delivery=delivery,
        facts=[(label, value) for label, value in facts if value],
        may_resend=request.may(Permission.CHANGE_ENROLMENT),
    )
    return render(request, "biller_portal/accounts/message.html", context)


@require_POST
@biller_page(Permission.CHANGE_ENROLMENT)
def resend(request: BillerRequest, customer_id: int, delivery_id: int) -> HttpResponse:
    """Ask for a message to be sent again."""
    customer = customer_or_404(request, customer_id)
    delivery = _delivery_or_404(customer, delivery_id)
    try:
        notices.send_again(delivery=delivery, actor=request.actor)
        messages.success(request, f"The message will be sent again to {delivery.address}.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect("biller-account-messages", customer.pk)


def _delivery_or_404(customer: Customer, pk: int) -> NoticeDelivery:
    return get_object_or_404(NoticeDelivery.objects.filter(customer=customer).select_related("notice"), pk=pk)
