"""The history's queries: by which indexes they go, and that they give the same as the plain ones."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import Q

from billing.models import Biller
from datapump import reports
from datapump.models import Endpoint, Record, RecordState, RecordType
from datapump.reports import Chosen
from tests import servers
from tests.factories import make_biller, make_customer, make_endpoint

COUNT = 12_000
INDEXES = {"record_by_time", "record_by_type_and_state", "record_by_customer", "datapump_record_pkey"}


@pytest.fixture
def history(transactional_db: None) -> tuple[Biller, list[int]]:
    """A biller with twelve thousand records of fifty customers, beside another's; most delivered, few failed."""
    made = []
    for _ in range(2):
        biller = make_biller()
        endpoint = make_endpoint(biller)
        customers = [make_customer(biller).pk for _ in range(50)]
        made.append((biller, customers))
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO datapump_record (id, biller_id, customer_id, endpoint_id, type, optional_setting, state, requestor,
                                             made_by, facts, before, after, created_at, failure, closed_by, trouble)
                SELECT uuidv7(), %s, (%s::bigint[])[1 + i %% 50], %s, (ARRAY[1, 1, 1, 1, 1, 2, 3])[1 + i %% 7], 0,
                       CASE WHEN i %% 997 = 0 THEN 'failed' WHEN i %% 499 = 0 THEN 'retrying' WHEN i %% 251 = 0 THEN 'waiting'
                            ELSE 'delivered' END,
                       1 + i %% 4, 'somebody', '{}', '', '', now() - i * interval '1 minute', '', '',
                       CASE WHEN i %% 997 = 0 THEN 'refused' WHEN i %% 499 = 0 THEN 'unknown' ELSE '' END
                FROM generate_series(1, %s) i
                """,
                [biller.pk, customers, endpoint.pk, COUNT],
            )
    # Only an owner may; on a server autovacuum does it.
    with psycopg.connect(servers.superuser(connection.settings_dict["NAME"]), autocommit=True) as owner:
        owner.execute("ANALYZE datapump_record")
    return made[0]


def plain(biller: Biller, chosen: Chosen) -> Any:
    """Give the same records the plain way."""
    rows = Record.objects.filter(biller=biller)
    for name, value in (
        ("type__in", chosen.types), ("state__in", chosen.states), ("requestor__in", chosen.requestors),
        ("trouble__in", chosen.troubles), ("customer_id__in", chosen.customers),
    ):  # fmt: skip
        if value:
            rows = rows.filter(**{name: value})
    if chosen.record:
        rows = rows.filter(pk=chosen.record)
    if chosen.start:
        rows = rows.filter(created_at__gte=chosen.start)
    if chosen.end:
        rows = rows.filter(created_at__lt=chosen.end)
    return rows


def test_every_combination_gives_what_the_plain_query_gives(history: tuple[Biller, list[int]]) -> None:
    biller, customers = history
    newest = Record.objects.filter(biller=biller).latest("created_at").created_at
    types = [(), (1,), (2, 3), (0,)]
    states = [(), ("failed",), ("delivered", "retrying"), ("waiting",)]
    who = [None, tuple(customers[:1]), tuple(customers[:7]), ()]
    days: list[tuple[datetime | None, datetime | None]] = [
        (None, None),
        (newest - timedelta(days=3), newest - timedelta(days=1)),
    ]
    extra: list[dict[str, Any]] = [{}, {"requestors": (2, 3)}, {"troubles": ("refused",)}]
    combinations = list(itertools.product(types, states, who, days, extra))
    random.Random(7).shuffle(combinations)
    for type_, state, customer, (start, end), more in combinations[:80]:
        chosen = Chosen(types=type_, states=state, customers=customer, start=start, end=end, **more)
        rows = plain(biller, chosen) if customer != () else Record.objects.none()
        for newest_first in (True, False):
            order = ("-created_at", "-id") if newest_first else ("created_at", "id")
            expected = list(rows.order_by(*order).values_list("created_at", "pk")[:40])
            got = reports.history_ids(biller_id=biller.pk, chosen=chosen, limit=40, newest_first=newest_first)
            assert got == expected, chosen
            if len(got) > 5:
                bound = got[4]
                past = Q(created_at__lt=bound[0]) | Q(created_at=bound[0], pk__lt=bound[1])
                if not newest_first:
                    past = Q(created_at__gt=bound[0]) | Q(created_at=bound[0], pk__gt=bound[1])
                following = list(rows.filter(past).order_by(*order).values_list("created_at", "pk")[:40])
                again = reports.history_ids(
                    biller_id=biller.pk, chosen=chosen, limit=40, newest_first=newest_first, bound=bound
                )
                assert again == following, chosen
        assert reports.history_count(biller_id=biller.pk, chosen=chosen, most=1000) == min(1000, rows.count()), chosen
        assert Chosen.from_json(json.loads(json.dumps(chosen.as_json()))) == chosen


def _plan(
    biller: Biller, chosen: Chosen, *, limit: int = 51, merged: bool = True, deep: bool = False
) -> dict[str, Any]:
    bound = None
    if deep:
        middle = Record.objects.filter(biller=biller).order_by("-created_at")[COUNT // 2]
        bound = (middle.created_at, middle.pk)
    query = reports._source(chosen, biller.pk, limit, True, bound, merged=merged)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + " ".join(query.text), query.params)
        (found,) = cursor.fetchone()
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


BY_INDEX: list[tuple[dict[str, Any], str]] = [
    ({}, "record_by_time"),
    ({"types": (1,)}, "record_by_type_and_state"),
    ({"states": ("failed",)}, "record_by_type_and_state"),
    ({"types": (1, 2), "states": ("delivered", "failed", "retrying")}, "record_by_type_and_state"),
    ({"customers": 1}, "record_by_customer"),
    ({"customers": 20, "types": (1,)}, "record_by_customer"),
]


def test_each_filter_goes_by_its_index(history: tuple[Biller, list[int]]) -> None:
    biller, customers = history
    for (given, index), deep in itertools.product(BY_INDEX, (False, True)):
        filters = dict(given)
        if "customers" in filters:
            filters["customers"] = tuple(customers[: filters["customers"]])
        nodes = _nodes(_plan(biller, Chosen(**filters), deep=deep))
        scans = [node for node in nodes if "Relation Name" in node]
        assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}, (given, deep)
        assert {node["Index Name"] for node in scans} == {index}, (given, deep)
        for node in nodes:
            # Merged are the few newest of each part; nothing ever sorts the history.
            if node["Node Type"] in ("Sort", "Incremental Sort"):
                fed = max(child["Actual Rows"] * child["Actual Loops"] for child in node["Plans"])
                assert fed <= 51 * len(RecordType) * len(RecordState), (given, deep)
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
        assert read <= 51 * len(RecordType) * len(RecordState), (given, deep)


def on_hold(biller: Biller) -> list[Record]:
    """Give what waits behind an earlier update of its customer, found one by one."""
    holds: dict[int, bool] = {}
    found = []
    for one in Record.objects.filter(biller=biller).order_by("created_at", "pk"):
        if one.state == RecordState.WAITING and holds.get(one.customer_id):
            found.append(one)
        if one.state in (RecordState.RETRYING, RecordState.FAILED):
            holds[one.customer_id] = True
    return found[::-1]


def test_what_is_on_hold_is_found_from_what_holds_it(history: tuple[Biller, list[int]]) -> None:
    biller, customers = history
    Endpoint.objects.update(hold_after_failure=True)
    expected = on_hold(biller)
    assert 8 < len(expected) < Record.objects.filter(biller=biller, state="waiting").count()
    cases: list[tuple[dict[str, Any], Callable[[Record], bool]]] = [
        ({}, lambda _: True),
        ({"types": (1,)}, lambda one: one.type == 1),
        ({"requestors": (2, 3)}, lambda one: one.requestor in (2, 3)),
        ({"customers": tuple(customers[:20])}, lambda one: one.customer_id in customers[:20]),
        ({"record": expected[0].pk}, lambda one: one.pk == expected[0].pk),
        ({"start": expected[5].created_at}, lambda one: one.created_at >= expected[5].created_at),
        ({"troubles": ("refused",)}, lambda _: False),
    ]
    for given, belongs in cases:
        chosen = Chosen(states=("on_hold",), **given)
        keys = [(one.created_at, one.pk) for one in expected if belongs(one)]
        assert reports.history_ids(biller_id=biller.pk, chosen=chosen, limit=100) == keys, given
        assert reports.history_ids(biller_id=biller.pk, chosen=chosen, limit=100, newest_first=False) == keys[::-1]
        assert reports.history_count(biller_id=biller.pk, chosen=chosen, most=100) == len(keys), given
        if len(keys) > 3:
            assert reports.history_ids(biller_id=biller.pk, chosen=chosen, limit=2, bound=keys[0]) == keys[1:3], given
    page = reports.history_page(biller_id=biller.pk, chosen=Chosen(states=("on_hold",)), limit=100)
    assert {reports.shown_status(record)[0] for record in page} == {"on_hold"}
    failed = set(Record.objects.filter(biller=biller, state="failed").values_list("created_at", "pk"))
    both = reports.history_ids(biller_id=biller.pk, chosen=Chosen(states=("on_hold", "failed")), limit=100)
    assert both == sorted(failed | {(one.created_at, one.pk) for one in expected}, reverse=True)
    # All that waits is more than what is on hold.
    assert reports.history_count(
        biller_id=biller.pk, chosen=Chosen(states=("on_hold", "waiting")), most=100
    ) == reports.history_count(biller_id=biller.pk, chosen=Chosen(states=("waiting",)), most=100)
    Endpoint.objects.filter(biller=biller).update(hold_after_failure=False)
    behind_retries = [one for one in expected if held_by_a_retry(one)]
    assert 0 < len(behind_retries) < len(expected)
    assert [
        key for _, key in reports.history_ids(biller_id=biller.pk, chosen=Chosen(states=("on_hold",)), limit=100)
    ] == [one.pk for one in behind_retries]


def held_by_a_retry(one: Record) -> bool:
    return Record.objects.filter(
        customer_id=one.customer_id, state="retrying", created_at__lt=one.created_at
    ).exists()  # fmt: skip


def test_what_is_on_hold_goes_by_the_index_of_live_updates(history: tuple[Biller, list[int]]) -> None:
    biller, customers = history
    filters: list[dict[str, Any]] = [{}, {"types": (1,)}, {"customers": tuple(customers[:3])}]
    for given, merged in itertools.product(filters, (True, False)):
        nodes = _nodes(_plan(biller, Chosen(states=("on_hold",), **given), merged=merged))
        scans = [node for node in nodes if node.get("Relation Name") == "datapump_record"]
        assert "Seq Scan" not in {node["Node Type"] for node in scans}, given
        names = {
            node["Index Name"] for node in nodes if node.get("Index Name", "").startswith(("record_", "datapump_rec"))
        }
        assert names == {"record_by_type_and_state", "record_live"}, given
        # From what holds, of which there is little, to what it holds: neither the history nor all that waits is read.
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
        assert read <= 2 * Record.objects.filter(biller=biller, state__in=["retrying", "failed", "waiting"]).count()


def test_counting_stops_at_the_cap(history: tuple[Biller, list[int]]) -> None:
    biller, _ = history
    assert reports.history_count(biller_id=biller.pk, chosen=Chosen(), most=5_001) == 5_001
    # A cap far below what there is, as in a history of years: at a quarter of it, reading all would cost the same.
    for filters in ({}, {"types": (1,)}, {"states": ("delivered",)}):
        nodes = _nodes(_plan(biller, Chosen(**filters), limit=501, merged=False))
        scans = {node["Node Type"] for node in nodes if node.get("Relation Name") == "datapump_record"}
        assert scans <= {"Index Scan", "Index Only Scan"}, filters


def test_the_whole_history_streams_in_order(history: tuple[Biller, list[int]]) -> None:
    biller, _ = history
    ids = [
        one.pk for one in reports.history_stream(biller_id=biller.pk, chosen=Chosen(states=("delivered",)), batch=5_000)
    ]
    assert ids == list(
        Record.objects.filter(biller=biller, state="delivered")
        .order_by("-created_at", "-id")
        .values_list("pk", flat=True)
    )


def test_another_billers_records_are_never_found(history: tuple[Biller, list[int]]) -> None:
    biller, _ = history
    other = Record.objects.exclude(biller=biller).first()
    assert other is not None
    assert reports.history_ids(biller_id=biller.pk, chosen=Chosen(record=other.pk), limit=5) == []
    assert reports.history_ids(biller_id=biller.pk, chosen=Chosen(customers=(other.customer_id,)), limit=5) == []
    assert reports.history_ids(biller_id=biller.pk, chosen=Chosen(record=uuid.uuid4()), limit=5) == []
