"""`openedx`, `celery` and `anymail` are extras: without their packages everything else imports and runs."""

from pathlib import Path

from tests.ops.processes import environment, new_python

WITHOUT = """
import importlib, pkgutil, sys

for name in ("openedx_events", "opaque_keys", "edx_event_bus_redis", "redis", "walrus", "celery", "kombu",
             "anymail", "requests", "urllib3"):
    sys.modules[name] = None  # whoever imports it gets a ModuleNotFoundError
import django
django.setup()
import bursary
needy = {"bursary.events.bus", "bursary.events.parsing", "bursary.config.celery_app"}
needy |= {"bursary.delivery.broker", "bursary.ops.celery_processes", "bursary.delivery.provider_backend"}
for module in pkgutil.walk_packages(bursary.__path__, "bursary."):
    if module.name not in needy:
        importlib.import_module(module.name)
from django.core.management import call_command
call_command("check", fail_level="WARNING")
"""


def test_the_core_runs_without_them(tmp_path: Path) -> None:
    env = environment(tmp_path, DJANGO_SETTINGS_MODULE="bursary.config.settings")
    ran = new_python("-c", WITHOUT, env=env, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
