"""The front door: choosing a biller, and finding one bill by the account number and one secret."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from billing import tenancy
from billing.actors import Actor
from billing.customer_portal.access import open_for_guest
from billing.customer_portal.forms import AccountForm
from billing.errors import DomainError
from billing.models import Biller
from billing.operations import payers
from billing.throttles import TooManyTries


@never_cache
def start(request: HttpRequest) -> HttpResponseBase:
    """Lead everybody to where they belong: staff to search, payers home, guests to their biller."""
    user = request.user
    if user.is_authenticated:
        if user.linked_customer_ids:
            return redirect("customer-home")
        if user.roles or user.is_superuser:
            try:
                return redirect(reverse("biller-search"))
            except NoReverseMatch:
                return redirect("admin:index")
        return redirect("customer-link")
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.order_by("name"))
    if len(billers) == 1:
        return redirect("customer-find", slug=billers[0].slug)
    return render(request, "customer_portal/billers.html", {"title": _("Pay a bill"), "billers": billers})


@never_cache
def find(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Find a bill of one biller by account number and secret; whoever knows both may pay as a guest."""
    biller = biller_of(slug)
    request.biller = biller  # type: ignore[attr-defined]  # the frame draws its name and colour
    form = AccountForm(request.POST or None, biller=biller)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            actor = Actor.payer(None, address=request.META.get("REMOTE_ADDR"))
            tenancy.enter([biller.pk])
            try:
                customer = payers.find_account(
                    biller=biller,
                    number=form.cleaned_data["number"],
                    secret=form.cleaned_data["secret"],
                    actor=actor,
                )
            except TooManyTries as refused:
                form.add_error(None, str(refused))
                status = 429
            except DomainError as refused:
                form.add_error(None, str(refused))
            else:
                return redirect(open_for_guest(request.session, customer).url("pay", customer))
    context = {"title": _("Pay your bill"), "form": form, "biller": biller}
    return render(request, "customer_portal/find.html", context, status=status)


def biller_of(slug: str) -> Biller:
    """Give the biller whose address in the portal this is, for pages that everybody may see.

    :raises Http404: there is none.
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller = Biller.objects.filter(slug=slug).first()
    if biller is None:
        raise Http404("No such biller.")
    return biller
