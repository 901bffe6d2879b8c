"""The biller portal's pages about payments, methods, enrolments and cases, below ``/biller/``."""

from __future__ import annotations

from django.urls import path

from payments.biller_portal import (
    cases,
    confirmations,
    connections,
    enrolments,
    fees,
    method_rules,
    methods,
    pay,
    payments,
    prepaid,
    refunds,
    scheduled,
    unresolved,
)

_ACCOUNT = "accounts/<int:customer_id>"

urlpatterns = [
    path("payments/", payments.PaymentList.as_view(), name="biller-payments"),
    path("payments/<uuid:payment_id>/", payments.payment, name="biller-payment"),
    path("payments/<uuid:payment_id>/receipt/", payments.receipt, name="biller-payment-receipt"),
    path("payments/<uuid:payment_id>/receipt/pdf/", payments.receipt_pdf, name="biller-payment-receipt-pdf"),
    path("payments/<uuid:payment_id>/deposit/", payments.deposit, name="biller-payment-deposit"),
    path("payments/<uuid:payment_id>/release/", payments.release, name="biller-payment-release"),
    path("payments/<uuid:payment_id>/confirmation/", confirmations.confirm, name="biller-payment-confirmation"),
    path("payments/<uuid:payment_id>/refund/", refunds.refund, name="biller-payment-refund"),
    path("settings/fees/", fees.rules, name="biller-fee-rules"),
    path("settings/fees/add/", fees.add_fee_rule, name="biller-fee-rule-add"),
    path("settings/fees/<int:rule_id>/", fees.fee_rule, name="biller-fee-rule"),
    path("settings/fees/late/add/", fees.add_late_rule, name="biller-late-rule-add"),
    path("settings/fees/late/<int:late_rule_id>/", fees.late_rule, name="biller-late-rule"),
    path(f"{_ACCOUNT}/fees/<uuid:fee_id>/waive/", fees.waive, name="biller-fee-waive"),
    path(f"{_ACCOUNT}/payments/", payments.AccountPayments.as_view(), name="biller-account-payments"),
    path(f"{_ACCOUNT}/enrolments/", enrolments.enrolled, name="biller-account-enrolments"),
    path(f"{_ACCOUNT}/autopay/", enrolments.autopay, name="biller-account-autopay"),
    path(f"{_ACCOUNT}/autopay/end/", enrolments.end_autopay, name="biller-account-autopay-end"),
    path(f"{_ACCOUNT}/collection/", enrolments.collection, name="biller-account-collection"),
    path(f"{_ACCOUNT}/paperless/", enrolments.paperless, name="biller-account-paperless"),
    path(f"{_ACCOUNT}/schedule/", scheduled.schedule, name="biller-account-schedule"),
    path(f"{_ACCOUNT}/schedule/cancel/", scheduled.cancel, name="biller-account-schedule-cancel"),
    path(f"{_ACCOUNT}/prepaid/", prepaid.threshold, name="biller-account-prepaid"),
    path(f"{_ACCOUNT}/methods/", methods.methods, name="biller-account-methods"),
    path(f"{_ACCOUNT}/methods/add/", methods.add, name="biller-account-method-add"),
    path(
        f"{_ACCOUNT}/methods/<uuid:instrument_id>/default/", methods.make_default, name="biller-account-method-default"
    ),
    path(f"{_ACCOUNT}/methods/<uuid:instrument_id>/confirm/", methods.confirm, name="biller-account-method-confirm"),
    path(f"{_ACCOUNT}/methods/<uuid:instrument_id>/remove/", methods.remove, name="biller-account-method-remove"),
    path(f"{_ACCOUNT}/pay/", pay.amount, name="biller-account-pay"),
    path(f"{_ACCOUNT}/pay/method/", pay.method, name="biller-account-pay-method"),
    path(f"{_ACCOUNT}/pay/new/", pay.new_method, name="biller-account-pay-new"),
    path(f"{_ACCOUNT}/pay/review/", pay.review, name="biller-account-pay-review"),
    path(f"{_ACCOUNT}/pay/done/<uuid:payment_id>/", pay.done, name="biller-account-pay-done"),
    path("cases/", cases.CaseList.as_view(), name="biller-cases"),
    path("cases/<uuid:case_id>/", cases.case, name="biller-case"),
    path("cases/<uuid:case_id>/close/", cases.close, name="biller-case-close"),
    path("settings/methods/", method_rules.method_rules, name="biller-method-rules"),
    path("connections/", connections.connections, name="biller-connections"),
    path("connections/<int:route_id>/ask/", connections.ask, name="biller-connection-ask"),
    path("unresolved/", unresolved.UnresolvedList.as_view(), name="biller-unresolved"),
    path("unresolved/<uuid:attempt_id>/", unresolved.attempt, name="biller-attempt"),
    path("unresolved/<uuid:attempt_id>/resolve/", unresolved.resolve, name="biller-attempt-resolve"),
    path("unresolved/give-up/<slug:command>/", unresolved.give_up, name="biller-unresolved-give-up"),
    path("unresolved/batches/<int:run_id>/<int:number>/", unresolved.resubmit, name="biller-batch-resubmit"),
]
