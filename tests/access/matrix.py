"""The access matrix: every address, who may use it, and how everybody else is refused.

One line a route. A route that stands in no line fails ``test_every_route_is_in_the_matrix``, so that nobody adds a page
without saying who may see it. The rights of the roles are written out here a second time, on purpose: the code has to
agree with this table, and not the other way round. ``docs/access.md`` says the same for people.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import MULTIPART_CONTENT
from django.urls import URLPattern, URLResolver, get_resolver

from payments.models import CloudPayment, LateRule
from payments.operations import cloud_payments
from sms.models import PayLink
from sms.operations import links
from tests.access.walks import CARD_TO_ENTER, READY, Place, Where, Who
from tests.cast import CLOUD, LINK

# ---- People ------------------------------------------------------------------------------------------------------------

PAYERS = frozenset({Who.OLIVE, Who.PAT, Who.NORA, Who.VIEWER})
NOT_SIGNED_IN = frozenset({Who.NOBODY, Who.GUEST, Who.GONE, Who.KEY, Who.REVOKED_KEY, Who.EXPIRED_KEY})
WITHOUT_FACTOR = frozenset({Who.NICO, Who.ROBIN_WITHOUT_FACTOR})
SIGNED_IN = frozenset(Who) - NOT_SIGNED_IN

_ALL = frozenset({Who.DANA, Who.SAM, Who.KIM, Who.ALEX, Who.ROBIN, Who.VIEWER})
_CSRS = _ALL - {Who.ALEX}
_ADMINISTRATORS = frozenset({Who.DANA, Who.ROBIN})

RIGHTS: Mapping[str, frozenset[Who]] = {
    "view": _ALL,
    "take_payment": _CSRS,
    "enter_card": _CSRS - {Who.KIM},
    "change_enrolment": _CSRS,
    "change_payers": _CSRS,
    "resend": _CSRS,
    "load_file": _ADMINISTRATORS,
    "run": _ADMINISTRATORS,
    "reveal": _ADMINISTRATORS,
    "close_case": _ADMINISTRATORS,
    "give_back": _ADMINISTRATORS,
    "change_settings": _ADMINISTRATORS,
}


class Door(StrEnum):
    """Through which door a route is entered: what it asks of whoever comes."""

    OPEN = "everybody"
    BILLER = "a biller's person with a second factor and the right"
    PAYER = "whoever is signed in, for what is linked to them"
    ACCOUNT = "a payer of the account"
    GUEST = "the guest who found the account"
    API = "a machine with a live key"
    ADMIN = "an administrator with a second factor"
    OWN = "whoever is signed in, about themselves"


# ---- Objects -----------------------------------------------------------------------------------------------------------

Pick = Callable[[Place], Any]

NOWHERE = 987_654_321
NO_UUID = uuid.UUID("00000000-0000-7000-8000-00000000dead")

PICKS: Mapping[str, Pick] = {
    "customer_id": lambda at: at.account.customer.pk,
    "invoice_id": lambda at: at.account.bill.pk,
    "payment_id": lambda at: at.account.payment.pk,
    "link_id": lambda at: at.account.link.pk,
    "user_id": lambda at: at.account.owner.pk,
    "instrument_id": lambda at: at.account.spare.pk,
    "delivery_id": lambda at: at.account.delivery.pk,
    "case_id": lambda at: at.account.case.pk,
    "attempt_id": lambda at: at.account.case.attempt_id,
    "record_id": lambda at: at.account.failed.pk,
    "guest": lambda at: at.guest,
    "run_id": lambda at: at.town.run.pk,
    "file_id": lambda at: at.town.file.pk,
    "membership_id": lambda at: at.town.membership.pk,
    "fee_id": lambda at: at.account.fee.pk,
    "rule_id": lambda at: at.account.fee.rule_id,
    "late_rule_id": lambda at: LateRule.objects.get(biller=at.town.biller).pk,
    "token_id": lambda at: at.town.token.pk,
    "endpoint_id": lambda at: at.town.endpoint.pk,
    "key_id": lambda at: at.town.sign_on_key.pk,
    "text_id": lambda at: at.account.text.pk,
    "line_id": lambda at: at.town.line.pk,
    "cloud_id": lambda at: at.account.customer.cloud_payments.get().pk,
}


def missing(example: Any) -> Any:
    """Give a value of the same kind that names nothing."""
    match example:
        case int():
            return NOWHERE
        case uuid.UUID():
            return NO_UUID
    return "nobody-has-this-one"


FEE_RULE = {"words": "Another fee", "occasion": "returned", "amount": "3.00"}
LATE_RULE = {
    "words": "Another late fee", "action": "fee", "days": "300", "minimum": "5.00", "due_from": "11/22/2026", "amount": "3.00",
}  # fmt: skip


# ---- Routes ------------------------------------------------------------------------------------------------------------

GET = frozenset({"GET", "HEAD"})
POST = frozenset({"POST"})
BOTH = GET | POST
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the matrix.

    ``right`` is what the BILLER door asks for. ``picks`` are the objects in the address, ``fixed`` its other parts.
    ``given`` is what a person would send.
    ``query`` is what a page needs to be shown whole. ``right_to_post`` is a POST's own right where it is another one, and
    ``only`` are the people whose object it is, where not every payer of the account may see it. ``whoever`` are enough to
    ask where an answer is dear and the same for everybody. A page with ``own_rules`` is a package's, which may say no to
    whom it likes beyond its door. ``scope`` is what a machine's key needs for the calls that change something.
    """

    name: str
    door: Door
    verbs: frozenset[str] = GET
    right: str = ""
    picks: Mapping[str, Pick] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    given: Callable[[Place], Mapping[str, Any]] = lambda _at: {}
    query: Callable[[Place], str] = lambda _at: ""
    right_to_post: str = ""
    only: frozenset[Who] = frozenset(Who)
    whoever: frozenset[Who] = frozenset(Who)
    kind: str = ""
    own_rules: bool = False
    scope: str = ""

    def arguments(self, at: Place, nobody: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Give the parts of the address for a place; those in ``nobody`` name nothing."""
        found = {name: pick(at) for name, pick in self.picks.items()}
        return dict(self.fixed) | {name: missing(one) if name in nobody else one for name, one in found.items()}


def _picks(names: str) -> dict[str, Pick]:
    return {name: PICKS[name] for name in names.split()}


def _biller(name: str, right: str, verbs: frozenset[str] = GET, ids: str = "", **more: Any) -> Route:
    return Route(name, Door.BILLER, verbs, right, _picks(ids) | more.pop("picks", {}), **more)


def _payer(name: str, verbs: frozenset[str] = GET, ids: str = "", **more: Any) -> Route:
    return Route(name, Door.PAYER, verbs, "", _picks(ids), **more)


def _account(name: str, verbs: frozenset[str] = GET, ids: str = "", **more: Any) -> list[Route]:
    """Give a page that a payer and, under another address, a guest sees."""
    own = Route(f"customer-{name}", Door.ACCOUNT, verbs, "", _picks(f"customer_id {ids}"), **more)
    return [own, Route(f"guest-{name}", Door.GUEST, verbs, "", _picks(f"guest {ids}"), **more)]


def _own_account(name: str, verbs: frozenset[str] = GET, ids: str = "", **more: Any) -> Route:
    return Route(f"customer-{name}", Door.ACCOUNT, verbs, "", _picks(f"customer_id {ids}"), **more)


def _api(name: str, verbs: str = "GET HEAD", pick: Pick | None = None, **more: Any) -> Route:
    return Route(f"api-{name}", Door.API, frozenset(verbs.split()), "", {"pk": pick} if pick else {}, **more)


def _open(name: str, verbs: frozenset[str] = GET, **more: Any) -> Route:
    return Route(name, Door.OPEN, verbs, **more)


def _schedule(at: Place) -> dict[str, Any]:
    """Give the form of a scheduled payment."""
    return {"request_key": "d" * 32, "pay_on": "12/05/2026", "part": "whole", "method": at.account.spare.pk}


def _upload(at: Place) -> dict[str, Any]:
    return {"file": SimpleUploadedFile(f"{at.town.biller.number}_11222026.bif", b"H|wrong\n")}


def _enrolments(at: Place) -> dict[str, Any]:
    row = f"{at.account.customer.number},(202) 555-0199,On paper.,Texts about bills.,1,2026-01-02,Clara,en"
    body = f"account,phone,consent_how,consent_text,consent_version,consented_at,consented_by,language\n{row}\n"
    return {"file": SimpleUploadedFile("enrolments.csv", body.encode()), "what": "all"}


def _adjustment_file(at: Place) -> dict[str, Any]:
    body = f"account,amount,reason,reference\n{at.account.customer.number},-1.00,Walked,walk\n"
    return {"file": SimpleUploadedFile("adjustments.csv", body.encode())}


_BILLER_PORTAL = [
    _biller("biller-search", "view"),
    _biller("biller-choose", "view", BOTH, given=lambda at: {"biller": at.town.biller.pk}),
    _biller("biller-profile", "view", BOTH, given=lambda _: {"name": "Somebody Else", "search_shortcut": "on"}),
    _biller("biller-account", "view", GET, "customer_id"),
    _biller("biller-account-bills", "view", BOTH, "customer_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-account-payments", "view", BOTH, "customer_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-account-messages", "view", BOTH, "customer_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-account-datapump", "view", BOTH, "customer_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-account-changes", "view", BOTH, "customer_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-account-message", "view", GET, "customer_id delivery_id"),
    _biller("biller-account-message-resend", "change_enrolment", POST, "customer_id delivery_id"),
    _biller("biller-account-history", "view", GET, "customer_id"),
    _biller(
        "biller-account-users",
        "view",
        BOTH,
        "customer_id",
        given=lambda _: {"email": "robin@ratepayer.example", "caller": "on"},
        right_to_post="change_payers",
    ),
    _biller(
        "biller-account-blocks", "view", BOTH, "customer_id", given=lambda _: {"card": "on"},
        right_to_post="change_enrolment",
    ),
    _biller(
        "biller-account-standing", "change_enrolment", BOTH, "customer_id",
        given=lambda _: {"status": "inactive", "segment": "late"},
    ),
    _biller("biller-fee-waive", "give_back", BOTH, "customer_id fee_id", given=lambda _: {"reason": "A test."}),
    _biller("biller-account-user-unlink", "change_payers", BOTH, "customer_id link_id"),
    _biller("biller-account-enrolments", "view", GET, "customer_id"),
    _biller(
        "biller-account-autopay",
        "change_enrolment",
        BOTH,
        "customer_id",
        query=lambda at: f"method={at.account.spare.pk}",
        given=lambda _: {"how": "phone", "agreed": "on"},
    ),
    _biller("biller-account-autopay-end", "change_enrolment", BOTH, "customer_id"),
    _biller("biller-account-paperless", "change_enrolment", BOTH, "customer_id", given=lambda _: {"to": "on"}),
    _biller("biller-account-schedule", "take_payment", BOTH, "customer_id", given=_schedule),
    _biller("biller-account-schedule-cancel", "take_payment", BOTH, "customer_id"),
    _biller("biller-method-rules", "change_settings", BOTH, given=lambda _: {"verify_cards": "on", "bank_days": ""}),
    _biller("biller-account-methods", "view", GET, "customer_id"),
    _biller("biller-account-method-add", "enter_card", BOTH, "customer_id", given=lambda _: {"token": "tok_x"}),
    _biller("biller-account-method-default", "change_enrolment", POST, "customer_id instrument_id"),
    _biller("biller-account-collection", "change_enrolment", BOTH, "customer_id", given=lambda _: {"rule": "due"}),
    _biller("biller-account-method-confirm", "change_enrolment", POST, "customer_id instrument_id"),
    _biller("biller-account-method-remove", "change_enrolment", BOTH, "customer_id instrument_id"),
    _biller("biller-account-pay", "take_payment", BOTH, "customer_id", given=lambda _: {"choice": "other", "amount": "5"}),
    _biller(
        "biller-account-pay-method",
        "take_payment",
        BOTH,
        "customer_id",
        query=lambda _: "amount=5.00",
        given=lambda at: {"method": at.account.card.pk},
    ),
    _biller(
        "biller-account-pay-new",
        "enter_card",
        BOTH,
        "customer_id",
        query=lambda _: "amount=5.00",
        given=lambda _: {"token": "tok_x", "keep": "on"},
    ),
    _biller(
        "biller-account-pay-review",
        "take_payment",
        BOTH,
        "customer_id",
        query=lambda at: f"amount=5.00&method={at.account.card.pk}&key={NO_UUID}",
        given=lambda _: {"email": "", "again": "on"},
    ),
    _biller("biller-account-pay-done", "take_payment", GET, "customer_id payment_id"),
    _biller("biller-bills", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-bill", "view", GET, "invoice_id"),
    _biller("biller-bill-pdf", "view", GET, "invoice_id"),
    _biller("biller-payments", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-payment", "view", GET, "payment_id"),
    _biller("biller-payment-receipt", "view", GET, "payment_id"),
    _biller("biller-payment-receipt-pdf", "view", GET, "payment_id"),
    _biller("biller-payment-deposit", "take_payment", POST, picks={"payment_id": lambda at: at.account.held.pk}),
    _biller("biller-payment-release", "take_payment", BOTH, picks={"payment_id": lambda at: at.account.held.pk}),
    _biller(
        "biller-payment-refund",
        "give_back",
        BOTH,
        "payment_id",
        given=lambda _: {"amount": "1.00", "reason": "Paid twice", "request_key": str(uuid.UUID(int=13))},
    ),
    _biller("biller-payment-confirmation", "give_back", BOTH, "payment_id", given=lambda _: {"outcome": "confirmed"}),
    _biller("biller-cases", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-case", "view", GET, "case_id"),
    _biller(
        "biller-case-close",
        "close_case",
        BOTH,
        "case_id",
        given=lambda _: {"outcome": "not_charged", "evidence": "The processor's report of today."},
    ),
    _biller("biller-connections", "view"),
    _biller("biller-connection-ask", "run", POST, picks={"route_id": lambda at: at.town.route.pk}),
    _biller("biller-unresolved", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-attempt", "view", GET, "attempt_id"),
    _biller(
        "biller-attempt-resolve",
        "close_case",
        BOTH,
        "attempt_id",
        given=lambda _: {"outcome": "not_charged", "evidence": "The processor's report of today."},
    ),
    _biller(
        "biller-unresolved-give-up",
        "close_case",
        BOTH,
        fixed={"command": "authorize"},
        given=lambda _: {"evidence": "The line was down."},
    ),
    _biller("biller-batch-resubmit", "run", BOTH, "run_id", fixed={"number": 1}),
    _biller("biller-files", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-file-upload", "load_file", BOTH, kind=MULTIPART_CONTENT, given=_upload),
    _biller("biller-text-import", "load_file", BOTH, kind=MULTIPART_CONTENT, given=_enrolments),
    _biller("biller-account-prepaid", "change_enrolment", BOTH, "customer_id", given=lambda _: {"threshold": "15"}),
    _biller("biller-adjustment-file", "load_file", BOTH, kind=MULTIPART_CONTENT, given=_adjustment_file),
    _biller("biller-file", "view", GET, "file_id"),
    _biller("biller-file-errors", "view", BOTH, "file_id", given=lambda _: {"save": "Mine"}),
    _biller("biller-file-withdraw", "load_file", BOTH, "file_id"),
    _biller("biller-runs", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-run-new", "run", BOTH, given=lambda _: {"window": "usual", "status": "active"}),
    _biller("biller-run-new-deposit", "run", BOTH, given=lambda _: {"window": "usual"}),
    _biller("biller-run-new-release", "run", BOTH, given=lambda _: {"window": "usual"}),
    _biller("biller-run-new-scheduled", "run", BOTH),
    _biller("biller-run", "view", GET, "run_id"),
    _biller("biller-run-start", "run", POST, picks={"run_id": lambda at: at.town.trial.pk}),
    _biller("biller-run-stop", "run", POST, "run_id"),
    _biller("biller-reports", "view"),
    _biller("biller-report-channels", "view"),
    _biller("biller-report-ageing", "view"),
    _biller("biller-report-forecast", "view"),
    _biller("biller-settings", "change_settings", BOTH, given=lambda _: {"name": "New", "accent": "#123456"}),
    _biller(
        "biller-rules",
        "change_settings",
        BOTH,
        given=lambda _: {
            "guest_secret": "phone", "collect_rule": "due", "collect_days": "3", "minimum_collected": "3",
            "prepaid_least": "5", "prepaid_most": "500",
        },
    ),
    _biller("biller-fee-rules", "change_settings"),
    _biller("biller-fee-rule-add", "change_settings", BOTH, given=lambda _: FEE_RULE),
    _biller("biller-fee-rule", "change_settings", BOTH, "rule_id", given=lambda _: FEE_RULE),
    _biller("biller-late-rule-add", "change_settings", BOTH, given=lambda _: LATE_RULE),
    _biller("biller-late-rule", "change_settings", BOTH, "late_rule_id", given=lambda _: LATE_RULE),
    _biller("biller-charging", "change_settings"),
    _biller("biller-charging-stop", "change_settings", BOTH, given=lambda _: {"reason": "A test."}),
    _biller("biller-charging-allow", "change_settings", BOTH),
    _biller(
        "biller-people",
        "change_settings",
        BOTH,
        given=lambda _: {"email": "somebody@new.example", "name": "Somebody", "role": "csr"},
    ),
    _biller("biller-person-role", "change_settings", BOTH, "membership_id", given=lambda _: {"role": "read_only"}),
    _biller("biller-person-remove", "change_settings", BOTH, "membership_id"),
    _biller("biller-person-invite", "change_settings", BOTH, "membership_id"),
    _biller("biller-api-keys", "change_settings", BOTH, given=lambda _: {"name": "A new key", "scopes": ["read"]}),
    _biller("biller-api-key-revoke", "change_settings", BOTH, "token_id"),
    _biller(
        "biller-portal", "change_settings", BOTH, given=lambda _: {"setting_3": "https://other.example/", "setting_6": "on"}
    ),
    _biller("biller-portal-key-make", "change_settings", POST),
    _biller("biller-portal-key-retire", "change_settings", BOTH, "key_id"),
    _biller("biller-audit", "change_settings", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-account-text", "view", GET, "customer_id"),
    _biller(
        "biller-account-text-enrol",
        "change_enrolment",
        BOTH,
        "customer_id",
        given=lambda _: {"number": "(202) 555-0143", "how": "phone", "agreed": "on"},
    ),
    _biller("biller-account-text-unenrol", "change_enrolment", BOTH, "customer_id"),
    _biller("biller-account-text-bill", "change_enrolment", BOTH, "customer_id"),
    _biller("biller-account-text-again", "change_enrolment", POST, "customer_id"),
    _biller("biller-account-text-keep", "change_enrolment", BOTH, "customer_id"),
    _biller(
        "biller-account-text-opt-out",
        "change_enrolment",
        BOTH,
        "customer_id",
        fixed={"which": "number"},
        given=lambda _: {"channel": "call"},
    ),
    _biller("biller-account-text-resume", "change_enrolment", BOTH, "customer_id", fixed={"which": "pending"}),
    _biller("biller-texts", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-text-reviews", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-text", "view", GET, "text_id"),
    _biller(
        "biller-text-close", "change_enrolment", BOTH, "text_id", given=lambda _: {"opt_out": "no", "note": "Called them."}
    ),
    _biller(
        "biller-text-settings",
        "change_settings",
        BOTH,
        given=lambda _: {"name": "New", "opens": "9", "closes": "20", "most_a_day": "3", "fee": "1.00"},
    ),
    _biller("biller-texts-stop", "change_settings", BOTH),
    _biller("biller-texts-allow", "change_settings", BOTH),
    _biller("biller-text-line-resume", "change_settings", BOTH, "line_id"),
    _biller("biller-text-line-dismiss", "change_settings", POST, "line_id"),
    _biller(
        "biller-wording",
        "change_settings",
        BOTH,
        fixed={"message": "paid", "language": "en"},
        given=lambda _: {"body": "{programme}: Paid {total}."},
    ),
    _biller("biller-wording-reset", "change_settings", BOTH, fixed={"message": "help", "language": "en"}),
    _biller("biller-datapump", "view", BOTH, given=lambda _: {"save": "Mine"}),
    _biller("biller-datapump-newer", "view", query=lambda _: "since=2026-01-01T00:00:00Z"),
    _biller("biller-datapump-strip", "view"),
    _biller("biller-datapump-test", "resend", POST, "endpoint_id"),
    _biller("biller-datapump-pause", "change_settings", POST, "endpoint_id"),
    _biller("biller-datapump-resume", "change_settings", POST, "endpoint_id"),
    _biller("biller-datapump-ask", "change_settings", POST, "endpoint_id"),
    _biller("biller-datapump-secret", "change_settings", POST, "endpoint_id"),
    _biller("biller-datapump-resend-all", "resend", BOTH, given=lambda _: {"key": str(uuid.uuid4())}),
    _biller("biller-datapump-resend-run", "view", GET, picks={"run_id": lambda at: at.town.resend.pk}),
    _biller("biller-datapump-resend-stop", "resend", POST, picks={"run_id": lambda at: at.town.resend.pk}),
    _biller("biller-datapump-record", "view", GET, "record_id"),
    _biller("biller-datapump-resend", "resend", BOTH, "record_id"),
    _biller("biller-datapump-skip", "resend", BOTH, "record_id"),
    _biller("biller-datapump-reveal", "reveal", POST, "record_id"),
    _biller(
        "biller-datapump-settings", "change_settings", BOTH, given=lambda _: {"part": "switches", "payments": "on"}
    ),
    _biller("biller-datapump-numbers", "change_settings"),
    _biller(
        "biller-datapump-endpoint",
        "change_settings",
        BOTH,
        fixed={"purpose": "payments"},
        given=lambda _: {
            "setting_11": "http://127.0.0.1:9/other", "setting_12": "user", "per_envelope": "1", "in_flight": "4",
            "timeout_seconds": "9", "attempts_allowed": "3",
        },
    ),
    _biller("customer-view-as", "view", POST, "customer_id user_id"),
]  # fmt: skip

_CLOUD_CODE = cloud_payments.code_of(CloudPayment(pk=CLOUD))

_CUSTOMER_PORTAL = [
    _open("customer-start"),
    _open(
        "customer-find",
        BOTH,
        fixed={"slug": "maple-falls"},
        given=lambda at: {"number": at.account.customer.number, "secret": at.account.customer.zip},
    ),
    _open(
        "customer-arrive",
        BOTH,
        fixed={"slug": "maple-falls"},
        given=lambda _: {"ticket": "no.such.ticket"},
        own_rules=True,
    ),
    _open("customer-signed-out", fixed={"slug": "maple-falls"}),
    _payer("customer-leave", fixed={"slug": "maple-falls"}, own_rules=True),
    _payer("customer-home"),
    _payer("customer-link"),
    _payer(
        "customer-link-account",
        BOTH,
        fixed={"slug": "maple-falls"},
        given=lambda at: {"number": at.account.customer.number, "secret": "99999"},
    ),
    _payer("customer-bills"),
    _payer("customer-payments"),
    _payer("customer-scheduled"),
    _payer("customer-methods"),
    _payer("customer-autopay"),
    _payer("customer-paperless"),
    _payer("customer-profile", BOTH, given=lambda _: {"name": "Somebody Else", "language": "es"}),
    _open("customer-view-as-end", POST),
    Route(
        "customer-unlink", Door.ACCOUNT, BOTH, "", _picks("link_id"), only=frozenset({Who.OLIVE, Who.NORA, Who.VIEWER})
    ),
    *_account("bill", GET, "invoice_id"),
    *_account("bill-pdf", GET, "invoice_id"),
    _own_account("payment", GET, "payment_id"),
    _own_account("payment-pdf", GET, "payment_id"),
    # Of the account's payments a guest sees those that were made by them.
    *(
        Route(
            name,
            Door.GUEST,
            GET,
            "",
            {"guest": PICKS["guest"], "payment_id": pick},
        )
        for name, pick in (
            ("guest-payment", lambda at: at.account.by_guest.pk),
            ("guest-payment-pdf", lambda at: at.account.returned.pk),
        )
    ),
    *_account(
        "pay",
        BOTH,
        given=lambda at: {"request_key": "c" * 32, "part": "full", "method": "card", "email": ""},
    ),
    *_account("pay-method", BOTH, fixed={"key": CARD_TO_ENTER}, given=lambda _: {"token": "tok_x"}),
    *_account("pay-review", BOTH, fixed={"key": READY}),
    _own_account("prepaid", BOTH, given=lambda _: {"threshold": "15"}),
    _own_account("schedule", BOTH, given=_schedule),
    _own_account("schedule-cancel", BOTH),
    _own_account("method-add", BOTH, fixed={"kind": "card"}, given=lambda _: {"token": "tok_x"}),
    _own_account("method-default", POST, "instrument_id"),
    _own_account("method-confirm", POST, "instrument_id"),
    _own_account("method-remove", BOTH, "instrument_id"),
    _own_account(
        "autopay-account", BOTH, query=lambda at: f"method={at.account.spare.pk}", given=lambda _: {"agreed": "on"}
    ),
    _own_account("autopay-end", BOTH),
    _own_account("paperless-account", BOTH, given=lambda _: {"wanted": "on"}),
    _own_account("text"),
    _own_account("text-number", BOTH, given=lambda _: {"number": "(202) 555-0188", "agreed": "on"}),
    _own_account("text-again", POST),
    _own_account("text-keep", POST),
    _own_account("text-end", BOTH),
    _open("text-link", BOTH, fixed={"code": links.code_of(PayLink(pk=LINK))}),
    # Whoever has the address may open it; what is behind it, tests/payments/test_cloud_payments.py walks.
    _open("cloud-pay", BOTH, fixed={"code": _CLOUD_CODE}, given=lambda _: {"method": "card", "email": ""}),
    *(
        _open(f"cloud-pay-{step}", BOTH, fixed={"code": _CLOUD_CODE, "key": READY}, own_rules=True)
        for step in ("method", "review")
    ),
    *(
        _open(name, fixed={"code": _CLOUD_CODE, "payment_id": NO_UUID}, own_rules=True)
        for name in ("cloud-payment", "cloud-payment-pdf")
    ),
    _open("customer-text-terms", fixed={"slug": "maple-falls"}),
]

_API = [
    _api("biller"),
    _api("customers"),
    _api("customer", pick=PICKS["customer_id"]),
    _api(
        "blocks",
        "GET HEAD PUT",
        scope="accounts",
        pick=PICKS["customer_id"],
        given=lambda _: {"card": True, "bank": False},
    ),
    _api(
        "customer-record",
        "POST",
        scope="accounts",
        given=lambda at: {"account": at.account.customer.number, "phone": "(202) 555-0144", "city": "Elsewhere"},
    ),
    _api("invoices"),
    _api("invoice", pick=PICKS["invoice_id"]),
    _api("invoice-pdf", pick=PICKS["invoice_id"]),
    _api("invoice-files", "GET HEAD POST", scope="files", kind=MULTIPART_CONTENT, given=_upload),
    _api("invoice-file", pick=PICKS["file_id"]),
    _api("invoice-file-errors", pick=lambda at: at.town.refused.pk),
    _api(
        "register-accounts",
        "POST",
        scope="registration",
        given=lambda at: {
            "user_name": "new",
            "email": "new@payers.example",
            "accounts": [{"account": at.account.customer.number}],
        },
    ),
    _api(
        "link-accounts",
        "POST",
        scope="registration",
        given=lambda at: {"user_name": "pat", "accounts": [{"account": at.account.customer.number}]},
    ),
    _api(
        "update-email",
        "POST",
        scope="registration",
        given=lambda _: {"user_name": "pat", "email": "new@payers.example"},
    ),
    _api(
        "update-password",
        "POST",
        scope="registration",
        given=lambda _: {"user_name": "pat", "password": "a longer way to say it"},
    ),
    _api(
        "update-paperless",
        "POST",
        scope="registration",
        given=lambda at: {"accounts": [{"account": at.account.customer.number}], "enrolled": True},
    ),
    _api("user-accounts", query=lambda at: f"account={at.account.customer.number}"),
    _api(
        "adjustments",
        "GET HEAD POST",
        scope="files",
        given=lambda at: {
            "adjustments": [
                {"account": at.account.customer.number, "amount": "-1.00", "reason": "Walked", "reference": "walk"}
            ]
        },
    ),
    _api("messages"),
    _api("message", pick=PICKS["delivery_id"]),
    _api(
        "payments",
        "GET HEAD POST",
        scope="payments",
        given=lambda at: {
            "account": at.account.customer.number,
            "amount": "5.00",
            "instrument": at.account.card.pk,
        },
    ),
    _api(
        "outside-payments",
        "POST",
        scope="payments",
        given=lambda at: {
            "account": at.account.customer.number,
            "amount": "5.00",
            "tender": "cash",
            "channel": "lockbox",
            "approval_code": "R-1",
        },
    ),
    _api("payment", pick=PICKS["payment_id"]),
    _api("payment-receipt", pick=PICKS["payment_id"]),
    _api("payment-deposit", "POST", scope="payments", pick=lambda at: at.account.held.pk),
    _api("payment-release", "POST", scope="payments", pick=lambda at: at.account.held.pk),
    _api(
        "payment-refund",
        "POST",
        scope="refunds",
        pick=PICKS["payment_id"],
        given=lambda _: {"amount": "1.00", "reason": "Paid twice"},
    ),
    _api(
        "scheduled-payments",
        "GET HEAD POST",
        scope="payments",
        given=lambda at: {
            "account": at.account.customer.number,
            "pay_on": "2026-12-05",
            "instrument": at.account.spare.pk,
            "how": "By phone.",
        },
    ),
    _api(
        "scheduled-payment",
        "GET HEAD PUT",
        scope="payments",
        pick=lambda at: at.account.scheduled.pk,
        given=lambda at: {"pay_on": "2026-12-05", "instrument": at.account.spare.pk, "how": "By phone."},
    ),
    _api("scheduled-payment-cancel", "POST", scope="payments", pick=lambda at: at.account.scheduled.pk),
    _api(
        "cloud-payments",
        "POST",
        scope="payments",
        given=lambda at: {"account": at.account.customer.number, "who": "csr", "user_name": "x", "balance_due": "5.00"},
    ),
    _api("cloud-payment", pick=PICKS["cloud_id"]),
    _api("fees"),
    _api("fee", pick=PICKS["fee_id"]),
    _api("fee-waive", "POST", scope="refunds", pick=PICKS["fee_id"], given=lambda _: {"reason": "A test."}),
    _api("routes"),
    _api("pay-types"),
    _api(
        "instruments",
        "GET HEAD POST",
        scope="payments",
        given=lambda at: {"account": at.account.customer.number, "token": "tok_x"},
    ),
    _api("instrument", "GET HEAD DELETE", scope="payments", pick=PICKS["instrument_id"]),
    _api("instrument-default", "POST", scope="payments", pick=PICKS["instrument_id"]),
    _api("instrument-confirm", "POST", scope="payments", pick=PICKS["instrument_id"]),
    _api(
        "autopay",
        "GET HEAD PUT DELETE",
        scope="enrolments",
        pick=PICKS["customer_id"],
        given=lambda at: {"instrument": at.account.spare.pk, "agreed": True, "how": "On the web form."},
    ),
    _api(
        "paperless", "GET HEAD PUT", scope="enrolments", pick=PICKS["customer_id"], given=lambda _: {"enrolled": True}
    ),
    _api(
        "collection",
        "GET HEAD PUT",
        scope="enrolments",
        pick=PICKS["customer_id"],
        given=lambda _: {"rule": "due", "pay_type": 10001},
    ),
    _api(
        "pay-by-text",
        "GET HEAD PUT DELETE",
        scope="enrolments",
        pick=PICKS["customer_id"],
        given=lambda _: {
            "number": "(202) 555-0199",
            "consent": {"how": "On the web form.", "text": "I agree to texts.", "version": "1"},
        },
    ),
    _api("bill-by-text", "POST", scope="enrolments", pick=PICKS["customer_id"]),
    _api("texts"),
    _api("text", pick=PICKS["text_id"]),
    _api("change-logs", pick=PICKS["customer_id"]),
    _api("datapump-records"),
    _api("datapump-record", pick=PICKS["record_id"]),
    _api("datapump-send-again", "POST", scope="accounts", pick=PICKS["record_id"]),
    _open("api-openapi", GET | {"OPTIONS"}, whoever=frozenset({Who.NOBODY, Who.SAM, Who.KEY})),
    _open("api-docs", GET | {"OPTIONS"}),
    _api("nowhere", "GET HEAD POST PUT PATCH DELETE", only=frozenset()),
]


def _allauth(names: str, door: Door, verbs: frozenset[str] = BOTH, **more: Any) -> list[Route]:
    return [Route(name, door, verbs, own_rules=True, **more) for name in names.split()]


# What belongs to nobody, or to whoever is signed in.
_OTHERS = [
    _open("health"),
    _open("processor-events", POST, picks={"guid": lambda at: at.town.route.guid}, own_rules=True),
    _open("method-fields", fixed={"ticket": "none"}, own_rules=True),
    _open("texts", POST, picks={"guid": lambda at: at.town.line.guid}, own_rules=True),
    _open("web-service", BOTH, fixed={"service": "CloudManagement"}, own_rules=True),
    _open(
        "web-service-form",
        POST,
        fixed={"service": "CloudManagement", "operation": "UpdateCustomerRecord"},
        own_rules=True,
        given=lambda at: {"AccountNumber": at.account.customer.number, "Phone": "(202) 555-0144"},
    ),
    _open("accent-css", fixed={"accent": "0b5394"}),
    _open("biller-logo", fixed={"slug": "maple-falls"}),
    _open("set_language", BOTH, given=lambda _: {"language": "es"}),
    _open("session-extend", POST),
    *_allauth(
        "account_login account_signup account_reset_password account_confirm_login_code account_inactive account_logout"
        " account_email_verification_sent account_reset_password_done account_reset_password_from_key_done"
        " mfa_authenticate",
        Door.OPEN,
    ),
    *_allauth("account_confirm_email", Door.OPEN, fixed={"key": "none"}),
    *_allauth("account_reset_password_from_key", Door.OPEN, fixed={"uidb36": "1", "key": "none"}),
    *_allauth(
        "account_reauthenticate account_email account_change_password account_set_password mfa_index mfa_reauthenticate"
        " mfa_activate_totp mfa_deactivate_totp mfa_generate_recovery_codes mfa_view_recovery_codes"
        " mfa_download_recovery_codes",
        Door.OWN,
    ),
    _open("demo"),
    *(_open(name, BOTH) for name in ("demo-processor", "demo-cis", "demo-receiver", "demo-phone")),
    _open("demo-portal"),
    *(_open(name, POST) for name in ("demo-processor-heal", "demo-processor-methods", "demo-cis-heal")),
    *(_open(name, POST) for name in ("demo-cis-prepaid", "demo-receiver-heal", "demo-portal-go")),
    *(_open(f"demo-phone-{name}", POST) for name in ("add", "condition", "network", "heal", "redeliver")),
]

MATRIX: Mapping[str, Route] = {route.name: route for route in (*_BILLER_PORTAL, *_CUSTOMER_PORTAL, *_API, *_OTHERS)}

# The admin is one door for all of its addresses; what is behind it belongs to the installation and not to a biller.
ADMIN = re.compile(r"admin:")

# Addresses without a name, by pattern.
UNNAMED = {
    r"admin/(?P<url>.*)$": "the admin's own 404",
    r"admin/[a-z]+/[a-z]+/<path:object_id>/": "the admin's old addresses, which lead to the new ones",
}


def routes() -> Iterator[tuple[str, str, URLPattern]]:
    """Give every route of the application: its name (empty where it has none), its pattern, and where it leads."""
    yield from _walk(get_resolver(), "", "")


def _walk(resolver: URLResolver, prefix: str, space: str) -> Iterator[tuple[str, str, URLPattern]]:
    for one in resolver.url_patterns:
        pattern = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _walk(one, pattern, f"{space}{one.namespace}:" if one.namespace else space)
        else:
            yield f"{space}{one.name}" if one.name else "", pattern, one


def may_see(route: Route, who: Who, where: Where) -> bool:
    """Say whether somebody who came through the door may see what stands there."""
    if who not in route.only or where in {Where.FOREIGN, Where.MISSING}:
        return False
    match route.door:
        case Door.ACCOUNT:
            return who in {Who.NORA} if where is Where.NEIGHBOUR else who in PAYERS - {Who.NORA}
        case Door.GUEST:
            return who is Who.GUEST and where is Where.ACCOUNT
    return True
