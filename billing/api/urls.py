"""Addresses of billing in the API, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from billing.api import billers, customers, invoice_files, invoices, notices

urlpatterns = [
    path("biller/", billers.BillerView.as_view(), name="api-biller"),
    path("customers/", customers.CustomersView.as_view(), name="api-customers"),
    path("customers/<int:pk>/", customers.CustomerView.as_view(), name="api-customer"),
    path("invoices/", invoices.InvoicesView.as_view(), name="api-invoices"),
    path("invoices/<int:pk>/", invoices.InvoiceView.as_view(), name="api-invoice"),
    path("invoice-files/", invoice_files.InvoiceFilesView.as_view(), name="api-invoice-files"),
    path("invoice-files/<int:pk>/", invoice_files.InvoiceFileView.as_view(), name="api-invoice-file"),
    path(
        "invoice-files/<int:pk>/errors/", invoice_files.InvoiceFileErrorsView.as_view(), name="api-invoice-file-errors"
    ),
    path("messages/", notices.MessagesView.as_view(), name="api-messages"),
    path("messages/<int:pk>/", notices.MessageView.as_view(), name="api-message"),
]
