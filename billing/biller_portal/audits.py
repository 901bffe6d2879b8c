"""The audit trail of a biller: who did what, when and from where, with filters and CSV."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpRequest

from billing import audit, lists
from billing.actors import Requestor
from billing.biller_portal.access import StaffPage
from billing.biller_portal.accounts import DOORS, account_url
from billing.biller_portal.settings import settings_tabs
from billing.models import AuditEntry, Customer
from billing.permissions import Permission

# A trail names events by noun; people look for the noun.
_NOUNS = {
    "payment": "Payments",
    "autopay": "AutoPay",
    "paperless": "Paperless",
    "pay_by_text": "Pay by text",
    "phone": "Phones",
    "text": "Texts to read",
    "programme": "Text programme",
    "wording": "Words of texts",
    "line": "Numbers that texts go out from",
    "instrument": "Methods",
    "payer": "Users of accounts",
    "customer": "Accounts",
    "notice": "Messages",
    "invoice_file": "Invoice files",
    "run": "Runs",
    "case": "Cases",
    "datapump": "DataPump",
    "endpoint": "Endpoints",
    "biller": "Settings of the biller",
    "setting": "Numbered settings",
    "membership": "People",
    "api_token": "API keys",
}


class AuditFilters(lists.Filters):
    """The filters of the audit trail."""

    q = django_filters.CharFilter(label="Who or which account", method="search")
    about = django_filters.ChoiceFilter(
        label="About", choices=list(_NOUNS.items()), method="narrow", empty_label="Anything"
    )
    door = django_filters.ChoiceFilter(
        label="Through",
        field_name="requestor",
        choices=[(door.value, words) for door, words in DOORS.items()],
        empty_label="Any",
    )
    start = lists.FromDay(label="From", field_name="at")
    end = lists.ToDay(label="To", field_name="at")
    periods = (("start", "end"),)

    def search(self, rows: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        """Narrow to one account by its number, else to the names that contain the text."""
        value = value.strip()
        account = Customer.objects.filter(biller=self.request.biller, number=value).first()
        if account is None:
            account = Customer.objects.filter(biller=self.request.biller, display_number=value).first()
        return rows.filter(customer=account) if account else rows.filter(actor__icontains=value)

    def narrow(self, rows: QuerySet[AuditEntry], name: str, value: str) -> QuerySet[AuditEntry]:
        """Narrow to the events of one noun."""
        return rows.filter(event__in=[event for event in audit.SENTENCES if event.partition(".")[0] == value])


class AuditList(StaffPage, lists.ListPage[AuditEntry]):
    """Every entry of the biller's trail."""

    permission = Permission.CHANGE_SETTINGS
    name, title, section = "audit", "Audit", "settings"
    template_name = "biller_portal/settings/list.html"
    filters = AuditFilters
    orders = (lists.Order("newest", "Newest first", ("-id",)), lists.Order("oldest", "Oldest first", ("id",)))
    columns = (
        lists.Moment("when", "When", "at"),
        lists.Column("what", "What", audit.sentence),
        lists.Link(
            "account",
            "Account",
            "customer.shown_number",
            url=lambda one: account_url(one.customer_id) if one.customer_id else None,
            nowrap=True,
        ),
        lists.Column("who", "Who", "actor"),
        lists.Column("door", "Through", lambda one: DOORS[Requestor(one.requestor)]),
        lists.Column("address", "From", "address"),
        lists.Column("event", "Event", "event", shown=False),
        lists.Column("subject", "Subject", "subject", shown=False),
    )
    empty_heading = "Nothing has been recorded yet"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's entries."""
        return AuditEntry.objects.visible_to(request.user).filter(biller=self.request.biller).select_related("customer")

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give the tabs of the settings."""
        return {"tabs": settings_tabs("biller-audit")}
