"""What is stored about telling the biller's own system."""

from datapump.models.balances import Balance
from datapump.models.endpoints import Configuration, Endpoint, Purpose
from datapump.models.printed_bills import PrintedBill
from datapump.models.records import (
    LIVE,
    ChangeLog,
    Delivery,
    Envelope,
    OptionalSetting,
    Outcome,
    Record,
    RecordState,
    RecordType,
)

__all__ = [
    "LIVE",
    "Balance",
    "ChangeLog",
    "Configuration",
    "Delivery",
    "Endpoint",
    "Envelope",
    "OptionalSetting",
    "Outcome",
    "PrintedBill",
    "Purpose",
    "Record",
    "RecordState",
    "RecordType",
]
