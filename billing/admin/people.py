"""People: who may sign in, for which billers, and whose bills payers see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db import models, transaction
from django.http import HttpRequest

from billing.admin.pages import Audited, Operated, operator
from billing.models import Membership, PayerLink, User
from billing.operations import payers, people

if TYPE_CHECKING:
    _NewUser = AdminUserCreationForm[User]
    _ChangedUser = UserChangeForm[User]
    _DjangoUserAdmin = DjangoUserAdmin[User]
else:
    _NewUser, _ChangedUser, _DjangoUserAdmin = AdminUserCreationForm, UserChangeForm, DjangoUserAdmin


class NewUserForm(_NewUser):
    """Somebody new: an address, a name, a password."""

    class Meta:
        model = User
        fields = ("email", "name")
        field_classes: dict[str, Any] = {}

    def clean_email(self) -> str:
        """Keep addresses in small letters, as signing in reads them."""
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(email__iexact=email).exists():
            raise forms.ValidationError("Somebody has this address already.")
        return email


class ChangedUserForm(_ChangedUser):
    """Somebody who is there; the address is changed by themselves, who must show that it is theirs."""

    class Meta:
        model = User
        fields = ("name", "language", "is_active", "is_staff", "is_superuser")
        field_classes: dict[str, Any] = {}


@admin.register(User)
class UserAdmin(Audited, _DjangoUserAdmin):
    """Everybody who may sign in."""

    form, add_form = ChangedUserForm, NewUserForm
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_superuser", "is_staff", "is_active")
    search_fields = ("email",)
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "name", "language", "password")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("created_at", "last_login")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)
    readonly_fields = ("email", "created_at", "last_login")

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Show what is not changed here; nobody takes their own rights away."""
        if obj is None:
            return ()
        own = ("is_active", "is_staff", "is_superuser") if obj == request.user else ()
        return (*self.readonly_fields, *own)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: what they did keeps their name; who is not active cannot sign in."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm[Any], change: bool) -> None:
        """Keep the person, with an address that they must show to be theirs."""
        super().save_model(request, obj, form, change)
        if not change:
            EmailAddress.objects.create(user=obj, email=obj.email, primary=True, verified=False)

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        """Keep a new password in the audit trail too, which is no field of the form."""
        if request.resolver_match is not None and request.resolver_match.url_name == "auth_user_password_change":
            with transaction.atomic():
                self.record(request, obj, "configuration.changed", fields="password")
        return super().log_change(request, obj, message)


@admin.register(Membership)
class MembershipAdmin(Operated):
    """Who has which role at which biller."""

    list_display = ("user", "biller", "role")
    list_select_related = ("user", "biller")
    list_filter = ("role", "biller")
    raw_id_fields = ("user",)
    fields = ("user", "biller", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a role that of its person at its biller."""
        return ("user", "biller") if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: forms.ModelForm[Any], change: bool) -> None:
        """Give the role."""
        if change:
            if form.changed_data:
                there = Membership.objects.get(pk=obj.pk)
                people.change_role(membership=there, role=obj.role, actor=operator(request))
            return
        made = people.invite(
            biller=obj.biller, email=obj.user.email, name=obj.user.name, role=obj.role, actor=operator(request)
        )
        obj.pk = made.membership.pk

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """Take the person off the biller's people."""
        people.remove(membership=obj, actor=operator(request))


@admin.register(PayerLink)
class PayerLinkAdmin(Operated):
    """Whose bills payers see and pay."""

    list_display = ("user", "customer", "biller", "kind", "created_at")
    list_select_related = ("user", "customer", "biller")
    list_filter = ("biller",)
    search_fields = ("user", "customer")
    raw_id_fields = ("user", "customer")
    fields = ("user", "customer")

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: a link is made or removed."""
        return False

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Show everything of a link that is there."""
        return ("user", "customer", "biller", "kind", "created_at") if obj else ("user", "customer")

    def save_model(self, request: HttpRequest, obj: PayerLink, form: forms.ModelForm[Any], change: bool) -> None:
        """Link the payer."""
        obj.pk = payers.link(user=obj.user, customer=obj.customer, actor=operator(request)).pk

    def delete_model(self, request: HttpRequest, obj: PayerLink) -> None:
        """Unlink the payer."""
        payers.unlink(link=obj, actor=operator(request))
