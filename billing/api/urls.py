"""Addresses of billing in the API, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from billing.api import adjustments, billers, customers, invoice_files, invoices, notices, remote_registrations

urlpatterns = [
    path("biller/", billers.BillerView.as_view(), name="api-biller"),
    path("customers/", customers.CustomersView.as_view(), name="api-customers"),
    path("customers/<int:pk>/", customers.CustomerView.as_view(), name="api-customer"),
    path("customers/<int:pk>/blocks/", customers.BlocksView.as_view(), name="api-blocks"),
    path("cloud-management/UpdateCustomerRecord/", customers.CustomerRecordView.as_view(), name="api-customer-record"),
    path("invoices/", invoices.InvoicesView.as_view(), name="api-invoices"),
    path("invoices/<int:pk>/", invoices.InvoiceView.as_view(), name="api-invoice"),
    path("invoices/<int:pk>/pdf/", invoices.InvoicePdfView.as_view(), name="api-invoice-pdf"),
    path("invoice-files/", invoice_files.InvoiceFilesView.as_view(), name="api-invoice-files"),
    path("invoice-files/<int:pk>/", invoice_files.InvoiceFileView.as_view(), name="api-invoice-file"),
    path(
        "invoice-files/<int:pk>/errors/", invoice_files.InvoiceFileErrorsView.as_view(), name="api-invoice-file-errors"
    ),
    path("adjustments/", adjustments.AdjustmentsView.as_view(), name="api-adjustments"),
    path("messages/", notices.MessagesView.as_view(), name="api-messages"),
    path("messages/<int:pk>/", notices.MessageView.as_view(), name="api-message"),
    path(
        "remote-registration/RegisterAccountsForUser/",
        remote_registrations.RegisterAccountsForUserView.as_view(),
        name="api-register-accounts",
    ),
    path(
        "remote-registration/LinkAccounts/",
        remote_registrations.LinkAccountsView.as_view(),
        name="api-link-accounts",
    ),
    path(
        "remote-registration/UpdateEmailAddress/",
        remote_registrations.UpdateEmailAddressView.as_view(),
        name="api-update-email",
    ),
    path(
        "remote-registration/UpdatePassword/",
        remote_registrations.UpdatePasswordView.as_view(),
        name="api-update-password",
    ),
    path(
        "remote-registration/UpdatePaperless/",
        remote_registrations.UpdatePaperlessView.as_view(),
        name="api-update-paperless",
    ),
    path(
        "remote-registration/RetrieveUserAccounts/",
        remote_registrations.RetrieveUserAccountsView.as_view(),
        name="api-user-accounts",
    ),
]
