"""Texting: the phone as a face for payers."""

from __future__ import annotations

from django.apps import AppConfig


class SmsConfig(AppConfig):
    """Pay by text, conversations and the text workflow."""

    name = "sms"
    verbose_name = "Texting"
