"""Deliveries: how records reach the biller's own system.

``loop`` claims, sends and records; ``outcomes`` are its rules, ``messages`` what it sends, ``rows`` what it says to the
database; ``pauses`` stop an endpoint that a person must look at.
"""

from datapump.operations.deliveries.loop import Tally, deliver

__all__ = ["Tally", "deliver"]
