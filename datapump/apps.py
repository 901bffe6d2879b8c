from django.apps import AppConfig


class DataPumpConfig(AppConfig):
    name = "datapump"
    verbose_name = "DataPump"
    default_auto_field = "django.db.models.BigAutoField"
