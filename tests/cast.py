"""Named people of two billers, and everything that pages about them show.

``make_cast`` gives the same world every time: Maple Falls, whose people and payers act in tests of access, and Harbor
Light, whose rows they must never see. Both have the same kinds of rows, so that every address of one has its twin in
the other. Nobody's password is ever needed: tests sign people in with ``tests.staff``.
"""

from __future__ import annotations

import datetime
import secrets
import uuid
from dataclasses import asdict, dataclass, field
from decimal import Decimal

from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from django.core.files.base import ContentFile
from django.utils import timezone

from billing.actors import Actor, Requestor
from billing.models import (
    Adjustment,
    AdjustmentSource,
    ApiToken,
    AuditEntry,
    Biller,
    Chunk,
    Customer,
    Entry,
    FileState,
    IdempotencyKey,
    Invoice,
    InvoiceFile,
    InvoiceFileError,
    Item,
    ItemKind,
    LedgerAccount,
    Membership,
    Notice,
    NoticeDelivery,
    NoticeKind,
    NoticeState,
    PayerLink,
    Posting,
    PostingKind,
    RemoteRegistration,
    Role,
    Run,
    RunKind,
    RunState,
    SavedView,
    Setting,
    SignOnKey,
    UsedTicket,
    User,
)
from billing.operations import api_tokens
from datapump.models import (
    Balance,
    ChangeLog,
    Delivery,
    Endpoint,
    Envelope,
    Outcome,
    PrintedBill,
    Purpose,
    Record,
    RecordState,
    RecordType,
)
from payments.models import (
    Allocation,
    AllocationState,
    Attempt,
    AttemptState,
    Authorization,
    AutoPayEnrolment,
    Carryover,
    Case,
    Channel,
    Checkpoint,
    CloudPayment,
    Fee,
    FeeRule,
    FeeWaiver,
    Instrument,
    LateBill,
    LateRule,
    MethodRules,
    Payment,
    PaymentState,
    ProcessorEvent,
    Reversal,
    ReversalDebit,
    Route,
    ScheduledPayment,
    Tender,
    UnconfirmedPayment,
    UnresolvedReport,
    Verification,
)
from payments.operations import collections
from sms.models import Announcement, Line, PayLink, Phone, Programme, SmsMode, Text, Wording
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_membership,
    make_route,
)

OPERATOR = Actor.system("tests")
# The link in a text to Maple Falls' account: whoever has its code may open it, whoever they are.
LINK = 8_410_000
# The CloudPay payment of Maple Falls' account, alike.
CLOUD = uuid.UUID("84100000-0000-4000-8000-000000000001")


@dataclass(slots=True)
class Account:
    """A customer with one of everything: what a page about an account can show."""

    customer: Customer
    bill: Invoice
    card: Instrument  # AutoPay charges it
    spare: Instrument
    autopay: AutoPayEnrolment
    payment: Payment  # posted
    stuck: Payment  # its outcome is not known, and it is a case
    by_guest: Payment  # failed
    returned: Payment  # by the guest, with a receipt that says so
    held: Payment  # authorized
    case: Case
    scheduled: ScheduledPayment
    link: PayerLink
    owner: User
    fee: Fee  # for the declined payment
    late_fee: Fee  # for a late bill, and taken back
    delivery: NoticeDelivery
    record: Record
    failed: Record
    text: Text  # from the phone, and waits to be read


@dataclass(slots=True)
class Town:
    """A biller with two accounts that do not belong together, and its people."""

    biller: Biller
    route: Route
    endpoint: Endpoint
    account: Account
    neighbour: Account
    dana: User  # biller administrator
    sam: User  # CSR
    kim: User  # CSR without card entry
    alex: User  # read only
    pat: User  # co-owner of the account
    file: InvoiceFile
    refused: InvoiceFile
    trial: Run
    run: Run
    resend: Run
    line: Line
    token: ApiToken
    sign_on_key: SignOnKey
    view: SavedView
    membership: Membership  # Sam's


@dataclass(slots=True)
class Cast:
    """Two billers, and the people who belong to neither or may not come in as they are."""

    maple: Town
    harbor: Town
    robin: User  # administrator of the installation
    robin_without_factor: User
    nico: User  # CSR of Maple Falls who has no second factor
    gone: User  # CSR of Maple Falls whose account is closed
    key: str
    revoked_key: str
    expired_key: str
    harbor_key: str
    secrets: dict[str, str] = field(default_factory=dict)  # what no answer may ever hold, by what it is


# The smallest picture there is.
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf000000030001"
    "0501b2a9b0350000000049454e44ae426082"
)


def make_cast() -> Cast:
    """Make both billers and everybody."""
    found: dict[str, str] = {}
    maple = _make_town("Maple Falls Utilities", "maple-falls", "maple", "84.10", found)
    harbor = _make_town("Harbor Light Electric", "harbor-light", "harbor", "66613.37", found)
    PayLink.objects.filter(customer=maple.account.customer).update(id=LINK)
    CloudPayment.objects.filter(customer=maple.account.customer).update(id=CLOUD)
    nico = _make_person("nico@maple.example", "Nico Without", factor=False)
    make_membership(nico, maple.biller, Role.CSR)
    gone = _make_person("gone@maple.example", "Gone Already", is_active=False)
    make_membership(gone, maple.biller, Role.CSR)
    key = _make_key(maple.biller, "Website")
    revoked = _make_key(maple.biller, "Old website", revoked_at=timezone.now())
    expired = _make_key(maple.biller, "Trial", expires_at=timezone.now() - datetime.timedelta(days=1))
    return Cast(
        maple=maple,
        harbor=harbor,
        robin=_make_person("robin@ratepayer.example", "Robin Admin", is_staff=True, is_superuser=True, secrets=found),
        robin_without_factor=_make_person(
            "robin.old@ratepayer.example", "Robin Old", is_staff=True, is_superuser=True, factor=False
        ),
        nico=nico,
        gone=gone,
        key=key,
        revoked_key=revoked,
        expired_key=expired,
        harbor_key=_make_key(harbor.biller, "Harbor website"),
        secrets=found | {"API key": key, "digest of an API key": api_tokens.digest(key)},
    )


def _make_person(
    email: str, name: str, *, factor: bool = True, secrets: dict[str, str] | None = None, **fields: bool
) -> User:
    """Make somebody who signs in, with a password that nobody knows, because making a known one takes its time."""
    user = User(email=email, name=name, **fields)
    user.set_unusable_password()
    user.save()
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    if factor:
        secret = (
            f"TOTPSECRETOFTHEM{user.pk:08d}".replace("0", "A").replace("1", "B").replace("8", "C").replace("9", "D")
        )
        TOTP.activate(user, secret)
        if secrets is not None:
            secrets[f"authenticator of {name}"] = secret
    return user


def _make_key(biller: Biller, name: str, **fields: datetime.datetime) -> str:
    key = f"rp_{secrets.token_hex(4)}x_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(
        biller=biller,
        name=name,
        prefix=key[:12],
        digest=api_tokens.digest(key),
        created_by="Dana",
        last_used_on=timezone.now().date(),
        **fields,
    )
    return key


def _make_town(name: str, slug: str, domain: str, amount: str, found: dict[str, str]) -> Town:
    today = timezone.now().date()
    biller = make_biller(name=name, slug=slug, allow_partial_payments=True)
    biller.logo.save(f"{slug}.png", ContentFile(_PICTURE))
    route = make_route(biller, name=f"{domain} route", secret=f"route-secret-of-{domain}", tenders=["card", "ach"])
    endpoint = make_endpoint(biller, password=f"endpoint-password-of-{domain}", username=f"{domain}-user")
    for purpose in (Purpose.PAPERLESS, Purpose.AUTOPAY):
        make_endpoint(biller, purpose, password=f"endpoint-password-of-{domain}")
    found[f"route of {domain}"] = f"route-secret-of-{domain}"
    found[f"endpoint of {domain}"] = f"endpoint-password-of-{domain}"
    people = {
        person: _make_person(f"{person}@{domain}.example", f"{person.title()} of {domain.title()}", secrets=found)
        for person in ("dana", "sam", "kim", "alex")
    }
    make_membership(people["dana"], biller, Role.ADMINISTRATOR)
    sams = make_membership(people["sam"], biller, Role.CSR)
    make_membership(people["kim"], biller, Role.CSR_NO_CARDS)
    make_membership(people["alex"], biller, Role.READ_ONLY)
    file = InvoiceFile.objects.create(
        biller=biller, name=f"{domain}-loaded.csv", sha256=secrets.token_hex(32), size=1000, body=f"{domain}.csv",
        source="portal", state=FileState.LOADED, received_from="Dana", finished_at=timezone.now(),
        stated_count=1, stated_total=Decimal(amount), found_count=1, found_total=Decimal(amount),
        loaded_count=1, loaded_total=Decimal(amount),
    )  # fmt: skip
    refused = InvoiceFile.objects.create(
        biller=biller, name=f"{domain}-refused.csv", sha256=secrets.token_hex(32), size=1000, body=f"{domain}-2.csv",
        source="api", state=FileState.REFUSED, refusal="Line 3 is wrong.", error_count=1, finished_at=timezone.now(),
    )  # fmt: skip
    InvoiceFileError.objects.create(
        biller=biller, file=refused, line=3, field="due", reason="This is no date.", value="tomorrow"
    )
    runs = [
        Run.objects.create(
            biller=biller, kind=kind, key=f"{domain}:{kind}:{dry}", business_date=today, dry_run=dry, asked_by="Dana",
            state=RunState.DONE, started_at=timezone.now(), finished_at=timezone.now(), params=params,
        )
        for kind, dry, params in (
            (RunKind.COLLECT, True, _collect(today)),
            (RunKind.COLLECT, False, _collect(today)),
            (RunKind.RESEND, False, {"chosen": {}, "after": None}),
        )
    ]  # fmt: skip
    for run in runs:
        Chunk.objects.create(
            biller=biller, run=run, number=1, first=1, last=9, expected=1, expected_total=Decimal(amount), state="done"
        )
    account = _make_account(biller, route, endpoint, runs[1], file, amount, _make_payer(domain, "olive"), found)
    neighbour = _make_account(biller, route, endpoint, runs[1], file, amount, _make_payer(domain, "nora"), found)
    pat = _make_payer(domain, "pat")
    make_link(pat, account.customer, "co_owner")
    RemoteRegistration.objects.create(biller=biller, user=pat, user_name="pat")
    sign_on_key = SignOnKey.objects.create(
        biller=biller, name=f"sso-{domain}", secret=f"sign-on-secret-of-{domain}-{'x' * 20}", created_by="Dana"
    )
    found[f"sign-on key of {domain}"] = f"sign-on-secret-of-{domain}"
    UsedTicket.objects.create(biller=biller, digest=secrets.token_hex(32), expires_at=timezone.now())
    Setting.objects.create(biller=biller, number=3, value=f"https://my.{domain}.example/sign-in")
    token = ApiToken.objects.create(
        biller=biller, name="Kiosk", prefix=f"rp_{secrets.token_hex(4)}k", digest=secrets.token_hex(32),
        created_by="Dana", last_used_on=today,
    )  # fmt: skip
    found[f"digest of a key of {domain}"] = token.digest
    Setting.objects.create(biller=biller, number=131, value={})
    IdempotencyKey.objects.create(
        biller=biller, key=f"{domain}-key", operation="payment", input_hash="0" * 64, status=201, answer={"id": "1"}
    )
    ProcessorEvent.objects.create(
        biller=biller,
        route=route,
        event_id=f"evt_{domain}",
        kind="payment_intent.succeeded",
        happened_at=timezone.now(),
    )
    AuditEntry.objects.create(
        biller=biller, event="setting.changed", requestor=Requestor.CSR, actor="Dana", facts={"number": 64}
    )
    UnresolvedReport.objects.create(
        biller=biller, day=today, count=1, total=Decimal(amount), cases=1,
        rows=[{"kind": "Charges", "count": 1, "total": amount, "oldest": ""}],
    )  # fmt: skip
    return Town(
        biller=biller,
        route=route,
        endpoint=endpoint,
        account=account,
        neighbour=neighbour,
        pat=pat,
        file=file,
        refused=refused,
        trial=runs[0],
        run=runs[1],
        resend=runs[2],
        line=Line.objects.get(biller=biller),
        token=token,
        sign_on_key=sign_on_key,
        view=SavedView.objects.create(
            biller=biller, user=people["sam"], page="payments", name="Mine", query="state=failed"
        ),
        membership=sams,
        **people,
    )


def _collect(day: datetime.date) -> dict[str, str | None]:
    """Give a collect run's options as a plan keeps them."""
    options = collections.Options(start=day, end=day)
    return {name: str(value) if value is not None else None for name, value in asdict(options).items()}


def _make_payer(domain: str, name: str) -> User:
    return _make_person(f"{name}@{domain}-payers.example", f"{name.title()} of {domain.title()}", factor=False)


def _make_account(
    biller: Biller,
    route: Route,
    endpoint: Endpoint,
    run: Run,
    file: InvoiceFile,
    amount: str,
    owner: User,
    found: dict[str, str],
) -> Account:
    now = timezone.now()
    old = now - datetime.timedelta(hours=2)
    customer = make_customer(
        biller, name=owner.name, email=owner.email, phone="+12025550123", address1="1 Main Street", city="Springfield"
    )
    customer.display_number = f"{customer.base}-{customer.sub}-7"
    customer.save(update_fields=["display_number"])
    link = make_link(owner, customer)
    paid_bill = make_invoice(customer, amount, file=file, issued_on=now.date() - datetime.timedelta(days=40))
    bill = make_invoice(customer, amount, file=file, issued_on=now.date() - datetime.timedelta(days=9))
    card, spare = (
        make_instrument(customer, route, f"tok_{owner.pk}_{n}_{last4}", last4=last4, nickname="Mine")
        for n, last4 in enumerate(("4242", "0010"))
    )
    for one in (card, spare):
        found[f"token of {one.pk}"] = one.token
    autopay = make_autopay(customer, card)
    SmsMode.objects.create(
        biller=biller, customer=customer, number="+12025550123", registered=True, pending_number="+12025550177",
        pending_until=now + datetime.timedelta(days=1), consent_how="By phone.",
        consent_text="Texts about your bills.", consent_version="1", consent_by=owner.name,
        consent_requestor=Requestor.CSR, consented_at=now,
    )  # fmt: skip
    line, _new = Line.objects.get_or_create(
        biller=biller, number="+12025550100", driver="simulator",
        defaults={"options": {"base_url": "http://127.0.0.1:9"}, "secret": found.setdefault("secret of the line", "line-secret-1")},
    )  # fmt: skip
    Phone.objects.get_or_create(biller=biller, number="+12025550123")
    Programme.objects.get_or_create(biller=biller, defaults={"name": biller.name[:20]})
    Wording.objects.get_or_create(
        biller=biller, message="help", language="en", body="{programme}: Call {contact}. STOP to end."
    )
    Announcement.objects.get_or_create(biller=biller, file=file, defaults={"done_at": timezone.now()})
    PayLink.objects.create(
        biller=biller, customer=customer, invoice_id=bill.pk, expires_at=now + datetime.timedelta(days=30)
    )
    CloudPayment.objects.create(
        biller=biller, customer=customer, invoice=bill, who="csr", user_name="cthompson", amount=Decimal(amount),
        currency="USD", return_url="https://cis.example/back", opened_by="CIS", request_key=secrets.token_hex(32),
        expires_at=now + datetime.timedelta(minutes=30),
    )  # fmt: skip
    Text.objects.create(
        biller=biller, line=line, customer=customer, direction="out", phone="+12025550123", kind="bill_ready",
        body="Your bill is ready.", key=f"cast:{customer.pk}", state="delivered", status="delivered",
    )  # fmt: skip
    text = Text.objects.create(
        biller=biller, line=line, customer=customer, direction="in", phone="+12025550123", kind="unknown", state="received",
        body="What is this?", key=f"cast:{customer.pk}:in", rule="nothing", review="unknown",
    )  # fmt: skip
    payment = _make_payment(customer, card, amount, PaymentState.POSTED, run, settled_at=now)
    _settle(payment, paid_bill)
    stuck = _make_payment(customer, spare, "1.00", PaymentState.PROCESSING, None)
    by_guest = _make_payment(customer, spare, "1.00", PaymentState.FAILED, None)
    Payment.objects.filter(pk=by_guest.pk).update(channel=Channel.GUEST, failure="The card was declined.", result=5)
    by_guest.refresh_from_db()
    returned = _make_payment(customer, spare, "3.00", PaymentState.REVERSED, None)
    Payment.objects.filter(pk=returned.pk).update(channel=Channel.GUEST)
    returned.refresh_from_db()
    _make_reversal(returned)
    fee, late_fee = _make_fees(by_guest, bill)
    MethodRules.objects.get_or_create(biller=biller)
    Verification.objects.create(
        biller=biller, customer=customer, route=card.route, kind="card", brand="visa", masked="******0002", purpose="enrolment",
        amount=0, state="failed", result=8, message=f"Refused of {customer.name}", ended_at=timezone.now(),
    )  # fmt: skip
    UnconfirmedPayment.objects.create(biller=biller, customer=customer, payment=payment, until=now.date())
    held = _make_payment(customer, card, "2.00", PaymentState.AUTHORIZED, None)
    Authorization.objects.create(
        biller=biller, customer=customer, payment=held, authorized_on=now.date() - datetime.timedelta(days=1),
        expires_at=now + datetime.timedelta(days=6),
    )  # fmt: skip
    Attempt.objects.create(
        biller=biller, payment=held, route=route, command="authorize", transaction_type="S", amount=held.amount,
        state=AttemptState.APPLIED, result=0, approval_code="A2", processor_reference="P2", message="Approved",
        sent_at=now, answered_at=now,
    )  # fmt: skip
    Attempt.objects.create(
        biller=biller, payment=payment, route=route, command="charge", transaction_type="S", amount=payment.amount,
        state=AttemptState.APPLIED, result=0, approval_code="A1", processor_reference="P1", message="Approved",
        sent_at=now, answered_at=now,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        biller=biller, payment=stuck, route=route, command="charge", transaction_type="S", amount=stuck.amount,
        sent_at=old, created_at=old,
    )  # fmt: skip
    Checkpoint.objects.create(payment=stuck, attempt=attempt, biller=biller)
    case = Case.objects.create(
        biller=biller, customer=customer, attempt=attempt, kind="unknown", reason="Nobody knows."
    )
    Case.objects.create(
        biller=biller, kind="unbooked", key=str(uuid.uuid4()), reason="Whose it is cannot be told.",
        facts={"amount": amount, "currency": "USD", "account": customer.number, "route": str(route.pk)},
    )  # fmt: skip
    _ended, scheduled = (
        ScheduledPayment.objects.create(
            biller=biller, customer=customer, invoice=bill, instrument=card, pay_on=now.date() + datetime.timedelta(days=9),
            whole=True, amount=bill.amount, currency=biller.currency, consent_version="test", consent_text="I agree.",
            requestor=Requestor.PAYER, made_by=owner.name, request_key=secrets.token_hex(16), request_hash="0" * 64, **fields,
        )
        for fields in (
            {"state": "failed", "failure": "The card was declined.", "ended_at": old, "ended_by": "System", "created_at": old},
            {},
        )
    )  # fmt: skip
    _make_carryover(customer, payment, paid_bill, bill)
    _make_adjustments(customer, bill)
    Balance.objects.create(
        customer=customer, biller=biller, asked_at=now, answered_at=now, due=customer.balance, failed_at=now,
        failure="The biller's system did not answer.",
    )  # fmt: skip
    notice = Notice.objects.create(
        biller=biller, customer=customer, kind=NoticeKind.RECEIPT, key=f"receipt:{payment.pk}", facts={"amount": amount}
    )
    delivery = NoticeDelivery.objects.create(
        biller=biller, customer=customer, notice=notice, address=customer.email, state=NoticeState.SENT, sent_at=now,
        subject="Your receipt", text="You paid.",
    )  # fmt: skip
    PrintedBill.objects.create(
        biller=biller, invoice=bill, asked="0" * 64, body=f"printed-bills/{bill.pk}.pdf", size=9, fetched_at=now
    )
    record = _make_record(customer, endpoint, payment.pk, RecordState.DELIVERED)
    failed = _make_record(customer, endpoint, None, RecordState.FAILED)
    AuditEntry.objects.create(
        biller=biller, customer=customer, event="payment.posted", requestor=Requestor.PAYER, actor=owner.name,
        address="192.0.2.7", subject=str(payment.pk),
        facts={"amount": f"{amount} USD", "method": str(card), "confirmation": payment.confirmation},
    )  # fmt: skip
    customer.refresh_from_db()
    return Account(
        customer=customer,
        bill=bill,
        card=card,
        spare=spare,
        autopay=autopay,
        payment=payment,
        stuck=stuck,
        by_guest=by_guest,
        returned=returned,
        held=held,
        case=case,
        scheduled=scheduled,
        link=link,
        owner=owner,
        fee=fee,
        late_fee=late_fee,
        delivery=delivery,
        record=record,
        failed=failed,
        text=text,
    )


def _make_payment(
    customer: Customer, method: Instrument, amount: str, state: str, run: Run | None, **fields: datetime.datetime
) -> Payment:
    posting = None
    if state == PaymentState.POSTED:
        posting = Posting.objects.create(
            biller=customer.biller,
            key=f"receipt:{customer.pk}",
            kind=PostingKind.RECEIPTS,
            effective_on=timezone.now().date(),
        )
        for account, signed in (
            (LedgerAccount.CLEARING, Decimal(amount)),
            (LedgerAccount.RECEIVABLE, -Decimal(amount)),
        ):
            clearing = account == LedgerAccount.CLEARING
            Entry.objects.create(
                biller=customer.biller, posting=posting, account=account, amount=signed, currency="USD",
                route_id=method.route_id if clearing else None, tender=Tender.CARD if clearing else "", count=1,
            )  # fmt: skip
    return Payment.objects.create(
        biller=customer.biller, customer=customer, instrument=method, route=method.route, tender=Tender.CARD,
        amount=Decimal(amount), currency="USD", state=state, channel=Channel.WEB, requestor=Requestor.PAYER,
        made_by=customer.name, posting_id=posting.pk if posting else None, request_key=secrets.token_hex(16),
        email=customer.email, result=0 if posting else None, approval_code="A1" if posting else "",
        run_id=run.pk if run else None, **fields,
    )  # fmt: skip


def _settle(payment: Payment, bill: Invoice) -> None:
    item = Item.objects.get(invoice=bill)
    Allocation.objects.create(
        biller_id=payment.biller_id, payment=payment, item=item, amount=payment.amount, state=AllocationState.POSTED
    )
    Item.objects.filter(pk=item.pk).update(allocated=payment.amount)
    Customer.objects.filter(pk=payment.customer_id).update(balance=payment.amount)


def _make_reversal(payment: Payment) -> None:
    """Have a payment charged back, and what it had paid be due by itself."""
    posting = Posting.objects.create(
        biller=payment.biller, key=f"reversal:cast:{payment.pk}", kind=PostingKind.REVERSAL,
        effective_on=timezone.now().date(),
    )  # fmt: skip
    assert payment.route_id is not None
    reversal = Reversal.objects.create(
        biller=payment.biller, customer=payment.customer, payment=payment, route_id=payment.route_id, kind="chargeback",
        state="done", amount=payment.amount, charged=payment.amount, currency=payment.currency, reason="Cardholder dispute",
        code="4853", reference=f"rev_{payment.pk}", requestor=Requestor.SYSTEM, made_by="System", posting_id=posting.pk,
        settled_at=timezone.now(),
    )  # fmt: skip
    Payment.objects.filter(pk=payment.pk).update(undone=payment.amount)
    item = Item.objects.create(
        biller=payment.biller, customer=payment.customer, posting=posting, kind=ItemKind.RETURNED, amount=payment.amount,
        currency=payment.currency, allocated=payment.amount,
    )  # fmt: skip
    ReversalDebit.objects.create(biller=payment.biller, reversal=reversal, item=item)


def _make_fees(failed: Payment, bill: Invoice) -> tuple[Fee, Fee]:
    """Have a declined payment and a late bill charged for; a bill has taken the one over, the other was taken back."""
    biller, customer, now = failed.biller, failed.customer, timezone.now()
    rule, _new = FeeRule.objects.get_or_create(
        biller=biller, words="Declined payment fee", occasion="both", amount=Decimal("2.00")
    )
    late_rule, _new = LateRule.objects.get_or_create(
        biller=biller, words="Late payment fee", action="fee", days=300, due_from=bill.due_on, amount=Decimal("2.00")
    )
    late_bill = LateBill.objects.create(
        biller=biller, customer=customer, rule=late_rule, invoice=bill, owed=bill.amount, day=bill.due_on
    )
    items = []
    for number, amount in enumerate((Decimal("2.00"), Decimal("2.00"), Decimal("-2.00"))):
        posting = Posting.objects.create(
            biller=biller, key=f"fees:cast:{failed.pk}:{number}", kind=PostingKind.FEES, effective_on=now.date()
        )
        items.append(
            Item.objects.create(
                biller=biller, customer=customer, posting=posting, kind=ItemKind.FEE, amount=amount, transferred=amount,
                transferred_to=None if number else bill, currency=biller.currency,
            )
        )  # fmt: skip
    usual = {"biller": biller, "customer": customer, "charged_at": now, "reason": f"Charged to {customer.name}"}
    for_payment = Fee.objects.create(item=items[0], words=rule.words, rule=rule, payment=failed, **usual)
    for_bill = Fee.objects.create(item=items[1], words=late_rule.words, late_bill=late_bill, **usual)
    FeeWaiver.objects.create(
        biller=biller, customer=customer, fee=for_bill, item=items[2], set_off=Decimal("2.00"), reason="Our mistake",
        made_by="Dana", waived_at=now,
    )  # fmt: skip
    return for_payment, for_bill


def _make_carryover(customer: Customer, payment: Payment, older: Invoice, newer: Invoice) -> None:
    """Make a part of a payment that was credited to the newer bill, and given back since."""
    Carryover.objects.create(
        biller=customer.biller, payment=payment, kind="posted", invoice=newer,
        from_item=Item.objects.get(invoice=older, kind=ItemKind.BILL), amount=Decimal("1.00"), moved=Decimal("0.00"),
        returned_at=timezone.now(),
    )  # fmt: skip


def _make_adjustments(customer: Customer, taken_over_by: Invoice) -> None:
    """Make a debit and a credit that a bill has taken over since."""
    posting = Posting.objects.create(
        biller=customer.biller, key=f"adjustments:cast:{customer.pk}", kind=PostingKind.ADJUSTMENT,
        effective_on=taken_over_by.issued_on,
    )  # fmt: skip
    for reference, amount in (("A-1", Decimal("1.00")), ("A-2", Decimal("-1.00"))):
        item = Item.objects.create(
            biller=customer.biller, customer=customer, posting=posting, kind=ItemKind.ADJUSTMENT, amount=amount,
            transferred=amount, transferred_to=taken_over_by, currency=customer.biller.currency,
        )  # fmt: skip
        Adjustment.objects.create(
            biller=customer.biller, customer=customer, item=item, source=AdjustmentSource.API, reference=reference,
            reason="Meter was misread", made_by="Key",
        )  # fmt: skip


def _make_record(customer: Customer, endpoint: Endpoint, pk: object, state: str) -> Record:
    now = timezone.now()
    done = state == RecordState.DELIVERED
    given = {"id": pk} if pk else {}
    record = Record.objects.create(
        biller=customer.biller, customer=customer, endpoint=endpoint, state=state,
        type=RecordType.PAYMENT if done else RecordType.PAPERLESS, requestor=Requestor.PAYER, made_by=customer.name,
        facts={"amount": "1.00", "currency": "USD"} if done else {"enrolled": True}, before="Off", after="On",
        attempts=1, delivered_at=now if done else None, failure="" if done else "The account is unknown.",
        trouble="" if done else Outcome.REFUSED, **given,
    )  # fmt: skip
    ChangeLog.objects.create(
        biller=customer.biller, customer=customer, record=record, field="Paperless", old="Off", new="On",
        requestor=Requestor.PAYER, made_by=customer.name,
    )  # fmt: skip
    envelope = Envelope.objects.create(
        biller=customer.biller, endpoint=endpoint, operation="CommitPaymentTransaction", at=now, milliseconds=12,
        status=200, request=f"<accountNumber>{customer.number}</accountNumber>", answer="<ok/>",
        failures=0 if done else 1,
    )  # fmt: skip
    Delivery.objects.create(
        biller=customer.biller, record=record, envelope=envelope, at=now, milliseconds=12, status=200,
        outcome=Outcome.DELIVERED if done else Outcome.REFUSED, words="Done.",
    )  # fmt: skip
    record.refresh_from_db()
    return record
