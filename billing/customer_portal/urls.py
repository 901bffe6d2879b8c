"""Addresses of the customer portal: the front door, home, bills, profile."""

from __future__ import annotations

from django.urls import path

from billing.customer_portal import accounts, bills, guests, profiles, sign_ons, viewings

urlpatterns = [
    path("", guests.start, name="customer-start"),
    path("with/<slug:slug>/", guests.find, name="customer-find"),
    path("sign-on/<slug:slug>/", sign_ons.arrive, name="customer-arrive"),
    path("sign-on/<slug:slug>/leave/", sign_ons.leave, name="customer-leave"),
    path("sign-on/<slug:slug>/signed-out/", sign_ons.signed_out, name="customer-signed-out"),
    path("home/", accounts.home, name="customer-home"),
    path("link/", accounts.link, name="customer-link"),
    path("link/<slug:slug>/", accounts.link_account, name="customer-link-account"),
    path("bills/", bills.BillList.as_view(), name="customer-bills"),
    path("account/<int:customer_id>/bills/<int:invoice_id>/", bills.bill, name="customer-bill"),
    path("account/<int:customer_id>/bills/<int:invoice_id>/pdf/", bills.bill_pdf, name="customer-bill-pdf"),
    path("pay/<str:guest>/bills/<int:invoice_id>/", bills.bill, name="guest-bill"),
    path("pay/<str:guest>/bills/<int:invoice_id>/pdf/", bills.bill_pdf, name="guest-bill-pdf"),
    path("profile/", profiles.profile, name="customer-profile"),
    path("profile/accounts/<int:link_id>/unlink/", profiles.unlink, name="customer-unlink"),
    path("view-as/<int:customer_id>/<int:user_id>/", viewings.begin, name="customer-view-as"),
    path("view-as/end/", viewings.end, name="customer-view-as-end"),
]
