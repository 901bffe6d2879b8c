"""The simulated processor's own response codes: its words, which a driver has to translate."""

from __future__ import annotations

APPROVED = "100"
FORMAT_ERROR = "405"
INVALID_CONTENT = "406"

# code -> message
MESSAGES: dict[str, str] = {
    APPROVED: "Approved",
    "101": "Busy, nothing was done",
    "201": "Address does not match",
    "202": "Location is not served",
    "203": "ZIP code does not match",
    "204": "Security code does not match",
    "301": "Card or account is not valid",
    "302": "Declined, may be tried again",
    "303": "Declined",
    "304": "Amount is under the minimum",
    "401": "Command is not known",
    "402": "Transaction to act on is not known",
    "403": "No balance left to refund",
    "404": "Command does not fit the transaction",
    FORMAT_ERROR: "Format error",
    INVALID_CONTENT: "Content is not valid",
    "500": "Technical problem",
    "503": "Service unavailable",
}

# Said of an approved deposit whose authorization had expired: the money is taken, and it costs the merchant more.
EXPIRED = "Approved, the authorization had expired"

# What a token does when it is used: outcome -> code. "verify_only" passes verification and soft declines every charge;
# "refused" never becomes a usable token.
OUTCOMES: dict[str, str] = {
    "approve": APPROVED,
    "busy": "101",
    "avs_fail": "201",
    "location_fail": "202",
    "zip_fail": "203",
    "cvv_fail": "204",
    "bad_card": "301",
    "soft_decline": "302",
    "verify_only": "302",
    "hard_decline": "303",
    "under_minimum": "304",
    "technical_problem": "500",
    "service_unavailable": "503",
    "refused": "301",
}

# Outcomes that charges have and verifications have not: they are about the money.
ONLY_CHARGES = frozenset({"verify_only", "soft_decline", "under_minimum"})

# What an address check can be made to say of cards that would pass.
AVS_CODES: dict[str, str] = {"address": "201", "location": "202", "zip": "203"}
CVV_CODE = "204"

# How money moves back: kind -> the codes that it is given for, the first where none is named.
REVERSALS: dict[str, tuple[str, ...]] = {
    "return": ("R01", "R02", "R03", "R07", "R10", "R29"),
    "chargeback": ("4853", "10.4", "13.1"),
    "chargeback_won": ("won",),
}
REASONS: dict[str, str] = {
    "R01": "Insufficient funds",
    "R02": "Account closed",
    "R03": "No account, or it could not be found",
    "R07": "Authorization revoked by the customer",
    "R10": "Customer says the debit was not authorized",
    "R29": "Company says the debit was not authorized",
    "4853": "Cardholder dispute",
    "10.4": "Other fraud, card absent",
    "13.1": "Merchandise or services not received",
    "won": "Decided for the merchant",
}
