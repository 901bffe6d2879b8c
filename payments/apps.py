"""How Django knows this app."""

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Methods, attempts, allocation, runs that move money."""

    name = "payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add the app's numbered settings to the registry."""
        from payments import advanced_settings

        advanced_settings.register_all()
