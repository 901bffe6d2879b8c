"""The users of an account: payers who see and pay it in the customer portal, linked and unlinked by staff."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.biller_portal.links import url_if_any
from billing.errors import DomainError
from billing.models import PayerLink, User
from billing.operations import payers
from billing.permissions import Permission


class LinkForm(forms.Form):
    """Which payer to link."""

    email = forms.EmailField(
        label="E-mail address",
        help_text="Of somebody who has registered in the customer portal.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    caller = forms.BooleanField(
        label="I know that this person may see and pay the account",
        error_messages={"required": "Say that you know who this is. A linked payer sees every bill of the account."},
    )


@biller_page(Permission.VIEW)
def users(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw the linked payers; a POST links one more."""
    if request.method == "POST" and not request.may(Permission.CHANGE_PAYERS):
        raise PermissionDenied("Your role at this biller does not allow this.")
    customer = customer_or_404(request, customer_id)
    form = LinkForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        user = User.objects.filter(email=form.cleaned_data["email"].lower(), is_active=True).first()
        try:
            if user is None:
                raise DomainError(
                    "Nobody has registered with this address. Ask the payer to register first.", field="email"
                )
            payers.link(user=user, customer=customer, actor=request.actor)
        except DomainError as refused:
            form.add_error(refused.field if refused.field in form.fields else "email", str(refused))
        else:
            messages.success(request, f"{user.email} sees and pays this account from now on.")
            return redirect("biller-account-users", customer.pk)
    links = list(
        PayerLink.objects.filter(customer=customer).select_related("user").order_by("-kind", "created_at", "pk")
    )
    context = frame(
        request,
        customer,
        "biller-account-users",
        form=form,
        links=[{"link": link, "view_url": url_if_any("customer-view-as", customer.pk, link.user_id)} for link in links],
    )
    return render(request, "biller_portal/accounts/users.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.CHANGE_PAYERS)
def unlink(request: BillerRequest, customer_id: int, link_id: int) -> HttpResponse:
    """Ask, then take the account off a payer."""
    customer = customer_or_404(request, customer_id)
    link = get_object_or_404(PayerLink.objects.filter(customer=customer).select_related("user"), pk=link_id)
    back = reverse("biller-account-users", args=[customer.pk])
    if request.method == "POST":
        try:
            payers.unlink(link=link, actor=request.actor)
            messages.success(request, f"{link.user.email} no longer sees this account.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect(back)
    context = {
        "title": f"Unlink {link.user.email}?",
        "section": "search",
        "question": "The payer will no longer see or pay this account. AutoPay and paperless billing stay as they are.",
        "rows": [
            ("Account", str(customer), ""),
            ("Payer", f"{link.user.get_full_name()}, {link.user.email}", ""),
            ("Linked as", link.get_kind_display(), ""),
            ("Since", formats.day(link.created_at), ""),
        ],
        "button": "Unlink",
        "danger": True,
        "back_url": back,
    }
    return render(request, "biller_portal/confirm.html", context)
