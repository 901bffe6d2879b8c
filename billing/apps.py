"""How Django knows this app."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Billers, customers, invoices: who owes what to whom."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add the app's numbered settings to the registry."""
        from billing import portal_settings

        portal_settings.register_all()
