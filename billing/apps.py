"""How Django knows this app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Billers, customers, invoices: who owes what to whom."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"
