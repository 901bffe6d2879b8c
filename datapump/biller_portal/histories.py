"""DataPump history: did the biller's system hear it, when, and what did it say?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import django_filters
from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from psycopg.errors import QueryCanceled

from billing import lists, statuses
from billing.actors import Requestor
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import AccountList, account_url, customer_or_404, frame
from billing.models import Customer
from billing.permissions import Permission
from datapump import reports
from datapump.models import ChangeLog, Configuration, Purpose, Record, RecordState, RecordType
from datapump.operations.records import types_of
from datapump.reports import Chosen
from sms.models import Line

PATIENCE = "4s"
"""How long the database may search for one page before the person is asked for a narrower question."""

DOORS = {
    Requestor.CSR: "biller portal",
    Requestor.PAYER: "customer portal",
    Requestor.INBOUND_TEXT: "text reply",
    Requestor.SYSTEM: "system",
    Requestor.API: "API",
    Requestor.OPERATOR: "administration",
}
_TYPES = [(str(int(type_)), type_.label) for type_ in RecordType if type_ != RecordType.PENDING]
_STATES = [
    (value, words) for value, words in statuses.choices("record") if value in {*RecordState.values, reports.ON_HOLD}
]
_PURPOSES = [(str(one), one.label.partition(" (")[0]) for one in Purpose if types_of(one)]


def search(request: BillerRequest, text: str) -> tuple[uuid.UUID | None, tuple[int, ...]]:
    """Give the update or the accounts that a search text stands for, asked once a request."""
    kept: dict[str, tuple[uuid.UUID | None, tuple[int, ...]]] = request.__dict__.setdefault("datapump_searches", {})
    if text not in kept:
        try:
            kept[text] = (uuid.UUID(text.strip()), ())
        except ValueError:
            kept[text] = (None, reports.customers_for(request.biller.pk, text))
    return kept[text]


class HistoryFilters(lists.Filters):
    """The filters of the history."""

    q = django_filters.CharFilter(label="Account, name, phone or update", method="searched")
    type = lists.AnyOf(label="Update", choices=_TYPES, field_name="type")
    state = lists.AnyOf(label="Status", choices=_STATES, method="in_states")
    by = lists.AnyOf(
        label="Made through", choices=[(str(int(one)), words.capitalize()) for one, words in DOORS.items()],
        field_name="requestor",
    )  # fmt: skip
    endpoint = django_filters.ChoiceFilter(label="Endpoint", choices=_PURPOSES, empty_label="Any", method="heard_by")
    trouble = lists.AnyOf(label="Kind of failure", choices=reports.trouble_choices(), field_name="trouble")
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    periods = (("start", "end"),)

    def searched(self, rows: QuerySet[Record], name: str, value: str) -> QuerySet[Record]:
        """Narrow to an update by its id, or to accounts."""
        record, customers = search(self.request, value)
        return rows.filter(pk=record) if record else rows.filter(customer_id__in=customers)

    def in_states(self, rows: QuerySet[Record], name: str, value: list[str]) -> QuerySet[Record]:
        """Narrow to states, of which one follows from other updates."""
        narrowed = Q(state__in=value)
        if reports.ON_HOLD in value:
            sql, params = reports.held_ids(self.request.biller.pk)
            narrowed |= Q(pk__in=RawSQL(sql, params))  # noqa: S611 -- our own words, all values as parameters
        return rows.filter(narrowed)

    def heard_by(self, rows: QuerySet[Record], name: str, value: str) -> QuerySet[Record]:
        """Narrow to the types of update that an endpoint hears."""
        return rows.filter(type__in=[int(type_) for type_ in types_of(value)])


def chosen_by(request: BillerRequest, given: dict[str, Any], customer: Customer | None = None) -> Chosen:
    """Give what the cleaned filters choose, as reports and runs read it."""
    record, customers = search(request, given["q"]) if given.get("q") else (None, None)
    types = {int(value) for value in given.get("type", ())}
    if given.get("endpoint"):
        heard = {int(type_) for type_ in types_of(given["endpoint"])}
        # A type that this endpoint never hears matches nothing, which no record's type 0 says.
        types = (types & heard if types else heard) or {0}
    start, end = given.get("start"), given.get("end")
    if customer is not None:
        customers = (customer.pk,)
    return Chosen(
        types=tuple(sorted(types)),
        states=tuple(given.get("state", ())),
        customers=None if record is not None else customers,
        record=record,
        requestors=tuple(int(value) for value in given.get("by", ())),
        troubles=tuple(given.get("trouble", ())),
        start=lists.midnight(start) if start else None,
        end=lists.midnight(end + timedelta(days=1)) if end else None,
    )


def _status(record: Record) -> str:
    return reports.shown_status(record)[0]


def _status_detail(record: Record) -> object:
    return reports.shown_status(record)[1]


def made_by(record: Record) -> str:
    """Say who made an update, and through which door."""
    door = DOORS[Requestor(record.requestor)]
    return record.made_by if record.requestor == Requestor.SYSTEM else f"{record.made_by} ({door})"


def record_url(record: Record) -> str:
    """Give the address of an update's own page."""
    return reverse("biller-datapump-record", args=[record.pk])


_WHEN: lists.Column[Record] = lists.Moment("when", "When", "created_at")
_ACCOUNT: tuple[lists.Column[Record], ...] = (
    lists.Link(
        "account", "Account", "customer.shown_number", url=lambda one: account_url(one.customer_id), nowrap=True
    ),
    lists.Column("name", "Name", "customer.name"),
)
_REST: tuple[lists.Column[Record], ...] = (
    lists.Link("update", "Update", reports.update_words, url=record_url),
    lists.Column("change", "What changed", reports.change_words, nowrap=True),
    lists.Column("made_by", "Made by", made_by),
    lists.Tag("status", "Status", _status, noun="record", detail=_status_detail),
    lists.Number("attempts", "Attempts", "attempts"),
    lists.Column("result", "Last result", reports.result_words),
    lists.Moment("delivered", "Delivered", "delivered_at", shown=False),
    lists.Column("id", "Update id", "id", shown=False),
)


class HistoryList(StaffPage, lists.ListPage[Record]):
    """Every update of the biller, read by the three indexes of ``datapump.reports`` at any size."""

    name, title, section = "datapump", "DataPump history", "datapump"
    template_name = "biller_portal/datapump/history.html"
    filters = HistoryFilters
    orders = (
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
    )
    columns = (_WHEN, *_ACCOUNT, *_REST)
    empty_heading = "No updates yet"
    empty_text = "Payments and changes of AutoPay, paperless billing and pay by text appear here as they are made."

    def account(self) -> Customer | None:
        """Give the one account whose updates are meant, where it is one."""
        return None

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's updates."""
        return Record.objects.visible_to(request.user).filter(biller=self.request.biller)

    @cached_property
    def _chosen(self) -> Chosen:
        return chosen_by(self.request, self.chosen, self.account())

    def fetch(self, queryset: Any, *, order: Sequence[str], bound: lists.Bound | None, limit: int) -> Sequence[Record]:
        """Read a page by the index that fits the filters."""
        return reports.history_page(
            biller_id=self.request.biller.pk,
            chosen=self._chosen,
            limit=limit,
            newest_first=order[0].startswith("-"),
            bound=None if bound is None else (bound.values[0], bound.values[1]),
        )

    def _narrow(self, request: HttpRequest) -> tuple[Any, Any]:
        queryset, form = super()._narrow(request)
        self._conditions = len(queryset.query.where.children)
        return queryset, form

    def count(self, queryset: Any, most: int) -> int:
        """Count by the index that fits the filters; what stands before a place in the list is counted plainly."""
        if len(queryset.query.where.children) > self._conditions or queryset.query.is_empty():
            return super().count(queryset, most)
        return reports.history_count(biller_id=self.request.biller.pk, chosen=self._chosen, most=most)

    def stream(self, queryset: Any, *, order: Sequence[str]) -> Iterator[Record]:
        """Read everything for the file, a batch at a time."""
        return reports.history_stream(
            biller_id=self.request.biller.pk, chosen=self._chosen, newest_first=order[0].startswith("-")
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Draw the page; a search that takes too long becomes a question for a period."""
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [PATIENCE])
                response = super().get(request, *args, **kwargs)
                if isinstance(response, TemplateResponse):
                    response.render()
            return response
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            query = request.GET.copy()
            query["start"] = (timezone.localdate() - timedelta(days=7)).isoformat()
            context = {"title": self.title, "section": self.section, "week_url": f"{request.path}?{query.urlencode()}"}
            return render(request, "biller_portal/datapump/slow.html", context, status=503)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give the endpoint strip, what is switched off, and whether the person may send again."""
        listing_query = request.GET.copy()
        for name in ("after", "before", "format", "size", "order"):
            listing_query.pop(name, None)
        first_page = not ({"after", "before"} & set(request.GET)) and request.GET.get("order", "newest") == "newest"
        return {
            **strip(self.request),
            "off": switched_off(self.request),
            "may_resend": self.request.may(Permission.RESEND),
            "may_set": self.request.may(Permission.CHANGE_SETTINGS),
            "newer_url": f"{reverse('biller-datapump-newer')}?{listing_query.urlencode()}" if first_page else "",
            "since": timezone.now().isoformat(),
            "quick": _quick_views(),
        }


def _quick_views() -> list[tuple[str, str]]:
    """The views that everybody wants, beside those that people save."""
    today = timezone.localdate()
    here = reverse("biller-datapump")
    return [
        ("Failed", f"{here}?state=failed"),
        ("Failed today", f"{here}?state=failed&start={today.isoformat()}"),
        ("Being retried", f"{here}?state=retrying"),
        ("On hold", f"{here}?state={reports.ON_HOLD}"),
        ("AutoPay this week", f"{here}?type=3&start={(today - timedelta(days=6)).isoformat()}"),
    ]


class AccountHistory(HistoryList):
    """The updates of one account: the DataPump tab of the account page."""

    name, title, section = "account-datapump", "DataPump", "search"
    template_name = "biller_portal/datapump/account.html"
    columns = (_WHEN, *_REST)
    empty_text = "Nothing about this account has been told to the biller’s system yet."

    @cached_property
    def customer(self) -> Customer:
        """The account in the address."""
        return customer_or_404(self.request, self.kwargs["customer_id"])

    def account(self) -> Customer:
        """Give the account in the address."""
        return self.customer

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save or remove a view, of an account that is there."""
        customer_or_404(self.request, self.kwargs["customer_id"])
        return super().post(request, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the account's updates."""
        return super().get_queryset(request).filter(customer=self.customer)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give the account's frame."""
        return frame(self.request, self.customer, "biller-account-datapump")


class AccountChanges(AccountList[ChangeLog]):
    """Every change of one account's pay by text, also those that no update told of."""

    name, title, tab = "account-changes", "Changes of pay by text", "biller-account-datapump"
    template_name = "biller_portal/datapump/changes.html"
    orders = (
        lists.Order("newest", "Newest first", ("-at", "-id")),
        lists.Order("oldest", "Oldest first", ("at", "id")),
    )
    columns = (
        lists.Moment("when", "When", "at"),
        lists.Column("field", "Field", lambda one: one.field.capitalize()),
        lists.Column("before", "Before", lambda one: reports.masked(one.old), nowrap=True),
        lists.Column("after", "After", lambda one: reports.masked(one.new), nowrap=True),
        lists.Column("made_by", "Made by", lambda one: f"{one.made_by} ({DOORS[Requestor(one.requestor)]})"),
        # PBT-7: a change that belongs to no update carries the number 0.
        lists.Link(
            "datapump_id",
            "Update",
            lambda one: "Told with its update" if one.record_id else "No update told of it",
            url=lambda one: reverse("biller-datapump-record", args=[one.record_id]) if one.record_id else None,
            csv=lambda one: one.datapump_id,
        ),
    )
    empty_heading = "No changes yet"
    empty_text = "A first enrolment is no change; what comes after it appears here, field by field."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the account's changes."""
        return ChangeLog.objects.filter(customer=self.customer)


@biller_page(Permission.VIEW)
def newer(request: BillerRequest) -> HttpResponse:
    """Say how many updates came in since the page was drawn, as a link: rows never jump by themselves."""
    form = HistoryFilters(request.GET, queryset=Record.objects.none(), request=request).form
    count = 0
    since = _moment(request.GET.get("since", ""))
    if form.is_valid() and since is not None:
        count = reports.newer_count(
            biller_id=request.biller.pk, chosen=chosen_by(request, form.cleaned_data), than=(since, uuid.UUID(int=0))
        )
    query = request.GET.copy()
    query.pop("since", None)
    context = {
        "count": count,
        "many": count >= reports.NEWER_MOST,
        "list_url": f"{reverse('biller-datapump')}?{query.urlencode()}",
        "newer_url": f"{reverse('biller-datapump-newer')}?{query.urlencode()}",
        "since": request.GET.get("since", ""),
    }
    return render(request, "biller_portal/datapump/newer.html", context)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def strip(request: BillerRequest) -> dict[str, Any]:
    """Give what the endpoint strip draws."""
    return {
        "endpoints": reports.endpoint_health(request.biller, now=timezone.now()),
        "may_set": request.may(Permission.CHANGE_SETTINGS),
        "may_test": request.may(Permission.RESEND),
    }


@biller_page(Permission.VIEW)
def endpoint_strip(request: BillerRequest) -> HttpResponse:
    """Draw the endpoint strip alone, for pages that keep it fresh."""
    return render(request, "biller_portal/datapump/strip.html", strip(request))


def switched_off(request: BillerRequest) -> list[str]:
    """Name the kinds of update that are not sent for this biller."""
    configuration = Configuration.objects.filter(biller=request.biller).first()
    if configuration is None:
        return ["Updates"]
    kinds = {"payments": "Payments", "paperless": "Changes of paperless billing", "autopay": "Changes of AutoPay"}
    if Line.objects.filter(biller=request.biller, active=True).exists():
        kinds["pay_by_text_changes"] = "Changes of pay by text"
    return [words for name, words in kinds.items() if not getattr(configuration, name)]
