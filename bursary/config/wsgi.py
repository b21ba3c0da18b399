"""The WSGI application, for `bursary serve` or any other server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bursary.config.settings")

application = get_wsgi_application()
