"""What is stored about money on its way: routes, instruments, payments, their attempts, enrolments, cases and more."""

from payments.models.authorizations import Authorization
from payments.models.carryovers import Carryover, CarryoverKind
from payments.models.cases import Case, CaseKind, CaseState
from payments.models.cloud_payments import CloudPayer, CloudPayment
from payments.models.enrolments import AutoPayEnrolment
from payments.models.fees import Fee, FeeOccasion, FeeRule, FeeWaiver, LateAction, LateBill, LateRule
from payments.models.instruments import DebitMethod, Instrument, InstrumentKind, InstrumentState
from payments.models.payments import (
    PAY_TYPE_OF,
    Allocation,
    AllocationState,
    Attempt,
    AttemptState,
    Channel,
    Checkpoint,
    Payment,
    PaymentState,
    Tender,
)
from payments.models.processor_events import ProcessorEvent
from payments.models.reports import UnresolvedReport
from payments.models.retry_limits import RetryLimit
from payments.models.reversals import Reversal, ReversalDebit, ReversalKind, ReversalState
from payments.models.routes import AnswerCode, Route
from payments.models.scheduled_payments import ScheduledPayment, ScheduledState
from payments.models.unconfirmed import UnconfirmedPayment, UnconfirmedState
from payments.models.verifications import (
    Check,
    CheckAnswer,
    MethodRules,
    Verification,
    VerificationPurpose,
    VerificationState,
)

__all__ = [
    "PAY_TYPE_OF",
    "Allocation",
    "AllocationState",
    "AnswerCode",
    "Attempt",
    "AttemptState",
    "Authorization",
    "AutoPayEnrolment",
    "Carryover",
    "CarryoverKind",
    "Case",
    "CaseKind",
    "CaseState",
    "Channel",
    "Check",
    "CheckAnswer",
    "Checkpoint",
    "CloudPayer",
    "CloudPayment",
    "DebitMethod",
    "Fee",
    "FeeOccasion",
    "FeeRule",
    "FeeWaiver",
    "Instrument",
    "InstrumentKind",
    "InstrumentState",
    "LateAction",
    "LateBill",
    "LateRule",
    "MethodRules",
    "Payment",
    "PaymentState",
    "ProcessorEvent",
    "RetryLimit",
    "Reversal",
    "ReversalDebit",
    "ReversalKind",
    "ReversalState",
    "Route",
    "ScheduledPayment",
    "ScheduledState",
    "Tender",
    "UnconfirmedPayment",
    "UnconfirmedState",
    "UnresolvedReport",
    "Verification",
    "VerificationPurpose",
    "VerificationState",
]
