"""What texting stores."""

from sms.models.modes import PENDING_FOR, Consent, Mode, SmsMode

__all__ = ["PENDING_FOR", "Consent", "Mode", "SmsMode"]
