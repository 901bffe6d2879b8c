"""What is stored about who owes what to whom."""

from billing.models.adjustments import Adjustment, AdjustmentSource
from billing.models.audits import AuditEntry, Seal
from billing.models.billers import Biller, CollectRule, GuestSecret, Setting
from billing.models.customers import Customer, CustomerStatus
from billing.models.installations import Installation
from billing.models.invoices import (
    FileState,
    Invoice,
    InvoiceFile,
    InvoiceFileError,
    Item,
    ItemKind,
)
from billing.models.ledgers import Entry, LedgerAccount, Posting, PostingKind
from billing.models.notices import (
    Notice,
    NoticeChannel,
    NoticeDelivery,
    NoticeKind,
    NoticeState,
)
from billing.models.pay_types import PayType, PayTypeUse
from billing.models.runs import Chunk, ChunkState, Run, RunKind, RunState
from billing.models.sign_ons import SignOnKey, UsedTicket
from billing.models.throttles import Throttle
from billing.models.tokens import ApiToken, IdempotencyKey, Scope
from billing.models.users import LinkKind, Membership, PayerLink, RemoteRegistration, Role, SavedView, User

__all__ = [
    "Adjustment",
    "AdjustmentSource",
    "ApiToken",
    "AuditEntry",
    "Biller",
    "Chunk",
    "ChunkState",
    "CollectRule",
    "Customer",
    "CustomerStatus",
    "Entry",
    "FileState",
    "GuestSecret",
    "IdempotencyKey",
    "Installation",
    "Invoice",
    "InvoiceFile",
    "InvoiceFileError",
    "Item",
    "ItemKind",
    "LedgerAccount",
    "LinkKind",
    "Membership",
    "Notice",
    "NoticeChannel",
    "NoticeDelivery",
    "NoticeKind",
    "NoticeState",
    "PayType",
    "PayTypeUse",
    "PayerLink",
    "Posting",
    "PostingKind",
    "RemoteRegistration",
    "Role",
    "Run",
    "RunKind",
    "RunState",
    "SavedView",
    "Scope",
    "Seal",
    "Setting",
    "SignOnKey",
    "Throttle",
    "UsedTicket",
    "User",
]
