"""Tokens moved to another processor, and purged when nothing needs them any more (PAY-17)."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.actors import Actor
from billing.models import AuditEntry, Biller, Item
from payments.models import AutoPayEnrolment, Channel, Instrument, Payment, Route
from payments.operations import charges, collections, refunds, tokens
from payments.operations.collections import Options
from payments.operations.refunds import RefundRefused
from payments.operations.tokens import MigrationRefused
from tests.factories import make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.payments.test_collections import due_bill, today
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url, name="Old", merchant="old")
    make_route(biller, processor.url, name="New", merchant="new")
    return biller


def moved(biller: Biller, file: Path, *options: str) -> list[str]:
    out = io.StringIO()
    call_command(
        "migrate_tokens", str(file), "--biller", biller.slug, "--from", "Old", "--to", "New", *options, stdout=out
    )
    return out.getvalue().splitlines()


def write(path: Path, pairs: dict[str, str]) -> Path:
    path.write_text("old,new\n" + "".join(f"{old},{new}\n" for old, new in pairs.items()))
    return path


@pytest.mark.spec("PAY-17")
def test_methods_move_with_autopay_and_are_charged_at_the_new_processor(
    biller: Biller, processor: Processor, tmp_path: Path
) -> None:
    paid = due_bill(biller, processor, amount="30.00")
    made = collections.plan(biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now())
    list(collections.work(run=made, actor=SYSTEM))
    old = Instrument.objects.get()
    file = write(tmp_path / "tokens.csv", {old.token: processor.token("new"), "tok_of_nobody_1": "tok_x_1"})
    assert moved(biller, file, "--dry-run") == [f"{biller}: 1 would be moved, 0 left, 0 not in the file"]
    assert Instrument.objects.count() == 1
    assert moved(biller, file) == [f"{biller}: 1 moved, 0 left, 0 not in the file"]
    assert moved(biller, file) == [f"{biller}: 0 moved, 0 left, 0 not in the file"]
    old.refresh_from_db()
    new = Instrument.objects.exclude(pk=old.pk).get()
    assert (old.state, old.is_default, old.route.name) == ("removed", False, "Old")
    assert (new.state, new.is_default, new.route.name, new.last4) == ("active", True, "New", old.last4)
    assert AutoPayEnrolment.objects.get().instrument_id == new.pk
    make_invoice(paid.customer, "12.00", due_on=today(), collect_on=today())
    made = collections.plan(biller=biller, options=Options.usual(today(), repeat="2"), actor=SYSTEM, now=timezone.now())
    list(collections.work(run=made, actor=SYSTEM))
    assert [list(processor.charges(name).values()) for name in ("old", "new")] == [[1], [1]]
    # What the old one charged goes back there.
    refunds.refund(
        payment=Payment.objects.get(instrument=old), amount=Decimal("5.00"), reason="Too much", actor=SYSTEM,
        request_key="back",
    )  # fmt: skip
    assert [row["refunded"] for row in processor.book("old")["totals"]] == ["5.00"]
    assert AuditEntry.objects.get(event="instrument.migrated").customer_id == paid.customer_id


@pytest.mark.spec("PAY-17")
def test_options_narrow_and_another_card_moves_nothing(biller: Biller, processor: Processor, tmp_path: Path) -> None:
    route = Route.objects.get(name="Old")
    cards = [make_instrument(make_customer(biller), route, processor.token("old")) for _ in range(4)]
    Instrument.objects.filter(pk=cards[0].pk).update(created_at=timezone.now() - datetime.timedelta(days=90))
    pairs = {one.token: processor.token("new") for one in cards[:2]}
    pairs[cards[2].token] = processor.token("new", last4="9999")
    file = write(tmp_path / "tokens.csv", pairs)
    day = str((timezone.now() - datetime.timedelta(days=60)).date())
    with pytest.raises(CommandError, match="There is no account 4711"):
        moved(biller, file, "--account", "4711")
    # A route that takes no cards would leave them where nothing charges them.
    Route.objects.filter(name="New").update(tenders=["ach"])
    assert moved(biller, file, "--limit", "1") == [
        f"left      account {cards[0].customer.shown_number}  {cards[0]}  The new route takes no such method.",
        f"{biller}: 0 moved, 1 left, 0 not in the file",
    ]
    Route.objects.filter(name="New").update(tenders=["card", "ach"])
    assert moved(biller, file, "--end", day) == [f"{biller}: 1 moved, 0 left, 0 not in the file"]
    assert moved(biller, file, "--account", cards[2].customer.number, "--start", day) == [
        f"left      account {cards[2].customer.shown_number}  {cards[2]}  The new token stands for another card or account.",
        f"{biller}: 0 moved, 1 left, 0 not in the file",
    ]
    assert moved(biller, file, "--limit", "1") == [f"{biller}: 1 moved, 0 left, 0 not in the file"]
    assert moved(biller, file)[-1] == f"{biller}: 0 moved, 1 left, 1 not in the file"
    assert sorted(Instrument.objects.filter(state="active").values_list("route__name", flat=True)) == [
        "New", "New", "Old", "Old",
    ]  # fmt: skip


@pytest.mark.spec("PAY-17")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "The file names no tokens."),
        ("old,new\n", "The file names no tokens."),
        ("a\n", "Line 1 has not two tokens."),
        ("a,\n", "Line 1 has not two tokens."),
        ("a,b\na,c\n", "Line 2 names a token again."),
        ("a," + "x" * 121, "Line 1 has not two tokens."),
        ("a,4111 1111-1111 1111\n", "Line 1 holds a number and not a token: numbers must not come here."),
    ],
)
def test_a_file_that_cannot_be_is_refused(
    biller: Biller, processor: Processor, tmp_path: Path, text: str, words: str
) -> None:
    make_instrument(make_customer(biller), Route.objects.get(name="Old"), "a")
    with pytest.raises(MigrationRefused) as refused:
        tokens.read_pairs(text.splitlines(keepends=True))
    assert str(refused.value) == words
    file = tmp_path / "tokens.csv"
    file.write_text(text)
    with pytest.raises(CommandError) as told:
        moved(biller, file)
    assert str(told.value) == words
    assert list(Instrument.objects.values_list("token", flat=True)) == ["a"]
    with pytest.raises(CommandError, match="No such file"):
        moved(biller, tmp_path / "other.csv")


@pytest.mark.spec("PAY-17")
def test_a_purge_leaves_the_last_digits_of_what_nothing_needs(biller: Biller, processor: Processor) -> None:
    route = Route.objects.get(name="Old")
    long_ago = timezone.now() - datetime.timedelta(days=600)

    def method(state: str, *, paid: datetime.datetime | None = None, at: datetime.datetime = long_ago) -> Instrument:
        customer = make_customer(biller)
        card = make_instrument(customer, route, processor.token("old"))
        if paid is not None:
            make_invoice(customer, "9.00")
            charges.pay(
                customer=customer, amount=Decimal("9.00"), instrument=card, channel=Channel.CSR, actor=SYSTEM,
                request_key=str(card.pk), now=paid,
            )  # fmt: skip
        Instrument.objects.filter(pk=card.pk).update(state=state, created_at=at)
        return card

    gone = [method("removed"), method("one_time", paid=long_ago), method("removed", paid=long_ago)]
    kept = [
        method("active"), method("bad"), method("removed", paid=timezone.now()), method("one_time", at=timezone.now()),
    ]  # fmt: skip
    out = io.StringIO()
    call_command("purge_tokens", biller=biller.slug, dry_run=True, stdout=out)
    assert Instrument.objects.filter(token__startswith="*").count() == 0
    call_command("purge_tokens", biller=biller.slug, stdout=out)
    call_command("purge_tokens", biller=biller.slug, stdout=out)
    assert out.getvalue().splitlines() == [
        f"{biller}: {words}" for words in ("3 would be purged", "3 purged", "0 purged")
    ]
    assert {one.pk for one in Instrument.objects.filter(token="******4242")} == {one.pk for one in gone}
    assert all(Instrument.objects.get(pk=one.pk).token == one.token for one in kept)
    with pytest.raises(RefundRefused, match="was purged"):
        refunds.refund(
            payment=Payment.objects.get(instrument=gone[1]), amount=Decimal("1.00"), reason="Why", actor=SYSTEM,
            request_key="r",
        )  # fmt: skip
    assert Item.objects.filter(customer=gone[1].customer, open__gt=0).count() == 0
    with pytest.raises(CommandError, match="--days: '0' is not a number of one or more"):
        call_command("purge_tokens", "--biller", biller.slug, "--days", "0", stdout=out)
