"""Announcements: bill-ready texts to the phones of enrolled customers when a file of invoices has loaded, or on request.

Source: PBT-16, evidence 3.4.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal

from django.db import connection, transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Customer, FileState, Invoice, InvoiceFile, Item, ItemKind
from datapump.models import Balance
from payments.models import AutoPayEnrolment, Instrument, InstrumentState
from payments.operations import dues
from sms.conversations import answer, findings
from sms.models import Announcement, Line, Phone, SmsMode, Text
from sms.operations import links, programmes, talks, texts
from sms.operations.enrolments import NotEnrolled
from sms.operations.programmes import Voice

AT_ONCE = 500
# A file that loaded longer ago is not announced any more: nobody wants to hear of last month's bill.
_FRESH = datetime.timedelta(days=3)


class NothingToTell(DomainError):
    """Nothing is due."""

    default = "Nothing is due on this account: there is no bill to text."


def announce_due(*, now: datetime.datetime | None = None, most: int = 20) -> int:
    """Tell the bills of files that have loaded, of every biller in scope; gives how many texts were written."""
    now = now or timezone.now()
    loaded = InvoiceFile.objects.filter(state=FileState.LOADED, finished_at__gt=now - _FRESH)
    fresh = loaded.filter(announcement__done_at__isnull=True).select_related("biller").order_by("finished_at")[:most]
    return sum(_announce(file, now) for file in fresh)


def _announce(file: InvoiceFile, now: datetime.datetime) -> int:
    """Tell one file's bills, a few hundred phones at a time; a worker that comes later goes on where one died."""
    biller, written = file.biller, 0
    voice, line = programmes.voice_of(biller), programmes.line_of(biller)
    while True:
        with transaction.atomic(durable=True):
            Announcement.objects.bulk_create([Announcement(biller=biller, file=file)], ignore_conflicts=True)
            told = Announcement.objects.select_for_update(skip_locked=True).filter(file=file, done_at=None).first()
            if told is None:
                return written
            served = [] if line is None or voice.programme.stopped else _served(file, told.through)
            if line is None or not served:
                told.done_at = now
                told.save(update_fields=["done_at"])
                return written
            count = _write(served, voice, line, now, capped=True)
            told.through, told.texts = served[-1][0].pk, told.texts + count
            told.save(update_fields=["through", "texts"])
            written += count
        failpoint("announcements.told")


def announce_low(*, now: datetime.datetime | None = None, most: int = AT_ONCE) -> int:
    """Tell enrolled phones that little is left on a prepaid account, of every biller in scope; gives how many texts.

    Once for each time that the balance fell below its threshold (MSP-33); who is not enrolled is told by e-mail alone.
    """
    now = now or timezone.now()
    with transaction.atomic(durable=True):
        low = list(
            Balance.objects.filter(low_at__isnull=False, low_texted=False)
            .select_for_update(of=("self",), skip_locked=True)
            .select_related("customer__biller")
            .order_by("customer_id")[:most]
        )
        modes = SmsMode.objects.in_bulk([one.pk for one in low], field_name="customer_id")
        written = 0
        for biller in {one.biller_id: one.customer.biller for one in low}.values():
            voice, line = programmes.voice_of(biller), programmes.line_of(biller)
            mine = [one for one in low if one.biller_id == biller.pk and (modes.get(one.pk) or SmsMode()).registered]
            if line is not None and not voice.programme.stopped and mine:
                written += _write_low([(one, modes[one.pk]) for one in mine], voice, line, now)
        Balance.objects.filter(pk__in=[one.pk for one in low]).update(low_texted=True)
    return written


def _write_low(low: Sequence[tuple[Balance, SmsMode]], voice: Voice, line: Line, now: datetime.datetime) -> int:
    biller = voice.programme.biller
    numbers = sorted({mode.number for _balance, mode in low})
    Phone.objects.bulk_create((Phone(biller=biller, number=one) for one in numbers), ignore_conflicts=True)
    held = Phone.objects.filter(biller=biller, number__in=numbers).select_for_update(no_key=True).order_by("pk")
    by_number = {phone.number: phone for phone in held}
    talk_by_phone = talks.talks_with(list(by_number.values()), programmes={biller.pk: voice.programme}, now=now)
    drafts: list[texts.Draft] = []
    for balance, mode in low:
        customer, phone = balance.customer, by_number[mode.number]
        if phone.refuses(voice.programme.kind) or phone.suspended_for:
            continue
        link = links.make(customer=customer, now=now)
        conversation = talk_by_phone[phone.pk].conversation
        said = answer(conversation, findings.PrepaidLow(talks.account_of(customer), balance.due, link))
        if said.reply is None:
            continue
        assert balance.low_at is not None
        drafts.append(
            talks.draft(
                said.reply, phone=phone, line=line, voice=voice, language=conversation.language,
                key=f"prepaid:{customer.pk}:{balance.low_at.isoformat()}", now=now, customer=customer,
            )
        )  # fmt: skip
    return texts.write(drafts=drafts)


def send_now(*, customer: Customer, actor: Actor, key: str = "", now: datetime.datetime | None = None) -> None:
    """Text an enrolled customer's bill, because somebody asked for it; only the hours are kept, not the day's limit.

    The same ``key`` again texts nothing.

    :raises NotEnrolled: pay by text is not on.
    :raises NothingToTell: nothing is due.
    :raises programmes.NotOffered: the biller offers no pay by text.
    """
    if key and Text.objects.filter(biller_id=customer.biller_id, key=key).exists():
        return
    now = now or timezone.now()
    voice, line = programmes.offered(customer.biller)
    mode = SmsMode.objects.filter(customer=customer, registered=True).select_related("customer__biller").first()
    if mode is None:
        raise NotEnrolled
    newest = Invoice.objects.filter(customer=customer).order_by("-pk").first()
    with transaction.atomic(durable=True):
        key = key or f"bill:{newest.pk if newest else 0}:{now.isoformat()}"
        if not newest or not _write([(mode, newest)], voice, line, now, capped=False, key=key):
            raise NothingToTell
        audit.record(
            actor=actor, event="pay_by_text.bill_sent", biller_id=customer.biller_id, customer_id=customer.pk,
            subject=f"customer:{customer.pk}", facts={"phone": f"•••• {mode.number[-4:]}"},
        )  # fmt: skip


def _served(file: InvoiceFile, through: int) -> list[tuple[SmsMode, Invoice]]:
    """Give enrolled customers with a bill in this file, in the order of their modes, with the newest such bill."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT m.id, bill.id FROM sms_smsmode m CROSS JOIN LATERAL (
                SELECT max(i.id) AS id FROM billing_invoice i
                WHERE i.customer_id = m.customer_id AND i.file_id = %s AND NOT i.withdrawn
            ) bill
            WHERE m.biller_id = %s AND m.registered AND m.id > %s AND bill.id IS NOT NULL
            ORDER BY m.id LIMIT %s
            """,
            [file.pk, file.biller_id, through, AT_ONCE],
        )
        pairs = cursor.fetchall()
    modes = SmsMode.objects.select_related("customer__biller").in_bulk([mode for mode, _bill in pairs])
    bills = Invoice.objects.in_bulk([bill for _mode, bill in pairs])
    return [(modes[mode], bills[bill]) for mode, bill in pairs]


def _write(
    served: Sequence[tuple[SmsMode, Invoice]],
    voice: Voice,
    line: Line,
    now: datetime.datetime,
    *,
    capped: bool,
    key: str = "",
) -> int:
    """Write the texts and what the payers are told with them, inside the caller's transaction; gives how many."""
    biller = voice.programme.biller
    numbers = sorted({mode.number for mode, _bill in served})
    Phone.objects.bulk_create((Phone(biller=biller, number=one) for one in numbers), ignore_conflicts=True)
    held = Phone.objects.filter(biller=biller, number__in=numbers).select_for_update(no_key=True).order_by("pk")
    by_number = {phone.number: phone for phone in held}
    talk_by_phone = talks.talks_with(list(by_number.values()), programmes={biller.pk: voice.programme}, now=now)
    conversations = {number: talk_by_phone[phone.pk].conversation for number, phone in by_number.items()}
    customers = [mode.customer for mode, _bill in served]
    owed, collected, payable = dues.dues_of(customers), _collected(customers), _payable(customers, now)
    told_today = talks.unasked_today(biller.pk, numbers, now=now)
    drafts: list[texts.Draft] = []
    for mode, bill in served:
        customer, phone = mode.customer, by_number[mode.number]
        due = owed[customer.pk]
        if due.full <= 0 or phone.refuses(voice.programme.kind) or phone.suspended_for:
            continue
        if capped and told_today[phone.number] >= voice.programme.most_a_day:
            continue
        told_today[phone.number] += 1
        link = "" if customer.pk in payable or customer.pk in collected else links.make(customer=customer, now=now)
        finding = findings.BillReady(
            talks.account_of(customer), due.full, bill.due_on, link, collected.get(customer.pk)
        )
        said = answer(conversations[phone.number], finding)
        if said.reply is None:
            continue
        conversations[phone.number] = said.conversation
        talks.keep(phone, said.conversation, reply=said.reply, now=now)
        talks.tell(phone, customer, due.full, now)
        drafts.append(
            talks.draft(
                said.reply, phone=phone, line=line, voice=voice, language=said.conversation.language,
                key=key or f"bill:{bill.pk}", now=now, customer=customer,
            )
        )  # fmt: skip
    talks.save(by_number.values())
    return texts.write(drafts=drafts)


def _collected(customers: Iterable[Customer]) -> dict[int, datetime.date]:
    """Give the day on which AutoPay collects, of those who have it."""
    enrolled = AutoPayEnrolment.objects.filter(customer__in=list(customers), ended_at__isnull=True)
    ids = list(enrolled.values_list("customer_id", flat=True))
    bills = Item.objects.filter(customer_id__in=ids, kind=ItemKind.BILL, open__gt=Decimal(0)).exclude(collect_on=None)
    days: dict[int, datetime.date] = {}
    for customer_id, day in bills.values_list("customer_id", "collect_on"):
        if day is not None:
            days[customer_id] = min(day, days.get(customer_id, day))
    return days


def _payable(customers: Sequence[Customer], now: datetime.datetime) -> set[int]:
    """Give those whose default method PAY would charge."""
    today = customers[0].biller.business_date(now)
    mine = Instrument.objects.filter(customer__in=list(customers), is_default=True, state=InstrumentState.ACTIVE)
    by_id = {customer.pk: customer for customer in customers}
    return {one.customer_id for one in mine if not one.expired(today) and not by_id[one.customer_id].blocks(one.kind)}
