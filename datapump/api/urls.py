"""Addresses of DataPump in the API, below ``/api/v1/``."""

from __future__ import annotations

from django.urls import path

from datapump.api import records

urlpatterns = [
    path("datapump-records/", records.RecordsView.as_view(), name="api-datapump-records"),
    path("datapump-records/<uuid:pk>/", records.RecordView.as_view(), name="api-datapump-record"),
    path("customers/<int:pk>/change-logs/", records.ChangeLogsView.as_view(), name="api-change-logs"),
    path("datapump-records/<uuid:pk>/send-again/", records.SendAgainView.as_view(), name="api-datapump-send-again"),
]
