"""People who sign in: biller staff with roles, and payers linked to customers."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from django.contrib.auth.models import (
    AbstractBaseUser,
    BaseUserManager,
    PermissionsMixin,
)
from django.db import models
from django.db.models.functions import Lower, Now

from billing import tenancy
from billing.models.billers import Biller
from billing.models.tenants import TenantQuerySet


class UserManager(BaseUserManager["User"]):
    """Makes people who sign in with their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make somebody who signs in with an e-mail address."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make an administrator of the whole installation."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """Find somebody by their e-mail address, in any case."""
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in by e-mail address: an administrator, a biller's own, a payer, or several of these."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    language = models.CharField(max_length=2, default="en", choices=[("en", "English"), ("es", "Español")])
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("administrator", default=False, help_text="May use the admin.")
    search_shortcut = models.BooleanField(default=True, help_text="The / key goes to the search box.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once_in_any_case")]

    def __str__(self) -> str:
        return self.get_full_name()

    def get_full_name(self) -> str:
        """Give the name as pages and history show it."""
        return self.name or self.email

    @cached_property
    def roles(self) -> dict[int, str]:
        """The user's role at each biller whose staff they are, by biller id."""
        if self._state.adding:
            return {}
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            return dict(Membership.objects.filter(user=self).values_list("biller_id", "role"))

    @property
    def staff_biller_ids(self) -> list[int]:
        """The billers whose staff the user is."""
        return list(self.roles)

    @cached_property
    def _links(self) -> list[tuple[int, int]]:
        if self._state.adding:
            return []
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            return list(PayerLink.objects.filter(user=self).values_list("biller_id", "customer_id"))

    @property
    def linked_customer_ids(self) -> list[int]:
        """The customers whose bills the user may see and pay as their payer."""
        return [customer for _, customer in self._links]

    @property
    def biller_ids(self) -> list[int]:
        """Every biller that the user has to do with, as staff or as payer."""
        return sorted({*self.roles, *(biller for biller, _ in self._links)})

    @property
    def needs_second_factor(self) -> bool:
        """Whether the user must sign in with a second factor: all staff must."""
        return self.is_staff or bool(self.roles)


class Role(models.TextChoices):
    """What a biller's own person may do; the permissions of each stand in ``billing.permissions``."""

    ADMINISTRATOR = "administrator", "Biller administrator"
    SUPERVISOR = "supervisor", "CSR supervisor"
    CSR = "csr", "CSR"
    CSR_NO_CARDS = "csr_no_cards", "CSR without card entry"
    READ_ONLY = "read_only", "Read only"


class Membership(models.Model):
    """A person's role at one biller."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    wants_alerts = models.BooleanField(
        default=True, db_default=True, help_text="Is told by e-mail of charges that stay unresolved, as administrator."
    )

    objects = TenantQuerySet["Membership"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} at {self.biller}"


class LinkKind(models.TextChoices):
    """How a payer is linked to a customer."""

    OWNER = "owner", "Owner"
    CO_OWNER = "co_owner", "Co-owner"


class PayerLink(models.Model):
    """A payer's link to a customer whose bills they pay: one owner, any number of co-owners."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="links")
    biller = models.ForeignKey(Biller, on_delete=models.CASCADE)
    customer = models.ForeignKey("billing.Customer", on_delete=models.CASCADE, related_name="links")
    kind = models.CharField(max_length=8, choices=LinkKind, default=LinkKind.OWNER)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TenantQuerySet["PayerLink"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "user", "customer"], name="payer_link_once"),
            models.UniqueConstraint(
                fields=["customer"],
                condition=models.Q(kind="owner"),
                name="customer_has_one_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.get_kind_display().lower()} of {self.customer}"


class RemoteRegistration(models.Model):
    """A person whom the biller's own portal has registered: the user name there, and who that is here (MSP-28)."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="registrations")
    user_name = models.CharField(max_length=100)
    # Equality on a stored column may use an index below row security; lower(user_name) may not.
    search_name = models.GeneratedField(
        expression=Lower("user_name"), output_field=models.CharField(max_length=100), db_persist=True
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TenantQuerySet["RemoteRegistration"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "search_name"], name="remote_user_name_once_in_any_case"),
            models.UniqueConstraint(fields=["biller", "user"], name="remote_registration_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_name} at {self.biller}"


class SavedView(models.Model):
    """A list page's filters under a name, for one person."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_views")
    biller = models.ForeignKey(Biller, on_delete=models.CASCADE)
    page = models.CharField(max_length=60)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)

    objects = TenantQuerySet["SavedView"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "user", "page", "name"], name="saved_view_once")]

    def __str__(self) -> str:
        return self.name
