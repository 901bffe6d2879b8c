"""What texting stores."""

from sms.models.announcements import Announcement
from sms.models.lines import Line, Phone
from sms.models.links import PayLink
from sms.models.modes import PENDING_FOR, Consent, Mode, SmsMode
from sms.models.programmes import EVERYTHING, Programme, ProgrammeKind, Wording
from sms.models.texts import OPT_OUT_CONFIRMATION, Direction, Text, TextState

__all__ = [
    "EVERYTHING",
    "OPT_OUT_CONFIRMATION",
    "PENDING_FOR",
    "Announcement",
    "Consent",
    "Direction",
    "Line",
    "Mode",
    "PayLink",
    "Phone",
    "Programme",
    "ProgrammeKind",
    "SmsMode",
    "Text",
    "TextState",
    "Wording",
]
