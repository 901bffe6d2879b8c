"""The biller portal's pages about billers, accounts, bills, runs and reports, below ``/biller/``."""

from __future__ import annotations

from django.urls import path

from billing.biller_portal import (
    accounts,
    audits,
    billers,
    bills,
    files,
    histories,
    messages,
    payers,
    people,
    reports,
    runs,
    search,
    settings,
)

_ACCOUNT = "accounts/<int:customer_id>"

urlpatterns = [
    path("", search.search, name="biller-search"),
    path("choose/", billers.choose, name="biller-choose"),
    path("profile/", billers.profile, name="biller-profile"),
    path(f"{_ACCOUNT}/", accounts.overview, name="biller-account"),
    path(f"{_ACCOUNT}/bills/", bills.AccountBills.as_view(), name="biller-account-bills"),
    path(f"{_ACCOUNT}/messages/", messages.AccountMessages.as_view(), name="biller-account-messages"),
    path(f"{_ACCOUNT}/messages/<int:delivery_id>/", messages.message, name="biller-account-message"),
    path(f"{_ACCOUNT}/messages/<int:delivery_id>/resend/", messages.resend, name="biller-account-message-resend"),
    path(f"{_ACCOUNT}/history/", histories.history, name="biller-account-history"),
    path(f"{_ACCOUNT}/users/", payers.users, name="biller-account-users"),
    path(f"{_ACCOUNT}/users/<int:link_id>/unlink/", payers.unlink, name="biller-account-user-unlink"),
    path("bills/", bills.BillList.as_view(), name="biller-bills"),
    path("bills/<int:invoice_id>/", bills.bill, name="biller-bill"),
    path("bills/<int:invoice_id>/pdf/", bills.bill_pdf, name="biller-bill-pdf"),
    *files.files_urlpatterns,
    path("runs/", runs.RunList.as_view(), name="biller-runs"),
    path("runs/new/", runs.new, name="biller-run-new"),
    path("runs/new/deposit/", runs.new_deposit, name="biller-run-new-deposit"),
    path("runs/new/scheduled/", runs.new_scheduled, name="biller-run-new-scheduled"),
    path("runs/<int:run_id>/", runs.run, name="biller-run"),
    path("runs/<int:run_id>/start/", runs.start, name="biller-run-start"),
    path("runs/<int:run_id>/stop/", runs.stop, name="biller-run-stop"),
    path("reports/", reports.daily_totals, name="biller-reports"),
    path("reports/channels/", reports.channels, name="biller-report-channels"),
    path("reports/ageing/", reports.ageing, name="biller-report-ageing"),
    path("reports/forecast/", reports.forecast, name="biller-report-forecast"),
    path("settings/", settings.look, name="biller-settings"),
    path("settings/rules/", settings.rules, name="biller-rules"),
    path("settings/charging/", settings.charging, name="biller-charging"),
    path("settings/charging/stop/", settings.stop_charging, name="biller-charging-stop"),
    path("settings/charging/allow/", settings.allow_charging, name="biller-charging-allow"),
    path("settings/people/", people.everybody, name="biller-people"),
    path("settings/people/<int:membership_id>/role/", people.change_role, name="biller-person-role"),
    path("settings/people/<int:membership_id>/remove/", people.remove, name="biller-person-remove"),
    path("settings/people/<int:membership_id>/invite/", people.invite_again, name="biller-person-invite"),
    path("settings/api-keys/", settings.api_keys, name="biller-api-keys"),
    path("settings/api-keys/<int:token_id>/revoke/", settings.revoke_api_key, name="biller-api-key-revoke"),
    path("settings/audit/", audits.AuditList.as_view(), name="biller-audit"),
]
