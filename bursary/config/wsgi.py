"""The WSGI application, for any server that hosts Bursary."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bursary.config.settings")

application = get_wsgi_application()
