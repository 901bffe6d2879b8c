"""Addresses of payments in the API, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from payments.api import cloud_payments, enrolments, fees, instruments, pay_types, payments, routes, scheduled

urlpatterns = [
    path("payments/", payments.PaymentsView.as_view(), name="api-payments"),
    path("payments/outside/", payments.OutsidePaymentsView.as_view(), name="api-outside-payments"),
    path("payments/<uuid:pk>/", payments.PaymentView.as_view(), name="api-payment"),
    path("payments/<uuid:pk>/deposit/", payments.DepositView.as_view(), name="api-payment-deposit"),
    path("payments/<uuid:pk>/release/", payments.ReleaseView.as_view(), name="api-payment-release"),
    path("payments/<uuid:pk>/refund/", payments.RefundView.as_view(), name="api-payment-refund"),
    path("payments/<uuid:pk>/receipt/", payments.ReceiptView.as_view(), name="api-payment-receipt"),
    path("scheduled-payments/", scheduled.ScheduledListView.as_view(), name="api-scheduled-payments"),
    path("scheduled-payments/<uuid:pk>/", scheduled.ScheduledView.as_view(), name="api-scheduled-payment"),
    path(
        "scheduled-payments/<uuid:pk>/cancel/",
        scheduled.ScheduledCancelView.as_view(),
        name="api-scheduled-payment-cancel",
    ),
    path("cloud-payments/", cloud_payments.CloudPaymentsView.as_view(), name="api-cloud-payments"),
    path("cloud-payments/<uuid:pk>/", cloud_payments.CloudPaymentView.as_view(), name="api-cloud-payment"),
    path("fees/", fees.FeesView.as_view(), name="api-fees"),
    path("fees/<uuid:pk>/", fees.FeeView.as_view(), name="api-fee"),
    path("fees/<uuid:pk>/waive/", fees.FeeWaiveView.as_view(), name="api-fee-waive"),
    path("pay-types/", pay_types.PayTypesView.as_view(), name="api-pay-types"),
    path("routes/", routes.RoutesView.as_view(), name="api-routes"),
    path("instruments/", instruments.InstrumentsView.as_view(), name="api-instruments"),
    path("instruments/<uuid:pk>/", instruments.InstrumentView.as_view(), name="api-instrument"),
    path("instruments/<uuid:pk>/default/", instruments.DefaultInstrumentView.as_view(), name="api-instrument-default"),
    path(
        "instruments/<uuid:pk>/confirm/", instruments.ConfirmedInstrumentView.as_view(), name="api-instrument-confirm"
    ),
    path("customers/<int:pk>/autopay/", enrolments.AutoPayView.as_view(), name="api-autopay"),
    path("customers/<int:pk>/collection/", enrolments.CollectionView.as_view(), name="api-collection"),
    path("customers/<int:pk>/paperless/", enrolments.PaperlessView.as_view(), name="api-paperless"),
]
