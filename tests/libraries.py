"""What the processes of `tests.forked` have loaded when they begin: nothing of it reads the settings."""

import gc
import os
from importlib import import_module

LIBRARIES = """
    django.contrib.admin django.contrib.auth.hashers django.contrib.staticfiles.storage django.core.checks
    django.core.management django.db.backends.sqlite3.base django.db.migrations.executor django.db.models
    django.forms django.template.backends.django django.views.generic
    corsheaders cryptography.hazmat.primitives.asymmetric.rsa drf_spectacular_sidecar email_validator environ
    httpx2 inflection jinja2 jwt orjson prometheus_client pydantic.dataclasses requests rich.progress stamina
    standardwebhooks uritemplate whitenoise yaml
    concurrent.futures.thread http.server smtplib
"""

ON_POSTGRESQL = """
    django.db.backends.postgresql.base
    celery.apps.beat celery.apps.worker celery.concurrency.prefork celery.worker.consumer
    kombu.transport.redis
"""
"""The driver, and what workers of Celery load, which write to a server alone."""

for name in LIBRARIES.split():
    import_module(name)
if os.environ.get("BURSARY_TEST_DB") == "postgres":
    for name in ON_POSTGRESQL.split():
        import_module(name)

gc.freeze()  # no process looks through it for garbage
