"""Addresses of the customer portal: paying, payments, scheduled ones, methods, AutoPay, paperless."""

from __future__ import annotations

from django.urls import path

from payments.customer_portal import cloud_payments, enrolments, methods, payments, prepaid, scheduled

_ACCOUNT = "account/<int:customer_id>/"
_GUEST = "pay/<str:guest>/"
_CLOUD = "cloudpay/<str:code>/"

urlpatterns = [
    path(f"{_ACCOUNT}pay/", payments.details, name="customer-pay"),
    path(f"{_ACCOUNT}pay/<str:key>/method/", payments.method, name="customer-pay-method"),
    path(f"{_ACCOUNT}pay/<str:key>/review/", payments.review, name="customer-pay-review"),
    path(f"{_ACCOUNT}payments/<uuid:payment_id>/", payments.payment, name="customer-payment"),
    path(f"{_ACCOUNT}payments/<uuid:payment_id>/pdf/", payments.receipt_pdf, name="customer-payment-pdf"),
    path(_GUEST, payments.details, name="guest-pay"),
    path(f"{_GUEST}<str:key>/method/", payments.method, name="guest-pay-method"),
    path(f"{_GUEST}<str:key>/review/", payments.review, name="guest-pay-review"),
    path(f"{_GUEST}payments/<uuid:payment_id>/", payments.payment, name="guest-payment"),
    path(f"{_GUEST}payments/<uuid:payment_id>/pdf/", payments.receipt_pdf, name="guest-payment-pdf"),
    path(_CLOUD, cloud_payments.details, name="cloud-pay"),
    path(f"{_CLOUD}<str:key>/method/", payments.method, name="cloud-pay-method"),
    path(f"{_CLOUD}<str:key>/review/", payments.review, name="cloud-pay-review"),
    path(f"{_CLOUD}payments/<uuid:payment_id>/", payments.payment, name="cloud-payment"),
    path(f"{_CLOUD}payments/<uuid:payment_id>/pdf/", payments.receipt_pdf, name="cloud-payment-pdf"),
    path("payments/", payments.PaymentList.as_view(), name="customer-payments"),
    path("scheduled/", scheduled.scheduled, name="customer-scheduled"),
    path(f"{_ACCOUNT}schedule/", scheduled.schedule, name="customer-schedule"),
    path(f"{_ACCOUNT}schedule/cancel/", scheduled.cancel, name="customer-schedule-cancel"),
    path(f"{_ACCOUNT}prepaid/", prepaid.threshold, name="customer-prepaid"),
    path("methods/", methods.methods, name="customer-methods"),
    path(f"{_ACCOUNT}methods/add/<str:kind>/", methods.add, name="customer-method-add"),
    path(f"{_ACCOUNT}methods/<uuid:instrument_id>/default/", methods.make_default, name="customer-method-default"),
    path(f"{_ACCOUNT}methods/<uuid:instrument_id>/confirm/", methods.confirm, name="customer-method-confirm"),
    path(f"{_ACCOUNT}methods/<uuid:instrument_id>/remove/", methods.remove, name="customer-method-remove"),
    path("autopay/", enrolments.autopay, name="customer-autopay"),
    path(f"{_ACCOUNT}autopay/", enrolments.autopay_account, name="customer-autopay-account"),
    path(f"{_ACCOUNT}autopay/end/", enrolments.autopay_end, name="customer-autopay-end"),
    path("paperless/", enrolments.paperless, name="customer-paperless"),
    path(f"{_ACCOUNT}paperless/", enrolments.paperless_account, name="customer-paperless-account"),
]
