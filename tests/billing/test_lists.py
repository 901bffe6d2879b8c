"""List pages: every row exactly once whichever way one walks, filters in the URL, files that are safe to open."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import django_filters
import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import connection, models
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import lists, statuses, tenancy
from billing.lists.exports import csv_cell
from billing.lists.keysets import Bound, beyond
from billing.lists.pages import Choice
from billing.models import Biller, Customer, SavedView, User
from tests import factories

pytestmark = pytest.mark.django_db

NEW_YORK = ZoneInfo("America/New_York")


class CustomerFilters(lists.Filters):
    q = django_filters.CharFilter(label="Search", field_name="name", lookup_expr="icontains")
    status = lists.AnyOf(label="Status", choices=statuses.choices("customer"))
    paperless = django_filters.BooleanFilter(label="Paperless")
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    periods = (("start", "end"),)


class CustomerList(lists.ListPage[Customer]):
    name, title = "customers", "Customers"
    filters = CustomerFilters
    size: ClassVar[int] = 3
    orders: ClassVar[Sequence[lists.Order]] = (
        lists.Order("name", "By name", ("name",)),
        lists.Order("falling", "Name backwards", ("-name", "-id")),
        lists.Order("mixed", "Largest balance, then name", ("-balance", "name")),
        lists.Order("biller", "By biller", ("biller__name", "-created_at")),
    )
    columns = (
        lists.Link("account", "Account", "number", url=lambda c: f"/accounts/{c.pk}/"),
        lists.Column("name", "Name", "name"),
        lists.Tag("status", "Status", "status", noun="customer"),
        lists.Amount("balance", "Balance", "balance", currency="biller.currency"),
        lists.Column("currency", "Currency", "biller.currency", shown=False),
        lists.Moment("created", "Created", "created_at"),
        lists.Column("drawn", "Only on the page", lambda c: "x", exported=False),
    )

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Customer]:
        return Customer.objects.select_related("biller")


@pytest.fixture
def biller() -> Biller:
    return factories.make_biller()


def make(biller: Biller, *names: str, **fields: Any) -> list[Customer]:
    """Make customers with these names, ties included."""
    before = Customer.objects.count()
    rows = [Customer(biller=biller, number=f"{before + n:05}", name=name, **fields) for n, name in enumerate(names)]
    return Customer.objects.bulk_create(rows)


def ask(url: str = "/customers/", page: type[lists.ListPage[Customer]] = CustomerList) -> Any:
    request = RequestFactory().get(url)
    request.user = AnonymousUser()
    return page.as_view()(request)


def listing(url: str = "/customers/", page: type[lists.ListPage[Customer]] = CustomerList) -> lists.Listing[Customer]:
    response = ask(url, page)
    assert isinstance(response, TemplateResponse)
    assert response.context_data is not None
    found: lists.Listing[Customer] = response.context_data["listing"]
    return found


def walk(url: str, way: str = "next_url") -> Iterator[lists.Listing[Customer]]:
    """Follow the links; no list of a test has more than 40 pages."""
    for _ in range(40):
        page = listing(url)
        yield page
        following = getattr(page, way)
        if following is None:
            return
        url = following
    raise AssertionError("The pages never end.")


def file(url: str, page: type[lists.ListPage[Customer]] = CustomerList) -> list[list[str]]:
    separator = "&" if "?" in url else "?"
    response = ask(f"{url}{separator}format=csv", page)
    assert isinstance(response, StreamingHttpResponse)
    text = b"".join(response).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def query_of(url: str | None) -> dict[str, list[str]]:
    assert url is not None
    return parse_qs(urlsplit(url).query)


# ---- Walking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [order.name for order in CustomerList.orders])
@given(
    names=st.lists(st.sampled_from(["a", "b", "c"]), max_size=17),
    balances=st.lists(st.sampled_from([Decimal("0.00"), Decimal("-1.50")]), min_size=17, max_size=17),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_met_once_in_both_directions_and_in_the_file(
    biller: Biller, order: str, names: list[str], balances: list[Decimal]
) -> None:
    Customer.objects.all().delete()
    customers = make(biller, *names)
    for customer, balance in zip(customers, balances, strict=False):
        Customer.objects.filter(pk=customer.pk).update(balance=balance)
    url = f"/customers/?order={order}"
    pages = list(walk(url))
    forwards = [row.pk for page in pages for row in page.rows]
    assert sorted(forwards) == sorted(customer.pk for customer in customers)
    for number, page in enumerate(pages):
        if page.rows:
            assert (page.first, page.last) == (number * 3 + 1, number * 3 + len(page.rows))
            assert page.total == len(customers)

    back = list(walk(pages[-1].previous_url or url, "previous_url")) if len(pages) > 1 else []
    backwards = [row.pk for page in reversed(back) for row in page.rows]
    assert backwards == forwards[: 3 * (len(pages) - 1)]
    assert [page.first for page in back] == [number * 3 + 1 for number in reversed(range(len(pages) - 1))]

    by_number = {customer.number: customer.pk for customer in customers}
    assert [by_number[line[0]] for line in file(url)[1:]] == forwards


def test_the_order_is_the_one_asked_for(biller: Biller) -> None:
    make(biller, "b", "a", "c")
    Customer.objects.filter(name="a").update(balance=Decimal("7.00"))
    assert [row.name for row in listing("/customers/").rows] == ["a", "b", "c"]
    assert [row.name for row in listing("/customers/?order=falling").rows] == ["c", "b", "a"]
    assert [row.name for row in listing("/customers/?order=mixed").rows] == ["a", "b", "c"]
    assert [row.name for row in listing("/customers/?order=nonsense").rows] == ["a", "b", "c"]


def test_rows_added_above_neither_repeat_nor_hide_a_row(biller: Biller) -> None:
    make(biller, *"defghijk")
    first = listing("/customers/")
    make(biller, "a", "b")
    second = listing(first.next_url or "")
    assert [row.name for row in second.rows] == ["g", "h", "i"]
    back = listing(second.previous_url or "")
    assert [row.name for row in back.rows] == ["d", "e", "f"]
    assert (back.first, back.last, back.total) == (3, 5, 10)
    assert back.previous_url is not None
    top = listing(back.previous_url)
    assert [row.name for row in top.rows] == ["a", "b"]
    assert (top.first, top.previous_url) == (1, None)


def test_the_last_page_ends_where_the_list_ends(biller: Biller) -> None:
    make(biller, *"bcdef")
    first = listing("/customers/")
    make(biller, "a")
    last = listing(first.next_url or "")
    assert [row.name for row in last.rows] == ["e", "f"]
    assert last.position == "5–6 of 6"


def test_where_the_rows_of_a_page_are_gone_the_first_page_is_shown(biller: Biller) -> None:
    make(biller, *"abcd")
    first = listing("/customers/")
    Customer.objects.filter(name="d").delete()
    again = listing(first.next_url or "")
    assert [row.name for row in again.rows] == ["a", "b", "c"]
    assert (again.first, again.previous_url, again.next_url) == (1, None, None)


def test_a_page_reads_no_more_than_it_shows_and_skips_no_rows(biller: Biller) -> None:
    make(biller, *"abcdefghij")
    second = listing("/customers/?order=falling").next_url or ""
    with CaptureQueriesContext(connection) as captured:
        listing(second)
    reading = [query["sql"] for query in captured if 'ORDER BY "billing_customer"."name" DESC' in query["sql"]]
    assert len(reading) == 1
    assert "LIMIT 4" in reading[0]
    assert "OFFSET" not in reading[0]
    assert '("billing_customer"."name", "billing_customer"."id") < (' in reading[0]


def test_the_condition_of_a_bound_is_strict_in_every_field() -> None:
    make(factories.make_biller(), *"aabbc")
    rows = list(Customer.objects.order_by("name", "-pk"))
    for number, row in enumerate(rows):
        rest = Customer.objects.filter(beyond(("name", "-pk"), Bound((row.name, row.pk)))).order_by("name", "-pk")
        assert list(rest) == rows[number + 1 :]


# ---- The place in the URL ------------------------------------------------------------------------------------------


def refused(url: str, page: type[lists.ListPage[Customer]] = CustomerList) -> str:
    response = ask(url, page)
    assert isinstance(response, HttpResponse)
    assert response.status_code == 400
    return response.content.decode()


@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.parametrize("text", ["", "x", "eyJvIjpbXX0:1:AAAA", "🙂", "a:b:c", "%00", "'; drop table"])
def test_a_cursor_that_is_none_is_answered_with_400(biller: Biller, name: str, text: str) -> None:
    make(biller, *"abcdef")
    assert "does not lead to a place in the list" in refused(f"/customers/?{name}={text}")


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_cursor_is_followed(biller: Biller, data: st.DataObject) -> None:
    if not Customer.objects.exists():
        make(biller, *"abcdef")
    cursor = query_of(listing("/customers/").next_url)["after"][0]
    place = data.draw(st.integers(0, len(cursor) - 1))
    changed = cursor[:place] + data.draw(st.sampled_from("AZaz09-_:.")) + cursor[place + 1 :]
    if changed != cursor:
        refused(f"/customers/?after={changed}")


def test_a_cursor_of_another_order_or_list_is_refused(biller: Biller) -> None:
    class Other(CustomerList):
        name = "others"

    make(biller, *"abcdef")
    cursor = query_of(listing("/customers/").next_url)["after"][0]
    assert listing(f"/customers/?after={cursor}").first == 4
    refused(f"/customers/?after={cursor}&order=falling")
    refused(f"/customers/?after={cursor}", Other)
    refused(f"/customers/?after={cursor}&before={cursor}")


def test_the_way_out_of_a_refusal_keeps_the_filters(biller: Biller) -> None:
    page = refused("/customers/?q=jones&after=nonsense")
    assert 'href="/customers/?q=jones"' in page


def test_links_keep_filters_and_leave_the_place(biller: Biller) -> None:
    make(biller, *["ann"] * 8)
    url = listing("/customers/?q=an&status=active&size=&paperless=").next_url
    assert set(query_of(url)) == {"q", "status", "after"}
    second = listing(url or "")
    assert query_of(second.csv_url) == {"q": ["an"], "status": ["active"], "format": ["csv"]}
    assert next(query_of(choice.url) for choice in second.sizes) == {"q": ["an"], "status": ["active"], "size": ["25"]}
    assert second.query == "q=an&status=active"


def test_the_page_size_is_one_of_three_and_counts_stop_at_the_cap(biller: Biller) -> None:
    class Capped(CustomerList):
        count_cap = 20

    make(biller, *["a"] * 26)
    page = listing("/customers/?size=25", Capped)
    assert (len(page.rows), page.position) == (25, "1–25 of over 20")
    assert listing(page.next_url or "", Capped).position == "26–26 of over 20"
    assert len(listing("/customers/?size=1000000", Capped).rows) == 3
    assert listing("/customers/?size=25").position == "1–25 of 26"


# ---- Filters -------------------------------------------------------------------------------------------------------


def test_filters_narrow_the_page_the_file_and_actions_alike(biller: Biller) -> None:
    make(biller, "Ann", "Annika", "Bob")
    make(biller, "Hannah", status="closed")
    url = "/customers/?q=ann&status=active&status=inactive"
    assert [row.name for row in listing(url).rows] == ["Ann", "Annika"]
    assert [line[1] for line in file(url)[1:]] == ["Ann", "Annika"]
    matching = CustomerList.of(RequestFactory().get(url)).matching(RequestFactory().get(url))
    assert {row.name for row in matching} == {"Ann", "Annika"}


def test_chips_name_each_filter_and_lead_to_the_list_without_it(biller: Biller) -> None:
    url = "/customers/?q=ann&status=active&status=closed&paperless=true&start=2026-11-01&order=falling"
    chips = {(chip.label, chip.value): query_of(chip.url) for chip in listing(url).chips}
    assert set(chips) == {
        ("Search", "ann"),
        ("Status", "Active"),
        ("Status", "Closed"),
        ("Paperless", "Yes"),
        ("From", "Nov 1, 2026"),
    }
    assert "q" not in chips["Search", "ann"]
    assert chips["Status", "Active"]["status"] == ["closed"]
    assert chips["Status", "Active"]["order"] == ["falling"]
    assert listing(url).clear_url == "/customers/?order=falling"


def test_days_are_the_calendar_of_the_zone(biller: Biller) -> None:
    make(biller, "late", "early")
    Customer.objects.filter(name="late").update(created_at=datetime(2026, 11, 23, 4, 59, tzinfo=UTC))
    Customer.objects.filter(name="early").update(created_at=datetime(2026, 11, 23, 5, 0, tzinfo=UTC))
    with timezone.override(NEW_YORK):
        assert [row.name for row in listing("/customers/?start=2026-11-22&end=2026-11-22").rows] == ["late"]
        assert [row.name for row in listing("/customers/?start=2026-11-23").rows] == ["early"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("start=2026-11-09&end=2026-11-01", "End date must be after start date"),
        ("start=tomorrow", "Enter a valid date."),
        ("status=lost", "Select a valid choice. lost is not one of the available choices."),
    ],
)
def test_filters_without_sense_show_why_and_no_rows(biller: Biller, query: str, words: str) -> None:
    make(biller, *"abc")
    page = listing(f"/customers/?{query}")
    assert page.rows == []
    assert page.wrong
    assert page.form is not None
    assert words in str(page.form.errors)
    assert "Nothing was downloaded" in refused(f"/customers/?{query}&format=csv")
    request = RequestFactory().get(f"/customers/?{query}")
    with pytest.raises(lists.BadFilters):
        CustomerList.of(request).matching(request)


def test_a_filter_cannot_take_a_name_of_the_page() -> None:
    class Clash(lists.Filters):
        size = django_filters.CharFilter(field_name="name")

    with pytest.raises(ImproperlyConfigured, match="size cannot be the name of a filter"):
        type("ClashList", (CustomerList,), {"filters": Clash})


def test_a_field_that_may_be_null_cannot_order_a_list(biller: Biller) -> None:
    class Loose(CustomerList):
        orders: ClassVar[Sequence[lists.Order]] = (lists.Order("days", "Days", ("collect_days",)),)

    with pytest.raises(ImproperlyConfigured, match="may be null"):
        listing("/customers/", Loose)


# ---- CSV -----------------------------------------------------------------------------------------------------------


def test_the_file_has_stable_headings_plain_amounts_and_every_row(biller: Biller) -> None:
    customer = make(biller, 'O\'Neill, "Sons"\nand more', balance=Decimal("-1234.50"))[0]
    Customer.objects.filter(pk=customer.pk).update(created_at=datetime(2026, 11, 22, 19, 30, tzinfo=UTC))
    with timezone.override(NEW_YORK):
        assert file("/customers/") == [
            ["account", "name", "status", "balance", "currency", "created"],
            [customer.number, 'O\'Neill, "Sons"\nand more', "Active", "-1234.50", "USD", "2026-11-22T14:30:00-05:00"],
        ]
        response = ask("/customers/?format=csv")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="customers-')


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1 555", "'+1 555"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("＝1+1", "'＝1+1"),
        ("-", "'-"),
        ("--5", "'--5"),
        ("-1e5", "'-1e5"),
        ("-12.40", "-12.40"),
        ("-5", "-5"),
        ("12", "12"),
        ("Jones", "Jones"),
        ("a=b", "a=b"),
        ("", ""),
        ("-٣", "'-٣"),
        (Decimal("-12.40"), "-12.40"),
        (Decimal("1E+3"), "1000"),
        (-7, "-7"),
        (None, ""),
        (True, "yes"),
        (False, "no"),
    ],
)
def test_no_cell_is_a_formula_and_negative_numbers_stay_numbers(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


@given(st.text(max_size=12))
def test_no_text_begins_a_formula(text: str) -> None:
    cell = csv_cell(text)
    assert cell.removeprefix("'") == text.removeprefix("'") or cell == text
    if cell.lstrip(" \u00a0")[:1] in "=+@\t\r\n＝＋－＠" and cell.strip(" \u00a0"):
        raise AssertionError(cell)
    if cell.startswith("-"):
        float(cell)


def test_the_file_is_read_in_one_transaction_and_in_the_scope_of_its_request() -> None:
    ours, theirs = factories.make_biller(), factories.make_biller()
    make(ours, "ours")
    make(theirs, "theirs")
    seen: list[tuple[bool, str]] = []

    class Watched(CustomerList):
        def stream(self, queryset: models.QuerySet[Customer], *, order: Any) -> Iterator[Customer]:
            seen.append((connection.in_atomic_block, tenancy.scope()))
            return super().stream(queryset, order=order)

    with tenancy.acting_for([ours.pk]), timezone.override(NEW_YORK):
        response = ask("/customers/?format=csv", Watched)
    with tenancy.acting_for([]):
        lines = b"".join(response).decode("utf-8-sig").splitlines()
    assert seen == [(True, f"{{{ours.pk}}}")]
    assert [line.split(",")[1] for line in lines] == ["name", "ours"]
    assert lines[1].endswith(("-05:00", "-04:00"))


def test_a_file_of_many_rows_comes_in_pieces(biller: Biller) -> None:
    make(biller, *["x"] * 1200)
    response = ask("/customers/?format=csv")
    pieces = list(response)
    assert len(pieces) == 3
    assert b"".join(pieces).count(b"\r\n") == 1201


@pytest.mark.django_db(transaction=True)
def test_a_reader_who_goes_away_ends_the_transaction() -> None:
    make(factories.make_biller(), *["x"] * 1200)
    response = ask("/customers/?format=csv")
    assert next(iter(response))
    assert connection.in_atomic_block
    response.close()
    assert not connection.in_atomic_block


def test_too_much_for_one_file_is_refused(biller: Biller) -> None:
    class Small(CustomerList):
        csv_most = 4

    make(biller, *"abcde")
    assert "Filter the list first" in refused("/customers/?format=csv", Small)
    assert len(file("/customers/?q=a", Small)) == 2


# ---- Cells ---------------------------------------------------------------------------------------------------------


def test_cells_are_escaped_linked_and_aligned(biller: Biller) -> None:
    make(biller, "<b>Ann</b>", balance=Decimal("1234.50"))
    page = listing("/customers/")
    row, cells = next(iter(page.cells))
    drawn = {column.name: str(cell) for column, cell in cells}
    assert drawn["account"] == f'<a href="/accounts/{row.pk}/">{row.number}</a>'
    assert drawn["name"] == "&lt;b&gt;Ann&lt;/b&gt;"
    assert drawn["balance"] == '<span class="money">$1,234.50</span>'
    assert 'class="status-tag tone-good"' in drawn["status"]
    assert "currency" not in drawn
    assert [column.align for column, _ in cells] == ["start", "start", "start", "end", "start", "start"]


# ---- Saved views ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dana(biller: Biller) -> User:
    user = factories.make_user(name="Dana")
    factories.make_membership(user, biller, "read_only")
    return user


def as_staff(user: User, biller: Biller, url: str, data: dict[str, str] | None = None) -> Any:
    request = RequestFactory().get(url) if data is None else RequestFactory().post(url, data)
    request.user, request.biller = user, biller  # type: ignore[attr-defined]  # what the portal's access sets
    request._messages = CookieStorage(request)  # type: ignore[attr-defined]  # what the middleware sets
    return CustomerList.as_view()(request)


def views_of(user: User, biller: Biller, url: str = "/customers/") -> list[Choice]:
    found: list[Choice] = as_staff(user, biller, url).context_data["listing"].views
    return found


def test_a_view_keeps_the_filters_under_a_name_for_its_person(biller: Biller, dana: User) -> None:
    answer = as_staff(dana, biller, "/customers/?q=ann&status=active&size=25&after=x", {"save": "Anns"})
    assert (answer.status_code, answer["Location"]) == (302, "/customers/?q=ann&status=active&size=25")
    [view] = views_of(dana, biller)
    assert (view.label, view.url, view.current) == ("Anns", "/customers/?q=ann&status=active", False)
    assert views_of(dana, biller, view.url)[0].current
    colleague = factories.make_user(name="Lee")
    factories.make_membership(colleague, biller)
    assert views_of(colleague, biller) == []

    as_staff(dana, biller, "/customers/?q=bob", {"save": "Anns"})
    assert [view.url for view in views_of(dana, biller)] == ["/customers/?q=bob"]
    as_staff(dana, biller, "/customers/", {"remove": "Anns"})
    assert views_of(dana, biller) == []


@pytest.mark.parametrize(
    ("url", "data"),
    [("/customers/?q=a", {"save": ""}), ("/customers/?q=a", {"save": "x" * 61}), ("/customers/", {"save": "All"})],
)
def test_a_view_without_name_or_filters_is_refused(biller: Biller, dana: User, url: str, data: dict[str, str]) -> None:
    assert as_staff(dana, biller, url, data).status_code == 302
    assert not SavedView.objects.exists()


def test_nobody_saves_views_of_a_biller_that_is_not_theirs(biller: Biller, dana: User) -> None:
    other = factories.make_biller()
    for user in (dana, AnonymousUser()):
        with pytest.raises(PermissionDenied):
            as_staff(user, other, "/customers/?q=a", {"save": "Mine"})  # type: ignore[arg-type]  # nobody at all, too
    assert not SavedView.objects.exists()


def test_a_person_has_at_most_thirty_views_of_a_page(biller: Biller, dana: User) -> None:
    for n in range(31):
        as_staff(dana, biller, "/customers/?q=a", {"save": f"View {n}"})
    assert SavedView.objects.count() == 30
    as_staff(dana, biller, "/customers/?q=b", {"save": "View 3"})
    assert SavedView.objects.get(name="View 3").query == "q=b"
