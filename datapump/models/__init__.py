"""What is stored about telling the biller's own system."""

from datapump.models.endpoints import Configuration, Endpoint, Purpose
from datapump.models.records import (
    ChangeLog,
    Delivery,
    Envelope,
    OptionalSetting,
    Record,
    RecordState,
    RecordType,
)

__all__ = [
    "ChangeLog",
    "Configuration",
    "Delivery",
    "Endpoint",
    "Envelope",
    "OptionalSetting",
    "Purpose",
    "Record",
    "RecordState",
    "RecordType",
]
