"""What texting stores."""

from sms.models.lines import Line, Phone
from sms.models.modes import PENDING_FOR, Consent, Mode, SmsMode
from sms.models.texts import Direction, Text, TextState

__all__ = [
    "PENDING_FOR",
    "Consent",
    "Direction",
    "Line",
    "Mode",
    "Phone",
    "SmsMode",
    "Text",
    "TextState",
]
