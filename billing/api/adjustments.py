"""Adjustments: credits and debits on accounts, handed in by the biller's own system and read back (MSP-37)."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.idempotency import HEADER, REPLAYED, once
from billing.api.views import Account, ApiView, Currency, Money, PeriodQuery, Shape, in_period, page_of
from billing.models import Adjustment, AdjustmentSource, Scope
from billing.operations import adjustments
from billing.operations.adjustments import AdjustmentsRefused, Given

MOST = 1_000
_SIGNED = r"^-?(0\.0[1-9]|0\.[1-9][0-9]?|[1-9][0-9]{0,11}(\.[0-9]{1,2})?)$"


class AdjustmentQuery(PeriodQuery):
    """Which adjustments; the period is of when they were booked."""

    account = Account(required=False)


@extend_schema_field({"type": "string", "pattern": _SIGNED, "example": "-12.40"})
class SignedAmount(serializers.DecimalField):
    """An amount with its sign, as text: what is owed more, or below zero what is owed less."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 14, "decimal_places": 2, **options})

    def to_internal_value(self, data: Any) -> Decimal:
        """Read it.

        :raises ValidationError: it is no text, or no such amount.
        """
        if not isinstance(data, str):
            raise ValidationError('Write the amount as text: "-12.40".', code="invalid")
        return super().to_internal_value(data)


class AdjustmentLine(Shape):
    """One adjustment to book."""

    account = Account()
    amount = SignedAmount(help_text="In the biller's currency: a debit above zero, a credit below it; never zero.")
    reason = serializers.CharField(
        max_length=adjustments.LENGTHS["reason"], help_text="In words that CSRs and the payer read."
    )
    reference = serializers.CharField(
        max_length=adjustments.LENGTHS["reference"],
        help_text="Your own, once for each account: the same one with the same amount is the same adjustment again.",
    )
    effective_on = serializers.DateField(
        required=False,
        help_text=f"The business day that it counts for, up to {adjustments.OLDEST.days} days ago; without it today.",
    )


class AdjustmentsRequest(Shape):
    """Adjustments to book, all of them or none."""

    adjustments = serializers.ListField(child=AdjustmentLine(), allow_empty=False, max_length=MOST)


class AdjustmentShape(Shape):
    """A credit or debit on an account beside its bills."""

    id = serializers.IntegerField()
    account = serializers.CharField(source="customer.number")
    amount = Money(source="item.amount", help_text="A debit above zero, a credit below it.")
    open = Money(source="item.open", help_text="What no payment and no newer bill has settled yet, with its sign.")
    currency = Currency()
    reason = serializers.CharField()
    reference = serializers.CharField()
    effective_on = serializers.DateField(source="item.posting.effective_on")
    source = serializers.ChoiceField(choices=AdjustmentSource.choices)  # type: ignore[assignment]  # no class keeps it
    made_by = serializers.CharField()
    created_at = serializers.DateTimeField()


_MADE = inline_serializer("AdjustmentsMade", {"results": AdjustmentShape(many=True)})


class AdjustmentsView(ApiView):
    """The adjustments of the biller."""

    scope = Scope.FILES

    @extend_schema(
        operation_id="adjustments_list",
        parameters=[AdjustmentQuery],
        responses=page_of(AdjustmentShape),
        tags=["adjustments"],
    )
    def get(self, request: Request) -> Response:
        """Give adjustments, the newest first; those by which our books follow the biller's live balances among them."""
        chosen = self.query(AdjustmentQuery)
        all_of_them = Adjustment.objects.filter(biller=self.biller).select_related("customer", "item__posting")
        rows = in_period(self.of_account(all_of_them, chosen.get("account")), chosen)
        return self.page(rows, AdjustmentShape, order=("-pk",), chosen=chosen)

    @extend_schema(
        operation_id="adjustments_make",
        request=AdjustmentsRequest,
        parameters=[HEADER, REPLAYED],
        responses={201: OpenApiResponse(_MADE, description="Booked, or on file already; in the order given.")},
        tags=["adjustments"],
    )
    def post(self, request: Request) -> Response:
        """Book up to 1,000 adjustments, all or none; “faults” says what is wrong with which."""
        given = self.body(AdjustmentsRequest, request)
        return once(self, operation="adjustments", given=given, act=lambda _key: self._make(given))

    def _make(self, given: dict[str, Any]) -> Response:
        lines = [
            Given(n, **{**line, "reason": " ".join(line["reason"].split())})
            for n, line in enumerate(given["adjustments"])
        ]
        try:
            adjusted = adjustments.adjust(
                biller=self.biller, given=lines, source=AdjustmentSource.API, actor=self.actor, now=timezone.now()
            )
        except AdjustmentsRefused as refused:
            raise _by_line(refused) from None
        found = (
            Adjustment.objects.filter(biller=self.biller)
            .select_related("customer", "item__posting")
            .in_bulk(adjusted.ids)
        )
        rows = [found[pk] for pk in adjusted.ids]
        return Response({"results": AdjustmentShape(rows, many=True, context=self.context()).data}, status=201)


def _by_line(refused: AdjustmentsRefused) -> ValidationError:
    faults: dict[str, dict[str, list[ErrorDetail]]] = defaultdict(lambda: defaultdict(list))
    for fault in refused.faults:
        words = ErrorDetail(f"{fault.field} {fault.reason}.", code="adjustment_refused")
        faults[str(fault.line)][fault.field].append(words)
    return ValidationError({"adjustments": faults})
