"""The biller's own people: who they are, what they may do, how they sign in; invited, changed, taken off."""

from __future__ import annotations

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.mail import send_mail
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse

from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal, settings_tabs
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import Biller, Membership, Role, User
from billing.operations import people
from billing.permissions import RIGHTS, Permission

# What each right lets a person do, as the table on the page says it.
RIGHTS_IN_WORDS = (
    (Permission.VIEW, "See accounts, bills, payments, history"),
    (Permission.TAKE_PAYMENT, "Take payments with a method on file"),
    (Permission.ENTER_CARD, "Enter a new card or bank account"),
    (Permission.CHANGE_ENROLMENT, "Change AutoPay and paperless, send messages again"),
    (Permission.CHANGE_PAYERS, "Link and unlink payers"),
    (Permission.RESEND, "Send updates to the biller’s system again"),
    (Permission.LOAD_FILE, "Load invoice files"),
    (Permission.RUN, "Start and stop collection runs"),
    (Permission.CLOSE_CASE, "Decide cases"),
    (Permission.GIVE_BACK, "Give payments back, take fees back"),
    (Permission.REVEAL, "See masked numbers in full"),
    (Permission.CHANGE_SETTINGS, "Change settings, people and API keys"),
)


class InviteForm(forms.Form):
    """Whom to invite."""

    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    name = WordsField(label="Name", max_length=120, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.CSR)


@biller_page(Permission.CHANGE_SETTINGS)
def everybody(request: BillerRequest) -> HttpResponse:
    """Draw the biller's people and what the roles may do; a POST invites somebody."""
    form = InviteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            invited = people.invite(biller=request.biller, actor=request.actor, **form.cleaned_data)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            send_invitation(invited.membership.user, request.biller)
            messages.success(
                request, f"Invited {invited.membership.user.email}. The link in the message works for three days."
            )
            return redirect("biller-people")
    members = list(
        Membership.objects.visible_to(request.user)
        .filter(biller=request.biller)
        .select_related("user")
        .order_by("user__name", "user__email", "pk")
    )
    guarded = set(
        Authenticator.objects.filter(user__in=[one.user_id for one in members]).values_list("user_id", flat=True)
    )
    context = {
        "title": "People",
        "section": "settings",
        "tabs": settings_tabs("biller-people"),
        "form": form,
        "members": [
            {"member": one, "guarded": one.user_id in guarded, "self": one.user_id == request.user.pk}
            for one in members
        ],
        "roles": Role.choices,
        "rights": [(words, [right in RIGHTS[role] for role in Role.values]) for right, words in RIGHTS_IN_WORDS],
    }
    return render(request, "biller_portal/settings/people.html", context, status=422 if form.is_bound else 200)


class RoleForm(forms.Form):
    """Which role."""

    role = forms.ChoiceField(label="Role", choices=Role.choices, widget=forms.RadioSelect)


@biller_page(Permission.CHANGE_SETTINGS)
def change_role(request: BillerRequest, membership_id: int) -> HttpResponse:
    """Draw a person and change their role."""
    member = _member_or_404(request, membership_id)
    form = RoleForm(request.POST or None, initial={"role": member.role})
    if request.method == "POST" and form.is_valid():
        try:
            people.change_role(membership=member, role=form.cleaned_data["role"], actor=request.actor)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, f"{member.user.email} is {Role(form.cleaned_data['role']).label} from now on.")
            return redirect("biller-people")
    context = {
        "title": f"Role of {member.user.get_full_name()}",
        "section": "settings",
        "question": member.user.email,
        "form": form,
        "button": "Change the role",
        "back_url": reverse("biller-people"),
    }
    return render(request, "biller_portal/confirm.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.CHANGE_SETTINGS)
def remove(request: BillerRequest, membership_id: int) -> HttpResponse:
    """Ask, then take a person off."""
    member = _member_or_404(request, membership_id)
    if request.method == "POST":
        try:
            people.remove(membership=member, actor=request.actor)
            messages.success(request, f"{member.user.email} no longer opens this portal.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-people")
    context = {
        "title": f"Take {member.user.get_full_name()} off?",
        "section": "settings",
        "question": "They can no longer open this portal. What they did stays in the history under their name.",
        "rows": [("E-mail address", member.user.email, ""), ("Role", member.get_role_display(), "")],
        "button": "Take off",
        "danger": True,
        "back_url": reverse("biller-people"),
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.CHANGE_SETTINGS)
def invite_again(request: BillerRequest, membership_id: int) -> HttpResponse:
    """Send the invitation once more to somebody who has not set a password."""
    member = _member_or_404(request, membership_id)
    if request.method == "POST" and not member.user.has_usable_password():
        send_invitation(member.user, request.biller)
        messages.success(request, f"The invitation went to {member.user.email} again.")
    return redirect("biller-people")


def send_invitation(user: User, biller: Biller) -> None:
    """Send the mail with the way in: a link to set a password, or to sign in where there is one."""
    if user.has_usable_password():
        path = reverse("biller-search")
    else:
        path = reverse(
            "account_reset_password_from_key",
            kwargs={"uidb36": user_pk_to_url_str(user), "key": default_token_generator.make_token(user)},
        )
    words = render_to_string(
        "biller_portal/settings/invitation.txt",
        {"biller": biller, "user": user, "new": not user.has_usable_password(), "url": settings.PUBLIC_URL + path},
    )
    send_mail(f"{biller.name}: your access to the biller portal", words, None, [user.email])


def _member_or_404(request: BillerRequest, pk: int) -> Membership:
    mine = Membership.objects.visible_to(request.user).filter(biller=request.biller).select_related("user")
    return get_object_or_404(mine, pk=pk)
