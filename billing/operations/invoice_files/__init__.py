"""Invoice files: receiving, loading and withdrawing them (MSP-21 to MSP-25).

``receiving`` takes a file in, ``drop_folders`` looks for some; ``reading`` parses it; ``staging`` is where it lies
meanwhile; ``checking`` finds what is wrong with its values (``values``); ``merging`` makes it true; ``loading`` leads
through all of these; ``withdrawing`` takes it back.
"""

from billing.operations.invoice_files.drop_folders import sweep as sweep_drop_folder
from billing.operations.invoice_files.loading import (
    LEASE,
    LIVE,
    ClaimLost,
    NotWaiting,
    load,
    sweep_staging,
    waiting,
)
from billing.operations.invoice_files.merging import Carriers, Carry, contained
from billing.operations.invoice_files.receiving import (
    AlreadyReceived,
    BadFileName,
    EmptyFile,
    TooLarge,
    biller_number,
    receive,
)
from billing.operations.invoice_files.withdrawing import NotWithdrawable, PutBack, Returned, withdraw

__all__ = [
    "LEASE",
    "LIVE",
    "AlreadyReceived",
    "BadFileName",
    "Carriers",
    "Carry",
    "ClaimLost",
    "EmptyFile",
    "NotWaiting",
    "NotWithdrawable",
    "PutBack",
    "Returned",
    "TooLarge",
    "biller_number",
    "contained",
    "load",
    "receive",
    "sweep_drop_folder",
    "sweep_staging",
    "waiting",
    "withdraw",
]
