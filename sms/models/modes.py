"""SMS modes: with which telephone a customer pays by text, and what they agreed to."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet

if TYPE_CHECKING:
    from billing.actors import Actor

# A registration that nobody confirms in this time is over.
PENDING_FOR = datetime.timedelta(hours=24)


class Mode(enum.StrEnum):
    """Where a customer's enrolment stands; without a row there is none."""

    PENDING = "pending"
    ENROLLED = "enrolled"
    UNENROLLED = "unenrolled"


@dataclass(frozen=True, slots=True)
class Consent:
    """What was agreed to: in which words, and how somebody came to know of it (by phone, on paper, in the portal).

    ``by`` and ``at`` say who took it down and when, where that was not whoever enrols now.
    """

    how: str
    text: str
    version: str
    by: str = ""
    at: datetime.datetime | None = None


class SmsMode(models.Model):
    """A customer's enrolment in pay by text. Written by ``sms.operations.modes`` and by nothing else (PBT-4).

    ``number`` is the telephone that serves, ``pending_number`` the one that waits for a confirmation; both are E.164. A new
    number waits while the old one goes on serving. The consent is the one for the number that was given last.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="sms_mode")
    number = models.CharField(max_length=16, blank=True)
    pending_number = models.CharField(max_length=16, blank=True)
    pending_until = models.DateTimeField(null=True, blank=True)
    registered = models.BooleanField(default=False)
    stopped = models.BooleanField(
        default=False, db_default=False, help_text="Ended by STOP from the phone, so that START brings it back."
    )
    changed_at = models.DateTimeField(db_default=Now())
    consent_how = models.CharField(max_length=200)
    consent_text = models.TextField()
    consent_version = models.CharField(max_length=20)
    consent_by = models.CharField(max_length=120)
    consent_requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    consent_address = models.GenericIPAddressField(null=True, blank=True)
    consented_at = models.DateTimeField()

    objects = CustomerOwnedQuerySet["SmsMode"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(registered=False) | ~Q(number=""), name="sms_mode_registered_has_number"
            ),
            models.CheckConstraint(
                condition=Q(pending_number="", pending_until__isnull=True)
                | (~Q(pending_number="") & Q(pending_until__isnull=False)),
                name="sms_mode_pending_ends",
            ),
        ]
        indexes = [
            models.Index(fields=["biller", "number"], condition=Q(registered=True), name="sms_mode_by_number"),
            models.Index(
                fields=["biller", "pending_number"], condition=~Q(pending_number=""), name="sms_mode_by_pending"
            ),
            models.Index(fields=["pending_until"], condition=~Q(pending_number=""), name="sms_mode_to_end"),
        ]

    def __str__(self) -> str:
        return f"Pay by text of {self.customer_id}"

    @property
    def mode(self) -> Mode:
        """Where the enrolment stands."""
        if self.registered:
            return Mode.ENROLLED
        return Mode.PENDING if self.pending_number else Mode.UNENROLLED

    def agree(self, consent: Consent, actor: Actor, now: datetime.datetime) -> None:
        """Take down who agreed to what, when and from where."""
        self.consent_how, self.consent_text, self.consent_version = consent.how, consent.text, consent.version
        self.consent_by, self.consent_requestor = (consent.by or actor.label)[:120], actor.requestor
        # Where it was given elsewhere, nobody knows from which address.
        self.consent_address, self.consented_at = (None if consent.at else actor.address), consent.at or now
