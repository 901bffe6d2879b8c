"""Inbound texts: from webhook to stored, heard and answered, beside a bare Django view that stores the same body.

Both are asked through the same middleware, without a socket. Ours checks the signature, stores the text under its
provider's id, and hears all of it afterwards: what is meant, what the account owes, the answer in the biller's words. The
bare view makes one row of the body.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Sequence

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from bench import measures
from bench.measures import Cost, measure

_LINE, _SECRET = "+15055550100", "bench-telephone-secret"
_PHONES = 2_000
WORDS = ("BAL", "HELP", "thanks", "what is this")
"""A quarter each: one that looks up what is due, one that is answered alike, one that asks for nothing, one not understood."""

_bare: dict[str, int] = {}


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """Store the body of a request, and nothing else."""
    from billing import tenancy
    from sms.models import Text

    tenancy.enter([_bare["biller"]])
    body = request.body.decode()
    Text.objects.create(
        biller_id=_bare["biller"], line_id=_bare["line"], direction="in", phone="+15055550123", kind="bare", body=body,
        key=str(uuid.uuid4()), state="received",
    )  # fmt: skip
    return HttpResponse(status=204)


urlpatterns = [path("bare", bare), path("", include("config.urls"))]


def run(*, scale: float = 1.0, rounds: int = 5) -> None:
    """Measure and print; ``scale`` makes every size smaller or larger."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory, override_settings

    from billing import tenancy
    from sms.operations import inbound

    count, rounds = int(4_000 * scale), rounds if scale >= 1 else 2
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller_id, line_id, guid = _make()
    _bare.update(biller=biller_id, line=line_id)
    posts = RequestFactory()
    with override_settings(ROOT_URLCONF="bench.texts", ALLOWED_HOSTS=["*"]):
        handler = WSGIHandler()

        def ask(address: str, bodies: Sequence[tuple[bytes, dict[str, str]]]) -> None:
            for body, headers in bodies:
                request = posts.post(address, body, content_type="application/json", headers=headers)
                answer = handler.get_response(request)
                if answer.status_code != 204:
                    raise RuntimeError(f"{address} answered {answer.status_code}")

        def ours(number: int, *, and_hear: bool) -> Cost:
            given = [_signed(f"M{number}-{n}", n, guid) for n in range(count)]

            def work() -> int:
                ask(f"/texts/{guid}", given)
                if and_hear:
                    with tenancy.acting_for(tenancy.EVERY_BILLER):
                        heard = inbound.hear_due(seconds=600)
                    if heard < count:
                        raise RuntimeError(f"{heard} of {count} texts were heard")
                return count

            return _measured(work)

        def theirs(number: int) -> Cost:
            given = [_signed(f"B{number}-{n}", n, guid) for n in range(count)]

            def work() -> int:
                ask("/bare", given)
                return count

            return _measured(work)

        answered: list[Cost] = []
        stored: list[Cost] = []
        bare_ones: list[Cost] = []
        for number in range(rounds):
            answered.append(ours(2 * number, and_hear=True))
            bare_ones.append(theirs(number))
            stored.append(ours(2 * number + 1, and_hear=False))
            with tenancy.acting_for(tenancy.EVERY_BILLER):
                inbound.hear_due(seconds=600)
    _print(count, answered, stored, bare_ones)


def _measured(work: Callable[[], int]) -> Cost:
    from billing import tenancy

    with tenancy.acting_for(tenancy.EVERY_BILLER):
        return measure(work)


def _make() -> tuple[int, int, uuid.UUID]:
    """Make a biller with its line and enrolled phones, each of which owes a bill."""
    from sms.models import Line, Programme, SmsMode
    from tests.factories import make_biller, make_customer, make_invoice

    biller = make_biller()
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0199")
    line = Line.objects.create(
        biller=biller, number=_LINE, driver="simulator", options={"base_url": "http://127.0.0.1:9"}, secret=_SECRET
    )
    now = datetime.datetime.now(datetime.UTC)
    modes = []
    for n in range(_PHONES):
        customer = make_customer(biller)
        make_invoice(customer, "84.10")
        modes.append(
            SmsMode(
                biller=biller, customer=customer, number=_phone(n), registered=True, consent_how="On paper.",
                consent_text="Texts.", consent_version="1", consent_by="Bench", consent_requestor=1, consented_at=now,
            )
        )  # fmt: skip
    SmsMode.objects.bulk_create(modes)
    measures.as_superuser("ANALYZE")
    return biller.pk, line.pk, line.guid


def _phone(n: int) -> str:
    return f"+1505{5550000 + n:07d}"


def _signed(name: str, n: int, guid: uuid.UUID) -> tuple[bytes, dict[str, str]]:
    """Make a webhook as the simulated network signs it."""
    from django.conf import settings

    body = json.dumps(
        {
            "event": "inbound", "id": name, "from": _phone(n % _PHONES), "to": _LINE, "body": WORDS[n % len(WORDS)],
            "media": 0, "at": datetime.datetime.now(datetime.UTC).isoformat(),
        }
    ).encode()  # fmt: skip
    moment = str(int(time.time()))
    signed = b".".join((moment.encode(), f"{settings.PUBLIC_URL}/texts/{guid}".encode(), body))
    signature = hmac.new(_SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return body, {"X-Telephone-Signature": f"t={moment},v1={signature}"}


def _print(count: int, answered: Sequence[Cost], stored: Sequence[Cost], plain: Sequence[Cost]) -> None:
    rows = [
        [
            name, f"{count:,}", f"{measures.middle(costs, lambda one: one.per_second):,.0f}",
            f"{measures.middle(costs, lambda one: one.items / one.wall):,.0f}",
            f"{measures.middle(costs, lambda one: one.wal / one.items):,.0f}",
            f"{measures.middle(costs, lambda one: one.statements / one.items):.2f}",
        ]
        for name, costs in (
            ("ours: stored, heard, answered", answered), ("ours: stored alone", stored), ("bare view: stored", plain),
        )
    ]  # fmt: skip
    measures.table(
        "Inbound texts, from webhook to answer",
        ("", "texts", "per CPU second", "per second", "WAL bytes each", "statements each"),
        rows,
        (
            measures.verdict("ours with the answer / a bare view", measures.ratio(answered, plain), 0.5),
            f"ours stored alone / a bare view: {measures.ratio(stored, plain):.2f}",
        ),
    )
