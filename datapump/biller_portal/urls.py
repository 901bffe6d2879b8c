"""The biller portal's pages about DataPump, below ``/biller/``."""

from __future__ import annotations

from django.urls import path

from datapump.biller_portal import endpoints, histories, resends, settings, updates

urlpatterns = [
    path("datapump/", histories.HistoryList.as_view(), name="biller-datapump"),
    path("datapump/newer/", histories.newer, name="biller-datapump-newer"),
    path("datapump/endpoints/", histories.endpoint_strip, name="biller-datapump-strip"),
    path("datapump/endpoints/<uuid:endpoint_id>/test/", endpoints.test, name="biller-datapump-test"),
    path("datapump/endpoints/<uuid:endpoint_id>/pause/", endpoints.pause, name="biller-datapump-pause"),
    path("datapump/endpoints/<uuid:endpoint_id>/resume/", endpoints.resume, name="biller-datapump-resume"),
    path("datapump/endpoints/<uuid:endpoint_id>/secret/", settings.change_secret, name="biller-datapump-secret"),
    path("datapump/endpoints/<uuid:endpoint_id>/ask/", settings.test, name="biller-datapump-ask"),
    path("datapump/resend/", resends.everything, name="biller-datapump-resend-all"),
    path("datapump/resends/<int:run_id>/", resends.run, name="biller-datapump-resend-run"),
    path("datapump/resends/<int:run_id>/stop/", resends.stop, name="biller-datapump-resend-stop"),
    path("datapump/<uuid:record_id>/", updates.update, name="biller-datapump-record"),
    path("datapump/<uuid:record_id>/resend/", updates.resend, name="biller-datapump-resend"),
    path("datapump/<uuid:record_id>/skip/", updates.skip, name="biller-datapump-skip"),
    path("datapump/<uuid:record_id>/reveal/", updates.reveal, name="biller-datapump-reveal"),
    path("accounts/<int:customer_id>/datapump/", histories.AccountHistory.as_view(), name="biller-account-datapump"),
    path(
        "accounts/<int:customer_id>/datapump/changes/",
        histories.AccountChanges.as_view(),
        name="biller-account-changes",
    ),
    path("settings/datapump/", settings.overview, name="biller-datapump-settings"),
    path("settings/datapump/numbers/", settings.numbers, name="biller-datapump-numbers"),
    path("settings/datapump/<slug:purpose>/", settings.endpoint, name="biller-datapump-endpoint"),
]
