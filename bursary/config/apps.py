from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig
from django.conf import settings


class ConfigConfig(AppConfig):
    name = "bursary.config"
    verbose_name = "Configuration"

    def ready(self) -> None:
        """Register the checks and the database's settings; make Celery's app, if it is used."""
        # Imported here, because models cannot be imported earlier.
        from bursary.config import checks, database_checks, mail_checks, security_checks  # noqa: F401  # importing registers them
        from bursary.lib import mysql, postgres, retries

        mysql.register()
        postgres.register()
        retries.register()
        if settings.EXECUTOR == "celery" and find_spec("celery"):
            import_module("bursary.config.celery_app")  # half a second, and needs the extra `celery`
