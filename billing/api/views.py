"""What every view of the API begins with: a machine of one biller, a query that is understood, a page by keyset."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, cast

from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.drainage import set_override
from drf_spectacular.utils import extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.actors import Actor
from billing.api import errors
from billing.api.authentication import BearerKey, Machine
from billing.api.errors import TooLarge
from billing.lists.keysets import BadCursor, beyond, complete, read_cursor, write_cursor
from billing.models import Biller, Customer, Scope

if TYPE_CHECKING:
    _Serializer = serializers.Serializer[Any]
else:
    _Serializer = serializers.Serializer

MOST = 200
USUAL = 50
AMOUNT = r"^(0\.0[1-9]|0\.[1-9][0-9]?|[1-9][0-9]{0,11}(\.[0-9]{1,2})?)$"
LARGEST_BODY = 1 << 20  # bytes; files come another way


class Shape(_Serializer):
    """The shape of what goes in or comes out; ``PaymentShape`` is ``Payment`` in the OpenAPI document."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        set_override(cls, "component_name", cls.__name__.removesuffix("Shape"))


class Json(JSONParser):
    """Reads JSON in UTF-8, of a size and depth that a client of ours may have a reason for."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Read the body.

        :raises ParseError: it is no JSON.
        :raises TooLarge: it is too long.
        """
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise TooLarge
        try:
            return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise ParseError("The body is not JSON in UTF-8.", code="bad_json") from None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


class HasScope(BasePermission):
    """Lets a machine go on whose key has the scope that the call needs."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the machine's key.

        :raises ScopeMissing: it lacks the scope.
        """
        verb = str(request.method)
        if not hasattr(view, verb.lower()):
            return True  # what a path does not have is refused as that
        scope = cast("ApiView", view).scope_of(verb)
        if scope is None:
            return False
        cast("Machine", request.user).needs(scope)
        return True


class ApiView(APIView):
    """A view of the API. ``self.biller`` is the key's, in scope; ``self.actor`` is the machine.

    ``scope`` is what a key needs for the calls that change something; the others need ``read``. Without one nobody gets in.
    """

    scope: Scope | None = None
    authentication_classes = (BearerKey,)
    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated, HasScope)
    parser_classes: Sequence[type[BaseParser]] = (Json,)
    renderer_classes = (JSONRenderer,)
    metadata_class = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer, whatever encoding the caller says its URL has: URLs are UTF-8."""
        request.encoding = "utf-8"
        response = super().dispatch(request, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        """Give the one that every refusal of the API passes."""
        return errors.handle

    def scope_of(self, verb: str) -> Scope | None:
        """Give the scope that a call needs."""
        return Scope.READ if verb in SAFE_METHODS else self.scope

    @property
    def machine(self) -> Machine:
        """The machine that calls."""
        return cast("Machine", self.request.user)

    @property
    def biller(self) -> Biller:
        """The biller of its key."""
        return self.machine.biller

    @property
    def actor(self) -> Actor:
        """The machine as history shows it."""
        return self.machine.actor

    def query(self, shape: type[Shape]) -> dict[str, Any]:
        """Read the query string.

        :raises ValidationError: a value is not possible, or nobody knows the parameter.
        """
        given = self.request.query_params
        form = shape(data={name: given[name] for name in given}, context=self.context())
        if unknown := sorted(set(given) - set(form.fields)):
            known = ", ".join(sorted(form.fields)) or "none"
            raise ValidationError({unknown[0]: [f"There is no such parameter; there are: {known}."]}, code="unknown")
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def body(self, shape: type[Shape], request: Request) -> dict[str, Any]:
        """Read the body.

        :raises ValidationError: a value is missing or not possible, or nobody knows the field.
        """
        form = shape(data=request.data, context=self.context())
        if isinstance(request.data, dict) and (
            unknown := sorted(str(name) for name in set(request.data) - set(form.fields))
        ):
            raise ValidationError({unknown[0][:60]: ["There is no such field."]}, code="unknown")
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def show(self, shape: type[Shape], row: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        """Answer with one thing."""
        return Response(shape(row, context=self.context()).data, status=status, headers=headers)

    def context(self) -> dict[str, Any]:
        """Give what shapes need to know beside the row."""
        return {"biller": self.biller, "request": self.request}

    def page(
        self, rows: QuerySet[Any], shape: type[Shape], *, order: tuple[str, ...], chosen: Mapping[str, Any]
    ) -> Response:
        """Answer with the page that ``chosen`` asks for by ``cursor`` and ``limit``.

        :raises ValidationError: the cursor is none of this list's.
        """
        order, limit, salt = complete(rows, order), chosen["limit"], f"api:{type(self).__qualname__}"
        rows = rows.order_by(*order)
        if text := chosen.get("cursor"):
            rows = rows.filter(beyond(order, self.cursor(text, rows, order, salt)))
        found = list(rows[: limit + 1])
        more = write_cursor(found[limit - 1], 0, order=order, salt=salt) if len(found) > limit else None
        return self.answer_page(shape, found[:limit], more)

    @staticmethod
    def cursor(text: str, rows: QuerySet[Any], order: Sequence[str], salt: str) -> Any:
        """Read where a page begins.

        :raises ValidationError: the text is none of our cursors of this list.
        """
        try:
            return read_cursor(text, rows, order=order, salt=salt).bound
        except BadCursor:
            words = "This is no cursor of this list. Use the one in “next” of the page before, as it is."
            raise ValidationError({"cursor": [words]}, code="bad_cursor") from None

    def answer_page(self, shape: type[Shape], rows: Sequence[Any], more: str | None) -> Response:
        """Answer with these rows and where the next page begins."""
        return Response({"results": shape(rows, many=True, context=self.context()).data, "next": more})

    def find(self, rows: QuerySet[Any], **lookup: Any) -> Any:
        """Give the one row; what is another biller's is not there.

        :raises Http404: there is none.
        """
        found = rows.filter(biller_id=self.biller.pk, **lookup).first()
        if found is None:
            raise Http404
        return found

    def customer(self, pk: int) -> Customer:
        """Give a customer of the biller.

        :raises Http404: there is none.
        """
        customer: Customer = self.find(Customer.objects.all(), pk=pk)
        customer.biller = self.biller
        return customer

    def customer_numbered(self, number: str) -> Customer:
        """Give the customer of an account number that stands in a body.

        :raises ValidationError: there is none.
        """
        customer = Customer.objects.filter(biller=self.biller, number=number).first()
        if customer is None:
            raise ValidationError({"account": ["This biller has no account of this number."]}, code="unknown")
        customer.biller = self.biller
        return customer

    def of_account(self, rows: QuerySet[Any], number: str | None) -> QuerySet[Any]:
        """Narrow to the rows of an account, where a number is given; an unknown one has none."""
        if number is None:
            return rows
        pk = Customer.objects.filter(biller=self.biller, number=number).values_list("pk", flat=True).first()
        return rows.none() if pk is None else rows.filter(customer_id=pk)


class PdfView(ApiView):
    """A view that answers with a PDF, and refuses in JSON, whatever the caller says it accepts."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Choose what refusals are written in."""
        return JSONRenderer(), JSONRenderer.media_type


# ---- Shapes that many have in common --------------------------------------------------------------------------------


class PageQuery(Shape):
    """Where a page begins and how long it is."""

    cursor = serializers.CharField(required=False, max_length=1000, help_text="“next” of the page before.")
    limit = serializers.IntegerField(
        required=False, default=USUAL, min_value=1, max_value=MOST, help_text="Rows a page."
    )


class NoQuery(Shape):
    """A view without parameters."""


class PeriodQuery(PageQuery):
    """A page of what was made in a period."""

    created_from = serializers.DateTimeField(required=False, help_text="Made then or later.")
    created_to = serializers.DateTimeField(required=False, help_text="Made before then.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a period that ends before it begins."""
        start, end = attrs.get("created_from"), attrs.get("created_to")
        if start and end and end <= start:
            raise ValidationError({"created_to": ["The period must end after it begins."]}, code="bad_period")
        return attrs


def in_period(rows: QuerySet[Any], chosen: Mapping[str, Any], field: str = "created_at") -> QuerySet[Any]:
    """Narrow rows to the period that a ``PeriodQuery`` has."""
    start: datetime.datetime | None = chosen.get("created_from")
    end: datetime.datetime | None = chosen.get("created_to")
    if start is not None:
        rows = rows.filter(**{f"{field}__gte": start})
    return rows if end is None else rows.filter(**{f"{field}__lt": end})


def page_of(shape: type[Shape]) -> Any:
    """Describe a page of such rows."""
    return inline_serializer(
        f"{shape.__name__.removesuffix('Shape')}Page",
        {
            "results": shape(many=True),
            "next": serializers.CharField(allow_null=True, help_text="Cursor of the next page; null on the last one."),
        },
    )


@extend_schema_field({"type": "string", "pattern": "^[A-Z]{3}$", "example": "USD"})
class Currency(serializers.ReadOnlyField):
    """The biller's currency, ISO 4217."""

    def get_attribute(self, instance: Model) -> str:
        """Give it."""
        return str(self.context["biller"].currency)


class Money(serializers.DecimalField):
    """An amount as text with two decimal places: ``"84.10"``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 14, "decimal_places": 2, **options})


@extend_schema_field({"type": "string", "pattern": AMOUNT, "example": "84.10"})
class AmountAsked(serializers.DecimalField):
    """An amount above zero that a call names: as text, because a JSON number is binary wherever it was before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 14, "decimal_places": 2, "min_value": Decimal("0.01"), **options})

    def to_internal_value(self, data: Any) -> Decimal:
        """Read it.

        :raises ValidationError: it is no text, or no such amount.
        """
        if not isinstance(data, str):
            raise ValidationError('Write the amount as text: "84.10".', code="invalid")
        return super().to_internal_value(data)


class Account(serializers.CharField):
    """An account number as the invoice file writes it."""

    def __init__(self, **options: Any) -> None:
        words = "Account number as the invoice file writes it."
        super().__init__(**{"min_length": 1, "max_length": 40, "help_text": words, **options})
