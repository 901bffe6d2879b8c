"""DataPump records: what the biller's own system was told, how that went, and telling it again."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing import formats
from billing.actors import Requestor
from billing.api.invoices import CustomerRef
from billing.api.views import Account, ApiView, PageQuery, PeriodQuery, Shape, page_of
from billing.lists.keysets import write_cursor
from billing.models import Customer, Scope
from datapump import reports
from datapump.models import ChangeLog, Outcome, Record, RecordState, RecordType
from datapump.operations import resends

# What a client reads instead of our numbers.
DOORS = {requestor.value: requestor.name.lower() for requestor in Requestor}
TYPES = {RecordType(value): RecordType(value).name.lower() for value in RecordType.values}
_BY_NAME = {name: type_ for type_, name in TYPES.items()}
_ORDER = ("-created_at", "-pk")
_SALT = "api:datapump-records"


class RecordQuery(PeriodQuery):
    """Which updates."""

    account = Account(required=False)
    type = serializers.ChoiceField(choices=sorted(_BY_NAME), required=False)
    state = serializers.ChoiceField(
        choices=[*RecordState.choices, (reports.ON_HOLD, "On hold")],
        required=False,
        help_text="on_hold: of those that wait, the ones behind an earlier update, which held_by names.",
    )


class Masked(serializers.CharField):
    """A value before or after a change; of a telephone number, its last figures."""

    def to_representation(self, value: str) -> str:
        """Give it as it may be shown."""
        return formats.masked_phone(value) if value.startswith("+") else value


class RecordShape(Shape):
    """One update for the biller's own system."""

    id = serializers.UUIDField(help_text="Of a payment's update, the payment's own id.")
    type = serializers.SerializerMethodField()
    customer = CustomerRef()
    state = serializers.ChoiceField(choices=RecordState.choices)
    made_by = serializers.CharField()
    before = Masked()
    after = Masked()
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(allow_null=True)
    attempts = serializers.IntegerField()
    failure = serializers.CharField(help_text="How the last try ended, where it was no success.")
    held_by = serializers.UUIDField(
        source="blocked_by", allow_null=True, help_text="The earlier update that it waits behind."
    )

    @extend_schema_field(serializers.ChoiceField(choices=sorted(_BY_NAME)))
    def get_type(self, record: Record) -> str:
        """Say what it tells of."""
        return TYPES[RecordType(record.type)]


class ChangeLogShape(Shape):
    """One field that changed."""

    datapump_id = serializers.SerializerMethodField(help_text="The update that told of it; 0 where none did.")
    field = serializers.CharField()
    old = Masked()
    new = Masked()
    requestor = serializers.SerializerMethodField(help_text="Through which door it came.")
    made_by = serializers.CharField()
    at = serializers.DateTimeField()

    def get_datapump_id(self, change: ChangeLog) -> str:
        """Give the update's id."""
        return change.datapump_id

    @extend_schema_field(serializers.ChoiceField(choices=sorted(DOORS.values())))
    def get_requestor(self, change: ChangeLog) -> str:
        """Name the door."""
        return DOORS[change.requestor]


class TryShape(Shape):
    """One try to deliver an update; credentials and numbers are masked."""

    at = serializers.DateTimeField(source="delivery.at")
    milliseconds = serializers.IntegerField(source="delivery.milliseconds")
    status = serializers.IntegerField(
        source="delivery.status", allow_null=True, help_text="HTTP status; null: no answer."
    )
    outcome = serializers.ChoiceField(choices=Outcome.choices, source="delivery.outcome")
    words = serializers.CharField(source="delivery.words")
    request = serializers.SerializerMethodField(help_text="What was sent; null once it has aged out.")
    answer = serializers.SerializerMethodField(help_text="What came back; null once it has aged out.")

    def get_request(self, one: reports.Try) -> str | None:
        """Give what was sent."""
        return one.envelope.request if one.envelope else None

    def get_answer(self, one: reports.Try) -> str | None:
        """Give what came back."""
        return one.envelope.answer if one.envelope else None


class RecordDetail(RecordShape):
    """An update with what changed and every try."""

    change_logs = ChangeLogShape(many=True, source="its_change_logs")
    tries = TryShape(many=True)


class RecordsView(ApiView):
    """The updates of the biller."""

    @extend_schema(
        operation_id="datapump_records_list",
        parameters=[RecordQuery],
        responses=page_of(RecordShape),
        tags=["datapump"],
    )
    def get(self, request: Request) -> Response:
        """Give updates for the biller's own system, the newest first."""
        query = self.query(RecordQuery)
        limit, bound = query["limit"], None
        if "cursor" in query:
            bound = self.cursor(query["cursor"], Record.objects.all(), _ORDER, _SALT).values
        rows = reports.history_page(biller_id=self.biller.pk, chosen=self._chosen(query), limit=limit + 1, bound=bound)
        more = write_cursor(rows[limit - 1], 0, order=_ORDER, salt=_SALT) if len(rows) > limit else None
        return self.answer_page(RecordShape, rows[:limit], more)

    def _chosen(self, query: dict[str, Any]) -> reports.Chosen:
        customers = None
        if "account" in query:
            own = Customer.objects.filter(biller=self.biller, number=query["account"])
            customers = tuple(own.values_list("pk", flat=True))
        return reports.Chosen(
            types=(int(_BY_NAME[query["type"]]),) if "type" in query else (),
            states=(query["state"],) if "state" in query else (),
            customers=customers,
            start=query.get("created_from"),
            end=query.get("created_to"),
        )


class RecordView(ApiView):
    """One update."""

    @extend_schema(operation_id="datapump_records_read", responses=RecordDetail, tags=["datapump"])
    def get(self, request: Request, pk: uuid.UUID) -> Response:
        """Give an update with its change logs and every try to deliver it."""
        return _detail(self, pk)


class SendAgainView(ApiView):
    """An update, once more."""

    scope = Scope.ACCOUNTS

    @extend_schema(operation_id="datapump_records_send_again", request=None, responses=RecordDetail, tags=["datapump"])
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Have an update sent again, before anything later of its customer; one that is on its way is refused."""
        resends.send_again(actor=self.actor, record=self.find(Record.objects.all(), pk=pk))
        return _detail(self, pk)


class ChangeLogsView(ApiView):
    """What has changed of one customer."""

    @extend_schema(
        operation_id="change_logs_list", parameters=[PageQuery], responses=page_of(ChangeLogShape), tags=["datapump"]
    )
    def get(self, request: Request, pk: int) -> Response:
        """Give the changes of a customer's enrolments, the newest first, also those that no update told of."""
        chosen = self.query(PageQuery)
        rows = ChangeLog.objects.filter(customer=self.customer(pk))
        return self.page(rows, ChangeLogShape, order=("-at", "-pk"), chosen=chosen)


def _detail(view: ApiView, pk: uuid.UUID) -> Response:
    record = view.find(Record.objects.select_related("customer", "endpoint"), pk=pk)
    update = reports.update(record)
    record.its_change_logs, record.tries = update.change_logs, update.tries
    return view.show(RecordDetail, record)
