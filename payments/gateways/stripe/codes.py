"""What Stripe's codes mean to us: decline codes of issuers, failure codes of bank debits, error codes of its API.

Soft is what the same card may pass another day; hard is what cannot. What is in no table is a hard decline, and the
administrator's table goes before this one.

Source: PAY-1, PAY-4; docs.stripe.com/declines/codes, docs.stripe.com/error-codes.
"""

from __future__ import annotations

from payments.gateways.base import Result

_SOFT = """
    approve_with_id call_issuer card_velocity_exceeded do_not_honor generic_decline insufficient_funds
    no_action_taken not_permitted withdrawal_count_limit_exceeded
    debit_posting_error
"""
_HARD = """
    authentication_required authentication_not_handled card_declined card_not_supported currency_not_supported
    do_not_try_again duplicate_transaction fraudulent highest_risk_level invalid_amount lost_card merchant_blacklist
    new_account_information_available offline_pin_required online_or_offline_pin_required pickup_card pin_try_exceeded
    restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation service_not_allowed
    stolen_card stop_payment_order testmode_decline transaction_not_allowed
    payment_intent_authentication_failure payment_intent_action_required setup_intent_authentication_failure
    debit_not_authorized charge_exceeds_source_limit bank_ownership_changed
"""
_BAD_CARD = """
    card_decline_rate_limit_exceeded expired_card incorrect_number incorrect_pin invalid_account invalid_card_type
    invalid_expiry_month invalid_expiry_year invalid_number invalid_pin
    account_closed account_frozen bank_account_closed bank_account_frozen bank_account_invalid_details
    bank_account_restricted bank_account_unusable bank_account_unverified
    bank_account_exists invalid_account_number incorrect_account_holder_name no_account payment_method_bank_account_blocked
    payment_method_bank_account_already_verified routing_number_invalid
"""
_REPEATED = """
    charge_already_captured charge_disputed charge_exceeds_transaction_limit charge_expired_for_capture
    capture_charge_authorization_expired capture_unauthorized_payment amount_too_large
    payment_intent_unexpected_state refund_disputed_payment intent_invalid_state
"""
_CONTENT = """
    payment_intent_incompatible_payment_method payment_intent_invalid_parameter payment_intent_mandate_invalid
    payment_intent_payment_attempt_failed payment_method_customer_decline payment_method_invalid_parameter
    payment_method_not_available payment_method_provider_decline payment_method_unactivated
    payment_method_unexpected_state payment_method_unsupported_type customer_max_payment_methods token_already_used
"""

RESULTS: dict[str, int] = {
    **dict.fromkeys(_SOFT.split(), Result.SOFT_DECLINE),
    **dict.fromkeys(_HARD.split(), Result.HARD_DECLINE),
    **dict.fromkeys(_BAD_CARD.split(), Result.BAD_CARD),
    **dict.fromkeys(_REPEATED.split(), Result.LOGICAL_PROBLEM),
    **dict.fromkeys(_CONTENT.split(), Result.INVALID_CONTENT),
    "incorrect_address": Result.AVS_FAIL,
    "incorrect_zip": Result.ZIP_FAIL,
    "postal_code_invalid": Result.ZIP_FAIL,
    "country_unsupported": Result.LOCATION_FAIL,
    "country_code_invalid": Result.LOCATION_FAIL,
    "incorrect_cvc": Result.CVV_BAD,
    "invalid_cvc": Result.CVV_BAD,
    "amount_too_small": Result.UNDER_MINIMUM,
    "issuer_not_available": Result.SERVICE_UNAVAILABLE,
    "try_again_later": Result.SERVICE_UNAVAILABLE,
    "reenter_transaction": Result.SERVICE_UNAVAILABLE,
    "processing_error": Result.TECHNICAL_PROBLEM,
    "charge_already_refunded": Result.NO_CREDIT_BALANCE,
    "balance_insufficient": Result.NO_CREDIT_BALANCE,
    "invalid_charge_amount_no_decimal_compatible": Result.FORMAT_ERROR,
}
