"""Remote registration: the biller's own portal registers its users and keeps them up to date, by the names it knows (MSP-28).

``RegisterAccountsForUser``, ``LinkAccounts``, ``UpdateEmailAddress``, ``UpdatePassword``, ``UpdatePaperless`` and
``RetrieveUserAccounts`` are called as billers' systems have called them over SOAP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from billing import throttles
from billing.api.views import Account, ApiView, PageQuery, Shape, page_of
from billing.models import LinkKind, PayerLink, RemoteRegistration, Scope
from billing.operations import remote_registrations
from billing.operations.remote_registrations import MOST_ACCOUNTS, AccountsRefused, Registered
from payments.operations import enrolments

_TAG = ["remote registration"]


class UserName(serializers.CharField):
    """A user's name in the biller's own portal."""

    def __init__(self, **options: Any) -> None:
        words = "The user's name in the biller's own portal, in any case."
        super().__init__(**{"min_length": 1, "max_length": 100, "help_text": words, **options})


class AccountRef(Shape):
    """An account as the biller's system has it: its base and its sub."""

    account = serializers.CharField(min_length=1, max_length=40, help_text="The base of the account number.")
    sub = serializers.CharField(
        max_length=20, allow_blank=True, default="", help_text="Its sub; empty where “account” is the whole number."
    )


class Accounts(serializers.ListField):
    """The accounts of a call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"child": AccountRef(), "min_length": 1, "max_length": MOST_ACCOUNTS, **options})


class RegisterRequest(Shape):
    """Whom to register, and every account that is theirs."""

    user_name = UserName()
    email = serializers.EmailField(max_length=254)
    accounts = Accounts()


class LinkRequest(Shape):
    """Which accounts a registered user gets."""

    user_name = UserName()
    accounts = Accounts()


class EmailRequest(Shape):
    """Whose e-mail address: a registered user's, or that of accounts whose owner has not registered; one of the two."""

    user_name = UserName(required=False)
    accounts = Accounts(required=False)
    email = serializers.EmailField(max_length=254)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse both and neither."""
        if ("user_name" in attrs) == ("accounts" in attrs):
            raise ValidationError({"user_name": ["Name a user or accounts."]}, code="one_of_two")
        return attrs


class PasswordRequest(Shape):
    """A registered user's new password."""

    user_name = UserName()
    password = serializers.CharField(min_length=1, max_length=128, trim_whitespace=False, write_only=True)


class PaperlessRequest(Shape):
    """Which accounts get no paper, or get it again."""

    accounts = Accounts()
    enrolled = serializers.BooleanField()


class LinkedShape(Shape):
    """An account of a user after the call."""

    account = serializers.CharField(source="customer.number", help_text="As the invoice file writes it.")
    kind = serializers.ChoiceField(choices=LinkKind.choices)
    new = serializers.BooleanField(help_text="False: it was linked before.")


class RegisteredShape(Shape):
    """A user after the call."""

    user_name = serializers.CharField()
    email = serializers.CharField()
    accounts = LinkedShape(many=True)


class EmailShape(Shape):
    """The e-mail address after the call."""

    email = serializers.CharField()


class DoneShape(Shape):
    """That it was done."""

    done = serializers.BooleanField()


class PaperlessOfAccount(Shape):
    """Paperless billing of one account after the call."""

    account = serializers.CharField()
    enrolled = serializers.BooleanField()
    changed = serializers.BooleanField(help_text="False: it was so before, and nobody was told.")


class PaperlessOfAccounts(Shape):
    """Paperless billing after the call."""

    accounts = PaperlessOfAccount(many=True)


class UserAccountQuery(PageQuery):
    """Whose accounts, or whose users; what is given must all be true of them."""

    user_name = UserName(required=False)
    email = serializers.EmailField(required=False, max_length=254)
    account = Account(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse to list everybody."""
        if not {"user_name", "email", "account"} & set(attrs):
            raise ValidationError({"user_name": ["Name a user, an e-mail address or an account."]}, code="required")
        return attrs


class UserAccount(Shape):
    """One user of one account."""

    user_name = serializers.CharField(allow_null=True, help_text="Null where the user registered here by themselves.")
    email = serializers.CharField(source="user.email")
    account = serializers.CharField(source="customer.number")
    kind = serializers.ChoiceField(choices=LinkKind.choices)
    since = serializers.DateTimeField(source="created_at")


class RegistrationView(ApiView):
    """What every call of remote registration begins with: it is counted."""

    scope = Scope.REGISTRATION

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let a machine in, and count its call.

        :raises throttles.TooManyTries: there were too many.
        """
        super().initial(request, *args, **kwargs)
        throttles.count(tries=[(remote_registrations.CALLS, str(self.machine.token.pk))], now=timezone.now())


class RegisterAccountsForUserView(RegistrationView):
    """Registering a user."""

    @extend_schema(
        operation_id="RegisterAccountsForUser", request=RegisterRequest, responses=RegisteredShape, tags=_TAG
    )
    def post(self, request: Request) -> Response:
        """Register a user of your portal with all of their accounts; the same call again changes nothing."""
        given = self.body(RegisterRequest, request)
        with _faults_of_accounts():
            made = remote_registrations.register_accounts(
                biller=self.biller,
                user_name=given["user_name"],
                email=given["email"],
                numbers=_numbers(given),
                actor=self.actor,
            )
        return self._answer(made)

    def _answer(self, made: Registered) -> Response:
        return self.show(RegisteredShape, made)


class LinkAccountsView(RegisterAccountsForUserView):
    """Linking accounts."""

    @extend_schema(operation_id="LinkAccounts", request=LinkRequest, responses=RegisteredShape, tags=_TAG)
    def post(self, request: Request) -> Response:
        """Link further accounts to a registered user; the same call again changes nothing."""
        given = self.body(LinkRequest, request)
        with _faults_of_accounts():
            made = remote_registrations.link_accounts(
                biller=self.biller, user_name=given["user_name"], numbers=_numbers(given), actor=self.actor
            )
        return self._answer(made)


class UpdateEmailAddressView(RegistrationView):
    """Changing an e-mail address."""

    @extend_schema(operation_id="UpdateEmailAddress", request=EmailRequest, responses=EmailShape, tags=_TAG)
    def post(self, request: Request) -> Response:
        """Change a user's e-mail address, or the one that stands for the owner of accounts where nobody has registered."""
        given = self.body(EmailRequest, request)
        if "user_name" in given:
            email = remote_registrations.update_email(
                biller=self.biller, user_name=given["user_name"], email=given["email"], actor=self.actor
            )
        else:
            with _faults_of_accounts():
                email = remote_registrations.update_email_of_accounts(
                    biller=self.biller, numbers=_numbers(given), email=given["email"], actor=self.actor
                )
        return self.show(EmailShape, {"email": email})


class UpdatePasswordView(RegistrationView):
    """Changing a password."""

    @extend_schema(operation_id="UpdatePassword", request=PasswordRequest, responses=DoneShape, tags=_TAG)
    def post(self, request: Request) -> Response:
        """Set a user's password; whoever is signed in as them is signed out. It is kept as a hash alone."""
        given = self.body(PasswordRequest, request)
        remote_registrations.update_password(
            biller=self.biller, user_name=given["user_name"], password=given["password"], actor=self.actor
        )
        return self.show(DoneShape, {"done": True})


class UpdatePaperlessView(RegistrationView):
    """Paperless billing of accounts."""

    @extend_schema(operation_id="UpdatePaperless", request=PaperlessRequest, responses=PaperlessOfAccounts, tags=_TAG)
    def post(self, request: Request) -> Response:
        """Turn paperless billing of accounts on or off, all of them or none."""
        given = self.body(PaperlessRequest, request)
        with _faults_of_accounts():
            customers = remote_registrations.customers_of(self.biller, _numbers(given))
            changed = enrolments.set_paperless_together(
                customers=customers, enrolled=given["enrolled"], actor=self.actor
            )
        rows = [
            {"account": one.number, "enrolled": given["enrolled"], "changed": was}
            for one, was in zip(customers, changed, strict=True)
        ]
        return self.show(PaperlessOfAccounts, {"accounts": rows})


class RetrieveUserAccountsView(RegistrationView):
    """The accounts of a user."""

    @extend_schema(
        operation_id="RetrieveUserAccounts",
        parameters=[UserAccountQuery],
        responses=page_of(UserAccount),
        tags=_TAG,
    )
    def get(self, request: Request) -> Response:
        """Give the accounts of a user, or the users of an account, as they are linked at this biller."""
        chosen = self.query(UserAccountQuery)
        names = RemoteRegistration.objects.filter(biller=self.biller, user=OuterRef("user_id"))
        rows: QuerySet[PayerLink] = (
            PayerLink.objects.filter(biller=self.biller)
            .select_related("user", "customer")
            .annotate(user_name=Subquery(names.values("user_name")[:1]))
        )
        if "user_name" in chosen:
            name = chosen["user_name"].strip().lower()
            held = RemoteRegistration.objects.filter(biller=self.biller, search_name=name)
            rows = rows.filter(user_id__in=held.values("user_id"))
        if "email" in chosen:
            rows = rows.filter(user__email=chosen["email"].strip().lower())
        return self.page(self.of_account(rows, chosen.get("account")), UserAccount, order=("pk",), chosen=chosen)


def _numbers(given: dict[str, Any]) -> list[str]:
    return ["-".join(filter(None, [one["account"], one["sub"]])) for one in given["accounts"]]


@contextmanager
def _faults_of_accounts() -> Iterator[None]:
    """Say what is wrong with each account, in the shape in which every fault of a body is said.

    :raises ValidationError: something is.
    """
    try:
        yield
    except AccountsRefused as refused:
        faults = {str(place): [ErrorDetail(words, code)] for place, code, words in refused.faults}
        raise ValidationError({"accounts": faults}) from None
