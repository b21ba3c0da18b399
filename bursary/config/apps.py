from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "bursary.config"
    verbose_name = "Configuration"

    def ready(self) -> None:
        """Register the system checks, and what is written otherwise for MySQL."""
        # Here, as models can be imported only now.
        from bursary.config import checks  # noqa: F401  # importing registers them
        from bursary.lib import mysql

        mysql.register()
