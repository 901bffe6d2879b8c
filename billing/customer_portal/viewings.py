"""Looking at the customer portal through a payer's eyes: a biller's person begins and ends it here."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from billing.biller_portal.access import BillerRequest, biller_page
from billing.customer_portal.access import VIEWING
from billing.errors import DomainError
from billing.models import Customer, User
from billing.operations import payers
from billing.permissions import Permission


@require_POST
@biller_page(Permission.VIEW)
def begin(request: BillerRequest, customer_id: int, user_id: int) -> HttpResponseBase:
    """Begin to look at an account as one of its payers; this session then changes nothing in the customer portal."""
    customer = Customer.objects.visible_to(request.user).filter(pk=customer_id, biller=request.biller).first()
    payer = User.objects.filter(pk=user_id, is_active=True).first()
    if customer is None or payer is None:
        raise Http404("No such payer of an account.")
    try:
        payers.view_as(customer=customer, user=payer, actor=request.actor)
    except DomainError:
        raise Http404("Not a payer of this account.") from None
    request.session[VIEWING] = {"user": payer.pk, "biller": customer.biller_id, "customer": customer.pk}
    return redirect("customer-home")


@require_POST
def end(request: HttpRequest) -> HttpResponseBase:
    """Stop looking, and go back to the account in the biller portal."""
    viewing = request.session.pop(VIEWING, None)
    if viewing is None or not request.user.is_authenticated:
        return redirect("customer-start")
    messages.info(request, _("You are yourself again."))
    try:
        return redirect(reverse("biller-account", kwargs={"customer_id": viewing["customer"]}))
    except NoReverseMatch:
        return redirect("customer-start")
