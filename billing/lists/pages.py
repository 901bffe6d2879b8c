"""The list page itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self

from django import forms
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views import View

from billing import formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.lists import filters
from billing.lists.columns import Column, M, Words, attribute
from billing.lists.exports import csv_response
from billing.lists.filters import Chip, Filters, address
from billing.lists.keysets import (
    BadCursor,
    Bound,
    Cursor,
    Order,
    beyond,
    complete,
    read_cursor,
    reverse_order,
    write_cursor,
)
from billing.models import Biller, SavedView, User
from billing.operations import saved_views

SIZES = (25, 50, 100)
# What the page itself reads from the query string; no filter may take one of these names.
AFTER, BEFORE, SIZE, ORDER, FORMAT = "after", "before", "size", "order", "format"
PLACES = frozenset({AFTER, BEFORE, FORMAT})
OURS = PLACES | {SIZE, ORDER}


class BadFilters(Exception):
    """The filters in the URL do not make sense; the form says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several ways to see the list, by link."""

    label: Words
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Listing(Generic[M]):
    """Everything the list template draws. ``total`` is at most the cap plus one; ``query`` are the filters alone."""

    rows: list[M]
    columns: list[Column[M]]
    form: forms.Form | None
    chips: list[Chip]
    first: int
    last: int
    total: int
    capped: bool
    cap: int
    previous_url: str | None
    next_url: str | None
    clear_url: str
    csv_url: str
    sizes: list[Choice]
    orders: list[Choice]
    size: int
    order: str
    query: str
    caption: Words
    path: str
    here: str
    size_asked: bool
    order_asked: bool
    views: list[Choice]
    can_save: bool
    empty_heading: Words
    empty_text: Words

    @property
    def wrong(self) -> bool:
        """Whether the filters do not make sense, so that no rows are shown."""
        return self.form is not None and self.form.is_bound and bool(self.form.errors)

    @property
    def cells(self) -> Iterator[tuple[M, list[tuple[Column[M], SafeString]]]]:
        """Give each row with its drawn cells."""
        for row in self.rows:
            yield row, [(column, column.html(row)) for column in self.columns]

    @property
    def position(self) -> str:
        """Word where this page is: ``1–50 of 143``, ``51–100 of over 5,000``."""
        if not self.rows:
            return gettext("No results")
        words = {"first": formats.number(self.first), "last": formats.number(self.last)}
        if self.capped:
            return gettext("%(first)s–%(last)s of over %(cap)s") % {**words, "cap": formats.number(self.cap)}
        return gettext("%(first)s–%(last)s of %(total)s") % {**words, "total": formats.number(self.total)}


@dataclass(frozen=True)
class _Rows(Generic[M]):
    """The rows of one page, the position of the first, and whether there are any before and after them."""

    rows: list[M]
    first: int
    has_previous: bool
    has_next: bool


class ListPage(View, Generic[M]):
    """A list page: give ``name``, ``title``, ``columns``, ``orders``, ``get_queryset``, and ``filters`` if any.

    Mix in the portal's own access class before it. ``template_name`` extends the portal's base and includes
    ``components/list.html``. A wrong cursor is answered 400 and wrong filters show their errors and no rows.
    """

    http_method_names = ["get", "head", "post", "options"]

    name: ClassVar[str]
    title: ClassVar[Words]
    section: ClassVar[str] = ""
    columns: ClassVar[Sequence[Column[Any]]]
    orders: ClassVar[Sequence[Order]]
    filters: ClassVar[type[Filters] | None] = None
    template_name: ClassVar[str] = "biller_portal/list.html"
    size: ClassVar[int] = 50
    empty_heading: ClassVar[Words] = _("Nothing here yet")
    empty_text: ClassVar[Words] = ""
    count_cap: ClassVar[int] = 5_000
    # A longer file would hold one snapshot of the database open for many minutes.
    csv_most: ClassVar[int] = 1_000_000

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a filter that takes one of the page's own names."""
        super().__init_subclass__(**options)
        if cls.filters is not None and (taken := OURS & set(cls.filters.base_filters)):
            raise ImproperlyConfigured(f"{cls.__name__}: {', '.join(sorted(taken))} cannot be the name of a filter.")

    # -- what a page may change

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[M]:
        """Give the rows this person may see: ``Model.objects.visible_to(request.user)``."""
        raise NotImplementedError

    def get_columns(self, request: HttpRequest) -> Sequence[Column[M]]:
        """Give the columns; a page may leave some out by permission."""
        return self.columns

    def fetch(
        self, queryset: models.QuerySet[M], *, order: Sequence[str], bound: Bound | None, limit: int
    ) -> Sequence[M]:
        """Read at most ``limit`` rows in this order after the bound; ``self.chosen`` has the cleaned filters."""
        if bound is not None:
            queryset = queryset.filter(beyond(order, bound))
        return list(queryset.order_by(*order)[:limit])

    def count(self, queryset: models.QuerySet[M], most: int) -> int:
        """Count the rows, but stop at ``most``."""
        return queryset.order_by()[:most].count()

    def stream(self, queryset: models.QuerySet[M], *, order: Sequence[str]) -> Iterator[M]:
        """Read every row in this order in flat memory."""
        return queryset.order_by(*order).iterator(chunk_size=2_000)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give what else the page's template needs."""
        return {}

    # -- what it does

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Draw the page, or give the file."""
        try:
            if request.GET.get(FORMAT) == "csv":
                return self._file(request)
            listing = self._listing(request)
        except BadCursor:
            return self._refusal(request, gettext("This address does not lead to a place in the list."))
        context = {
            "title": self.title,
            "section": self.section,
            "listing": listing,
            "form": listing.form,
            **self.get_context(request),
        }
        return TemplateResponse(request, self.template_name, context)

    @classmethod
    def of(cls, request: HttpRequest, *args: Any, **kwargs: Any) -> Self:
        """Give the page as this request's URL has it, for another view that acts on its rows."""
        page = cls()
        page.setup(request, *args, **kwargs)
        return page

    def matching(self, request: HttpRequest) -> models.QuerySet[M]:
        """Give the rows that the filters in the URL match, for an action on all of them.

        :raises BadFilters: the filters do not make sense.
        """
        queryset, form = self._narrow(request)
        if form is not None and not form.is_valid():
            raise BadFilters
        return queryset

    chosen: dict[str, Any]

    def _narrow(self, request: HttpRequest) -> tuple[models.QuerySet[M], forms.Form | None]:
        queryset = self.get_queryset(request)
        self.chosen = {}
        if self.filters is None:
            return queryset, None
        filter_set = self.filters(request.GET, queryset=queryset, request=request)
        form: forms.Form = filter_set.form
        if not form.is_valid():
            return queryset.none(), form
        self.chosen = form.cleaned_data
        return filter_set.qs, form

    def _file(self, request: HttpRequest) -> HttpResponseBase:
        queryset, form = self._narrow(request)
        if form is not None and not form.is_valid():
            return self._refusal(
                request, gettext("The filters in this address do not make sense. Nothing was downloaded.")
            )
        if self.count(queryset, self.csv_most + 1) > self.csv_most:
            return self._refusal(
                request, gettext("This is too much for one file. Filter the list first, then download it.")
            )
        order = complete(queryset, self._order(request).fields)
        return csv_response(self.name, self.get_columns(request), lambda: self.stream(queryset, order=order))

    def _refusal(self, request: HttpRequest, reason: str) -> HttpResponse:
        context = {"reason": reason, "back_url": self._url(request)}
        return HttpResponse(render_to_string("400.html", context, request), status=400)

    def _listing(self, request: HttpRequest) -> Listing[M]:
        queryset, form = self._narrow(request)
        chosen_order, size = self._order(request), self._size(request)
        order = complete(queryset, chosen_order.fields)
        after, before = request.GET.get(AFTER), request.GET.get(BEFORE)
        if after is not None and before is not None:
            raise BadCursor
        # A cursor that is wrong is refused even where the filters are too.
        text = after if after is not None else before
        cursor = None if text is None else read_cursor(text, queryset, order=order, salt=self._salt)

        if form is not None and form.is_bound and form.errors:
            page = _Rows[M]([], 1, False, False)
        else:
            page = self._page(queryset, order, cursor, size, forwards=before is None)
        total = self.count(queryset, self.count_cap + 1) if page.rows else 0
        first = page.first
        if page.rows and not page.has_next and first > 1 and total <= self.count_cap:
            # Rows came or went above us since the cursor was made; the end of the list is where we can tell.
            first = max(1, total - len(page.rows) + 1)
        last = first + len(page.rows) - 1

        query = self._url(request, without=frozenset({SIZE})).partition("?")[2]
        chips = filters.chips(request, form, PLACES)

        def place(row: M, position: int) -> str:
            return write_cursor(row, position, order=order, salt=self._salt)

        return Listing(
            rows=page.rows,
            columns=[column for column in self.get_columns(request) if column.shown],
            form=form,
            chips=chips,
            first=first if page.rows else 0,
            last=last if page.rows else 0,
            total=max(total, last),
            capped=total > self.count_cap,
            cap=self.count_cap,
            previous_url=self._url(request, {BEFORE: place(page.rows[0], first)}) if page.has_previous else None,
            next_url=self._url(request, {AFTER: place(page.rows[-1], last)}) if page.has_next else None,
            clear_url=self._kept_url(request, {ORDER, SIZE}),
            csv_url=self._url(request, {FORMAT: "csv"}),
            sizes=[Choice(formats.number(n), self._url(request, {SIZE: str(n)}), n == size) for n in SIZES],
            orders=[Choice(o.label, self._url(request, {ORDER: o.name}), o is chosen_order) for o in self.orders],
            size=size,
            order=chosen_order.name,
            query=query,
            caption=self.title,
            path=request.path,
            here=self._url(request),
            size_asked=SIZE in request.GET,
            order_asked=ORDER in request.GET,
            views=self._views(request, query),
            can_save=bool(chips) and self._keeper(request) is not None,
            empty_heading=self.empty_heading,
            empty_text=self.empty_text,
        )

    def _page(
        self, queryset: models.QuerySet[M], order: tuple[str, ...], cursor: Cursor | None, size: int, *, forwards: bool
    ) -> _Rows[M]:
        if cursor is not None and forwards:
            rows = list(self.fetch(queryset, order=order, bound=cursor.bound, limit=size + 1))
            if rows:
                return _Rows(rows[:size], cursor.position + 1, True, len(rows) > size)
        elif cursor is not None:
            backwards = reverse_order(order)
            rows = list(self.fetch(queryset, order=backwards, bound=cursor.bound, limit=size + 1))
            more, rows = len(rows) > size, rows[:size][::-1]
            if rows:
                first = cursor.position - len(rows) if more else 1
                if first < 2 and more:
                    # Rows were added before these since the cursor was made: count them.
                    edge = Bound(self._values(rows[0], order))
                    first = 1 + self.count(queryset.filter(beyond(backwards, edge)), self.count_cap + 1)
                return _Rows(rows, first, more, True)
        # The first page; also where the rows that a cursor led to are gone.
        rows = list(self.fetch(queryset, order=order, bound=None, limit=size + 1))
        return _Rows(rows[:size], 1, False, len(rows) > size)

    def _values(self, row: M, order: Sequence[str]) -> tuple[Any, ...]:
        return tuple(attribute(row, name.removeprefix("-")) for name in order)

    # -- the query string

    @property
    def _salt(self) -> str:
        return f"billing.lists.{self.name}"

    def _order(self, request: HttpRequest) -> Order:
        asked = request.GET.get(ORDER)
        return next((order for order in self.orders if order.name == asked), self.orders[0])

    def _size(self, request: HttpRequest) -> int:
        asked = request.GET.get(SIZE, "")
        return int(asked) if asked in {str(size) for size in SIZES} else self.size

    def _url(
        self, request: HttpRequest, more: dict[str, str] | None = None, *, without: frozenset[str] = frozenset()
    ) -> str:
        query = request.GET.copy()
        for name in without | PLACES:
            query.pop(name, None)
        for name in [name for name in query if not any(query.getlist(name))]:
            del query[name]
        for name, value in (more or {}).items():
            query[name] = value
        return address(request, query)

    # -- saved views

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save the filters in the URL under a name, or remove a saved view."""
        keeper = self._keeper(request)
        if keeper is None:
            raise PermissionDenied
        # A list of something that this person may not see, or that is not there, has no views either.
        self.get_queryset(request)
        user, biller = keeper
        actor = Actor.csr(user, request.META.get("REMOTE_ADDR"))
        try:
            if name := request.POST.get("remove"):
                saved_views.remove_view(actor=actor, user=user, biller=biller, page=self.name, name=name)
                messages.success(request, gettext("The view “%(name)s” was removed.") % {"name": name})
            else:
                name = request.POST.get("save", "").strip()
                query = self._url(request, without=frozenset({SIZE})).partition("?")[2]
                saved_views.save_view(actor=actor, user=user, biller=biller, page=self.name, name=name, query=query)
                messages.success(request, gettext("Saved as “%(name)s”.") % {"name": name})
        except DomainError as refused:
            messages.error(request, str(refused))
        return HttpResponseRedirect(self._url(request))

    def _keeper(self, request: HttpRequest) -> tuple[User, Biller] | None:
        """Give whose saved views these are: staff at one biller have some, payers none."""
        biller = getattr(request, "biller", None)
        user = request.user
        if (
            biller is None
            or not isinstance(user, User)
            or not (user.is_superuser or biller.pk in user.staff_biller_ids)
        ):
            return None
        return user, biller

    def _views(self, request: HttpRequest, query: str) -> list[Choice]:
        keeper = self._keeper(request)
        if keeper is None:
            return []
        user, biller = keeper
        saved = SavedView.objects.filter(user=user, biller=biller, page=self.name).order_by("name")
        return [Choice(view.name, f"{request.path}?{view.query}", view.query == query) for view in saved]

    # -- addresses

    def _kept_url(self, request: HttpRequest, names: set[str]) -> str:
        query = request.GET.copy()
        for name in set(query) - names:
            del query[name]
        return address(request, query)
