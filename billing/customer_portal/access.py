"""Who may open a page of the customer portal, and whose accounts it shows.

A payer comes in by one of three doors: signed in, to every account that is linked to them; as a guest, to the one
account whose number and secret they gave; or by the address of a CloudPay payment, to that payment of its account alone.
A biller's person may look through a payer's eyes at the accounts of that biller; then nothing can be changed. Pages get
the accounts from here and nothing else.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.backends.base import SessionBase
from django.db import models
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.views import View

from billing import formats, tenancy
from billing.actors import Actor
from billing.models import Biller, Customer, User
from billing.models.tenants import TenantQuerySet
from billing.permissions import Permission, may
from billing.throttles import TooManyTries
from payments.models import CloudPayment
from payments.operations import cloud_payments

P = ParamSpec("P")
Row = TypeVar("Row", bound=models.Model)

# Seconds for which a guest may come back to the bill that they found.
GUEST_SECONDS = 60 * 60
MOST_GUEST_KEYS = 5
_GUESTS = "guests"
VIEWING = "viewing_as"


@dataclass(frozen=True, slots=True)
class Door:
    """How a payer came in: ``guest`` is the key of a guest's one account, empty for who is signed in.

    ``masked`` says that the account's number is hidden: who came by a link in a text never said it. ``cloud`` is the payment
    that the biller's own system opened for whoever has its address, a CSR of the biller or a payer.
    """

    guest: str = ""
    masked: bool = False
    cloud: CloudPayment | None = None

    @property
    def name(self) -> str:
        """Begin the names of the addresses behind this door: ``guest``, ``cloud`` or ``customer``."""
        if self.cloud is not None:
            return "cloud"
        return "guest" if self.guest else "customer"

    @property
    def stranger(self) -> bool:
        """Whether whoever came in may know the account by its number alone, and nothing that is on file."""
        return bool(self.guest) or (self.cloud is not None and not self.cloud.by_csr)

    @property
    def start(self) -> str:
        """The first page of a CloudPay payment; empty behind the other doors."""
        return "" if self.cloud is None else reverse("cloud-pay", kwargs={"code": cloud_payments.code_of(self.cloud)})

    @property
    def way_back(self) -> str:
        """Where the biller's system wants whoever pays a CloudPay payment back; empty where it said nothing."""
        return "" if self.cloud is None else cloud_payments.way_back(self.cloud)

    def number(self, customer: Customer) -> str:
        """Write an account's number for whoever came in here."""
        return formats.masked(customer.shown_number) if self.masked else customer.shown_number

    def url(self, page: str, customer: Customer, **parts: Any) -> str:
        """Give the address of an account's page behind the same door."""
        whose: dict[str, Any] = {"guest": self.guest} if self.guest else {"customer_id": customer.pk}
        if self.cloud is not None:
            whose = {"code": cloud_payments.code_of(self.cloud)}
        return reverse(f"{self.name}-{page}", kwargs={**whose, **parts})


class PayerRequest(HttpRequest):
    """A payer's request: ``payer`` is through whose eyes it is seen, nobody for a guest.

    ``biller`` is set where the accounts have one alone.
    """

    payer: User | None
    actor: Actor
    biller: Biller | None
    customer_ids: list[int]
    door: Door
    viewing_as: str

    def theirs(self, rows: TenantQuerySet[Row]) -> TenantQuerySet[Row]:
        """Narrow rows to the accounts of this request."""
        raise NotImplementedError


class AccountRequest(PayerRequest):
    """A payer's request about one of their accounts."""

    biller: Biller
    customer: Customer
    account_number: str


def payer_page(
    view: Callable[Concatenate[PayerRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Let in a signed-in payer, or a biller's person who looks through a payer's eyes; others get the sign-in page."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return _private(admit(request) or view(cast("PayerRequest", request), *args, **kwargs))

    guarded.audience = "payer"  # type: ignore[attr-defined]  # read by the walk of every route
    return guarded


def account_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let in who may see one account: its payer by ``customer_id``, a guest by the key in ``guest``, or by a CloudPay ``code``.

    The view gets the account as ``request.customer``, named ``request.account_number``, and none of the three; another's
    account is 404.
    """

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: Any, **kwargs: Any) -> HttpResponseBase:
        guest, customer_id, code = (kwargs.pop(name, None) for name in ("guest", "customer_id", "code"))
        if code is not None:
            refusal = admit_by_code(request, code)
        else:
            refusal = admit_guest(request, guest) if guest is not None else admit(request)
        if refusal is not None:
            return _private(refusal)
        page = cast("AccountRequest", request)
        wanted = customer_id if customer_id is not None else page.customer_ids[0]
        found = page.theirs(Customer.objects.select_related("biller")).filter(pk=wanted).first()
        if found is None:
            raise Http404("Not an account of this payer.")
        page.customer, page.biller = found, found.biller
        page.account_number = page.door.number(found)
        timezone.activate(found.biller.zone)
        return _private(view(page, *args, **kwargs))

    guarded.audience = "account"  # type: ignore[attr-defined]  # read by the walk of every route
    return guarded


class PayerPage(View):
    """The rule of :func:`payer_page` for pages that are classes; put this before the page's own base."""

    audience = "payer"
    request: PayerRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Admit the payer, then draw the page."""
        return _private(admit(request) or super().dispatch(request, *args, **kwargs))


def admit(request: HttpRequest) -> HttpResponseBase | None:
    """Identify a signed-in payer and put their billers in scope; an answer is given where the page may not be shown."""
    user = request.user
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if VIEWING in request.session:
        return _admit_viewer(request, user)
    _enter(
        request, payer=user, customer_ids=user.linked_customer_ids, actor=Actor.payer(user, address=_address(request))
    )
    _speak(request, user.language)
    return None


def _admit_viewer(request: HttpRequest, user: User) -> HttpResponseBase | None:
    viewing = request.session[VIEWING]
    payer = User.objects.filter(pk=viewing["user"], is_active=True).first()
    biller_id = viewing["biller"]
    if payer is None or not may(user, Permission.VIEW, biller_id):
        del request.session[VIEWING]
        raise Http404("Nobody to look through.")
    # Of the payer's accounts only those at the biller whose person looks.
    with tenancy.acting_for([biller_id]):
        ids = Customer.objects.filter(biller_id=biller_id, pk__in=payer.linked_customer_ids).values_list(
            "pk", flat=True
        )
        customer_ids = list(ids)
    _enter(
        request, payer=payer, customer_ids=customer_ids, actor=Actor.csr(user, _address(request)), billers=[biller_id]
    )
    page = cast("PayerRequest", request)
    page.viewing_as = payer.get_full_name()
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        return render(request, "customer_portal/only_viewing.html", status=403)
    return None


def admit_guest(request: HttpRequest, guest: str) -> HttpResponseBase | None:
    """Identify a guest by the key of the account they found; gives an answer only where its time is over."""
    held = request.session.get(_GUESTS, {}).get(guest)
    if held is None:
        # Also for somebody who was given the address: the key is worth nothing in another browser.
        raise Http404("No such guest.")
    if held["until"] < time.time():
        messages.info(request, _("Your time on this page is over. Find your bill again."))
        return redirect("customer-start")
    actor = Actor.payer(None, address=_address(request))
    _enter(request, payer=None, customer_ids=[held["customer"]], actor=actor, billers=[held["biller"]])
    cast("PayerRequest", request).door = Door(guest, held.get("masked", False))
    return None


def admit_by_code(request: HttpRequest, code: str) -> HttpResponseBase | None:
    """Identify whoever has the address of a CloudPay payment, signed in or not; an answer where they tried too often."""
    try:
        cloud = cloud_payments.find(code=code, address=_address(request), now=timezone.now())
    except cloud_payments.NoSuchLink:
        raise Http404("No such payment.") from None
    except TooManyTries as refused:
        told = {"title": _("Too many tries"), "refused": str(refused)}
        return render(request, "customer_portal/cloud_over.html", told, status=429)
    actor = cloud_payments.actor_of(cloud, _address(request))
    _enter(request, payer=None, customer_ids=[cloud.customer_id], actor=actor, billers=[cloud.biller_id])
    cast("PayerRequest", request).door = Door(cloud=cloud)
    return None


def open_for_guest(session: SessionBase, customer: Customer, *, masked: bool = False) -> Door:
    """Note for this browser that it knows an account, and give the door to it.

    ``masked`` hides the account's number from whoever did not say it. The door's key holds no number and opens nothing in
    another browser.
    """
    now = time.time()
    kept = {key: held for key, held in session.get(_GUESTS, {}).items() if held["until"] >= now}
    while len(kept) >= MOST_GUEST_KEYS:
        del kept[min(kept, key=lambda key: float(kept[key]["until"]))]
    key = secrets.token_urlsafe(18)
    kept[key] = {"customer": customer.pk, "biller": customer.biller_id, "until": now + GUEST_SECONDS, "masked": masked}
    session[_GUESTS] = kept
    return Door(key, masked)


def refuse_viewer(request: PayerRequest) -> HttpResponseBase | None:
    """Answer a page that changes something although it is only asked for, where a biller's person is looking."""
    return render(request, "customer_portal/only_viewing.html", status=403) if request.viewing_as else None


def _enter(
    request: HttpRequest,
    *,
    payer: User | None,
    customer_ids: list[int],
    actor: Actor,
    billers: list[int] | None = None,
) -> None:
    page = cast("PayerRequest", request)
    page.payer, page.customer_ids, page.actor = payer, customer_ids, actor
    page.door, page.viewing_as = Door(), ""
    page.theirs = functools.partial(_theirs, page)  # type: ignore[method-assign]  # the class only types the request
    scope = billers if billers is not None else (payer.biller_ids if payer else [])
    tenancy.enter(scope)
    its_billers = list(Biller.objects.filter(customers__in=customer_ids).distinct()[:2])
    page.biller = its_billers[0] if len(its_billers) == 1 else None
    if its_billers:
        timezone.activate(its_billers[0].zone)


def _private(answer: HttpResponseBase) -> HttpResponseBase:
    """Keep a payer's page out of every cache, the browser's too: others may use it after them."""
    add_never_cache_headers(answer)
    return answer


def _theirs(request: PayerRequest, rows: TenantQuerySet[Row]) -> TenantQuerySet[Row]:
    # visible_to alone would show a biller's person, who may be a payer as well, every account of the biller.
    if request.payer is not None:
        rows = rows.visible_to(request.payer)
    path = rows.path_to_customer
    if path is None:
        raise TypeError(f"{rows.model.__name__} belongs to no customer.")
    return rows.filter(**{f"{path}__in": request.customer_ids})


def _speak(request: HttpRequest, language: str) -> None:
    """Speak the payer's own language, unless another was chosen in this browser."""
    if settings.LANGUAGE_COOKIE_NAME not in request.COOKIES and translation.get_language() != language:
        translation.activate(language)
        request.LANGUAGE_CODE = translation.get_language()


def _address(request: HttpRequest) -> str | None:
    return request.META.get("REMOTE_ADDR")
