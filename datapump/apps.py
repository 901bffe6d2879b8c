"""How Django knows this app."""

from django.apps import AppConfig


class DataPumpConfig(AppConfig):
    """What the biller's own system hears."""

    name = "datapump"
    verbose_name = "DataPump"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add the app's numbered settings to the registry."""
        from datapump import advanced_settings

        advanced_settings.register_all()
